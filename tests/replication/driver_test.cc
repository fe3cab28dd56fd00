// The driver with a log in memory whose fsync the test does by hand.

#include <deque>
#include <string>

#include <gtest/gtest.h>

#include "../support/temporary_directory.h"
#include "replication/node.h"
#include "tests/support/log_double.h"

namespace tailrace::replication {
namespace {

/// Every enqueue is a batch of its own; flush() makes all of it durable. `room` bounds what waits.
class FakeLog final : public tailrace::testing::LogDouble {
 public:
  Result<> become_writer(Epoch epoch) override {
    writer_ = true;
    epoch_ = epoch;
    return {};
  }
  Result<> become_copy() override {
    writer_ = false;
    return {};
  }
  Result<AddressRange> try_enqueue(fasterlog::RecordKind, ByteSpan payload) override {
    if (!writer_) return make_error(ErrorCode::kFailedPrecondition, "a copy");
    const Address at = tail();
    note_epoch(epoch_);
    bytes_.insert(bytes_.end(), payload.begin(), payload.end());
    return AddressRange{at, tail()};
  }
  Result<AddressRange> try_enqueue(fasterlog::RecordKind, std::span<const ByteSpan>) override {
    return make_error(ErrorCode::kUnsupported, "");
  }
  Result<AddressRange> try_enqueue_batch(std::span<const fasterlog::RecordView>,
                                         std::vector<Address>*) override {
    return make_error(ErrorCode::kUnsupported, "");
  }
  using LogDouble::enqueue;
  Result<AddressRange> enqueue(fasterlog::RecordKind kind, ByteSpan payload, SteadyTime) override {
    return try_enqueue(kind, payload);
  }
  size_t max_payload_bytes() const override { return 1000; }
  Result<> try_append_raw(Address at, ByteSpan bytes) override {
    if (at != tail()) return make_error(ErrorCode::kFailedPrecondition, "not the tail");
    if (tail() - durable_ + bytes.size() > room) return make_error(ErrorCode::kWouldBlock, "full");
    note_epoch(copied_epoch);
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return {};
  }
  Result<> wait_durable(Address, SteadyTime, std::stop_token) override { return {}; }
  ListenerHandle add_durable_listener(DurableListener listener) override {
    listener_ = std::move(listener);
    return {this, [this](void*) { listener_ = nullptr; }};
  }
  std::optional<Error> failure() const override { return failure_; }
  Address begin() const override { return fasterlog::kFirstAddress; }
  Address durable() const override { return durable_; }
  Address tail() const override { return begin() + bytes_.size(); }
  Epoch last_epoch() const override { return table_.empty() ? Epoch{} : table_.back().epoch; }
  std::vector<fasterlog::EpochStart> epoch_table() const override { return table_; }
  const fasterlog::RecoveryReport& recovery() const override { return report_; }
  Result<fasterlog::Record> read(Address, std::vector<std::byte>&) override {
    return make_error(ErrorCode::kUnsupported, "");
  }
  std::unique_ptr<fasterlog::LogScanner> scan(Address, ScanOptions) override { return nullptr; }
  Result<> read_raw(Address from, size_t most, std::vector<std::byte>& into) override {
    const size_t first = from - begin();
    const size_t count = std::min<size_t>(most, durable_ - from);
    into.assign(bytes_.begin() + static_cast<long>(first),
                bytes_.begin() + static_cast<long>(first + count));
    return {};
  }
  Result<Address> truncate_before(Address address) override { return address; }
  uint64_t reclaimable_bytes(Address) const override { return 0; }
  uint64_t reclaimable_segments(Address) const override { return 0; }
  uint64_t disk_bytes() const override { return 0; }
  Result<> close() override { return {}; }
  void register_metrics(observability::MetricRegistry&) override {}

  void flush() {
    durable_ = tail();
    if (listener_) listener_(durable_, nullptr);
  }
  void break_disk() {
    failure_ = Error{ErrorCode::kIo, "fdatasync: no"};
    if (listener_) listener_(durable_, &*failure_);
  }
  const std::vector<std::byte>& bytes() const { return bytes_; }
  uint64_t room = 1 << 20;
  Epoch copied_epoch{1};

 private:
  void note_epoch(Epoch epoch) {
    if (table_.empty() || table_.back().epoch < epoch) table_.push_back({epoch, tail()});
  }
  bool writer_ = false;
  Epoch epoch_;
  std::vector<std::byte> bytes_;
  Address durable_ = fasterlog::kFirstAddress;
  std::vector<fasterlog::EpochStart> table_;
  fasterlog::RecoveryReport report_;
  DurableListener listener_;
  std::optional<Error> failure_;
};

class IdleStateMachine final : public statemachine::StateMachine {
 public:
  void set_applied_listener(
      std::function<void(std::shared_ptr<const statemachine::AppliedBatch>)>) override {}
  void start() override {}
  void stop() override {}
  void notify() override { ++notified; }
  std::optional<Error> failure() const override { return std::nullopt; }
  Result<> admit(size_t, bool) const override { return {}; }
  Result<> read(ByteSpan, std::string&) const override { return {}; }
  Result<ReadOutcome> try_read(ByteSpan, std::string&) const override {
    return ReadOutcome::kAbsent;
  }
  void read_async(ByteSpan, ReadDone) const override {}
  Result<std::unique_ptr<statemachine::StateScan>> start_scan(ByteSpan) override {
    return make_error(ErrorCode::kUnavailable, "");
  }
  uint64_t log_time_ns() const override { return 0; }
  bool wants_log_time(uint64_t) const override { return false; }
  statemachine::StoreStatus store_status() const override { return {}; }
  Result<> wait_applied(Address, SteadyTime) override { return {}; }
  void request_checkpoint(std::function<void(Result<Address>)>) override {}
  statemachine::CheckpointStatus checkpoint_status() const override { return {}; }
  Result<statemachine::StateDigest> digest_at(Address) const override {
    return make_error(ErrorCode::kNotFound, "");
  }
  Result<std::pair<uint64_t, uint64_t>> log_digest(AddressRange) const override {
    return make_error(ErrorCode::kNotFound, "");
  }
  uint64_t session_count() const override { return 0; }
  void register_metrics(observability::MetricRegistry&) override {}
  int notified = 0;
};

/// Runs what was posted when the test says so.
class HandExecutor final : public Executor {
 public:
  void post(std::function<void()> function) override { posted.push_back(std::move(function)); }
  void run() {
    while (!posted.empty()) {
      auto function = std::move(posted.front());
      posted.pop_front();
      function();
    }
  }
  std::deque<std::function<void()>> posted;
};

class LinkedTransport final : public Transport {
 public:
  LinkedTransport(NodeId self, HandExecutor& executor) : self_(self), executor_(executor) {}
  void set_handler(TransportHandler* to) override { handler = to; }
  void connect(NodeId peer) override {
    executor_.post([this, peer] {
      if (other->handler == nullptr || handler == nullptr) return;
      other->handler->on_connected(self_);
      handler->on_connected(peer);
    });
  }
  void disconnect(NodeId) override {}
  void send(NodeId, Message message) override {
    executor_.post([this, message = std::move(message)] {
      if (other->handler != nullptr) other->handler->on_message(self_, message);
    });
  }
  LinkedTransport* other = nullptr;
  TransportHandler* handler = nullptr;

 private:
  const NodeId self_;
  HandExecutor& executor_;
};

struct Side {
  Side(uint32_t id, HandExecutor& executor, uint32_t members)
      : transport(NodeId{id}, executor), watermarks(log) {
    NodeOptions options;
    options.self = NodeId{id};
    options.cluster = "test";
    options.directory = directory.path();
    for (uint32_t i = 1; i <= members; ++i) {
      Member member;
      member.id = NodeId{i};
      options.members.push_back(member);
    }
    options.leader = NodeId{1};
    auto made = Node::create(storage::posix_file_system(), options, log, state_machine, watermarks,
                             anchors, executor, transport);
    if (made) node = std::move(*made);
  }
  testing::TemporaryDirectory directory;
  FakeLog log;
  IdleStateMachine state_machine;
  LinkedTransport transport;
  statemachine::Watermarks watermarks;
  statemachine::AnchorRegistry anchors;
  std::unique_ptr<Node> node;
};

class DriverTest : public ::testing::Test {
 protected:
  DriverTest() : leader(1, executor, 2), follower(2, executor, 2) {
    leader.transport.other = &follower.transport;
    follower.transport.other = &leader.transport;
  }
  void start() {
    ASSERT_TRUE(leader.node->start());
    ASSERT_TRUE(follower.node->start());
    settle();
  }
  void settle() {
    for (int i = 0; i < 4; ++i) {
      executor.run();
      leader.log.flush();
      follower.log.flush();
    }
    executor.run();
  }
  HandExecutor executor;
  Side leader, follower;
};

TEST_F(DriverTest, TheFollowerHoldsTheLeadersBytesAndTheMajorityCommitsThem) {
  start();
  EXPECT_TRUE(leader.node->status()->serving);
  ASSERT_TRUE(leader.log.try_enqueue(fasterlog::RecordKind::kData, as_bytes("hello")));
  executor.run();
  EXPECT_LT(leader.watermarks.committed(), leader.log.tail());
  settle();
  EXPECT_EQ(follower.log.bytes(), leader.log.bytes());
  EXPECT_EQ(leader.watermarks.committed(), leader.log.tail());
  EXPECT_EQ(follower.watermarks.committed(), leader.log.tail());
  EXPECT_GT(follower.state_machine.notified, 0);
}

TEST_F(DriverTest, ManyMovesOfDurablePostOneEvent) {
  start();
  for (int i = 0; i < 10; ++i)
    leader.log.flush();
  EXPECT_EQ(executor.posted.size(), 1u);
}

TEST_F(DriverTest, BytesThatTheLogHasNoRoomForWaitUntilDurableMoves) {
  start();
  follower.log.room = 10;
  const Address before = follower.log.tail();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(leader.log.try_enqueue(fasterlog::RecordKind::kData, as_bytes("12345678")));
    leader.log.flush();
    executor.run();
  }
  EXPECT_EQ(follower.log.tail(), before + 8);
  settle();
  EXPECT_EQ(follower.log.bytes(), leader.log.bytes());
}

TEST_F(DriverTest, AFailedDiskIsFatalAndEndsServing) {
  start();
  std::string fatal;
  leader.node->set_fatal_listener([&](const Error& error) { fatal = error.message; });
  leader.log.break_disk();
  executor.run();
  EXPECT_EQ(fatal, "fdatasync: no");
  EXPECT_FALSE(leader.node->status()->serving);
}

}  // namespace
}  // namespace tailrace::replication
