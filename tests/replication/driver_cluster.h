#pragma once
// A few drivers on one hand-cranked executor, each with a log in memory whose fsync the test does,
// over a network that can be cut.

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "core/mutex.h"
#include "replication/node.h"
#include "tests/support/log_double.h"
#include "tests/support/temporary_directory.h"

namespace tailrace::replication {

/// Every enqueue is a batch of its own: its size, kind and epoch, then the payload. flush() makes
/// all of it durable. `room` bounds what waits.
class FakeLog final : public tailrace::testing::LogDouble {
 public:
  Result<> become_writer(Epoch epoch) override {
    writer_ = true;
    epoch_ = epoch;
    return {};
  }
  Result<> become_copy() override {
    writer_ = false;
    flush();
    return {};
  }
  Result<AddressRange> try_enqueue(fasterlog::RecordKind kind, ByteSpan payload) override {
    if (!writer_) return make_error(ErrorCode::kFailedPrecondition, "a copy");
    if (full) return make_error(ErrorCode::kResourceExhausted, "the disk is full");
    const Address at = tail();
    std::vector<std::byte> batch(kHeaderBytes);
    store(batch.data(), static_cast<uint32_t>(kHeaderBytes + payload.size()));
    store(batch.data() + 4, static_cast<uint32_t>(kind));
    store(batch.data() + 8, epoch_.value);
    batch.insert(batch.end(), payload.begin(), payload.end());
    take(batch);
    return AddressRange{at, tail()};
  }
  Result<AddressRange> try_enqueue(fasterlog::RecordKind, std::span<const ByteSpan>) override {
    return refused();
  }
  Result<AddressRange> try_enqueue_in(Epoch epoch,
                                      std::span<const fasterlog::RecordView> records) override {
    if (epoch != epoch_) return make_error(ErrorCode::kFailedPrecondition, "another epoch");
    return try_enqueue(records.front().kind, records.front().payload);
  }
  Result<AddressRange> try_enqueue_batch(std::span<const fasterlog::RecordView>,
                                         std::vector<Address>*) override {
    return refused();
  }
  using LogDouble::enqueue;
  Result<AddressRange> enqueue(fasterlog::RecordKind kind, ByteSpan payload, SteadyTime) override {
    return try_enqueue(kind, payload);
  }
  size_t max_payload_bytes() const override { return 1000; }
  Result<> try_append_raw(Address at, ByteSpan bytes) override {
    if (at != tail()) return make_error(ErrorCode::kFailedPrecondition, "not the tail");
    if (tail() - durable_ + bytes.size() > room) return make_error(ErrorCode::kWouldBlock, "full");
    while (!bytes.empty()) {
      const size_t size = load<uint32_t>(bytes.data());
      take(bytes.first(size));
      bytes = bytes.subspan(size);
    }
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
  std::shared_ptr<const fasterlog::ConfigurationTable> configurations() const override {
    return configurations_;
  }
  const fasterlog::RecoveryReport& recovery() const override { return report_; }
  Result<fasterlog::Record> read(Address, std::vector<std::byte>&) override { return refused(); }
  std::unique_ptr<fasterlog::LogScanner> scan(Address, ScanOptions) override { return nullptr; }
  Address flushing() const override { return std::max(flushing_, durable_); }
  Result<> read_raw(Address from, size_t most, std::vector<std::byte>& into) override {
    return read_to(durable_, from, most, into);
  }
  Result<> read_raw_flushing(Address from, size_t most, std::vector<std::byte>& into) override {
    return read_to(flushing(), from, most, into);
  }
  Result<> read_to(Address limit, Address from, size_t most, std::vector<std::byte>& into) const {
    into.clear();
    for (const Address end : ends_) {
      if (end <= from) continue;
      if (end > limit || (!into.empty() && end - from > most)) break;
      into.assign(at(from), at(end));
    }
    return {};
  }
  Result<Address> truncate_before(Address address) override { return address; }
  Result<Address> truncate_after(Address address) override {
    while (!ends_.empty() && ends_.back() > address)
      ends_.pop_back();
    const Address end = ends_.empty() ? begin() : ends_.back();
    bytes_.resize(end - begin());
    std::erase_if(table_, [&](const fasterlog::EpochStart& entry) { return entry.start >= end; });
    auto kept = *configurations_;
    std::erase_if(kept, [&](const auto& each) { return each.start >= end; });
    configurations_ = std::make_shared<const fasterlog::ConfigurationTable>(std::move(kept));
    durable_ = std::min(durable_, end);
    flushing_ = std::min(flushing_, end);
    ++cuts;
    return end;
  }
  uint64_t reclaimable_bytes(Address) const override { return 0; }
  uint64_t reclaimable_segments(Address) const override { return 0; }
  uint64_t disk_bytes() const override { return 0; }
  Result<> close() override { return {}; }
  void register_metrics(observability::MetricRegistry&, TellAddresses) override {}

  void begin_flush() {
    flushing_ = tail();
    if (listener_) listener_(durable_, nullptr);
  }
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
  bool full = false;  // takes no more of its own
  int cuts = 0;

 private:
  static constexpr size_t kHeaderBytes = 16;
  std::vector<std::byte>::const_iterator at(Address address) const {
    return bytes_.begin() + static_cast<long>(address - begin());
  }
  void take(ByteSpan batch) {
    const Epoch epoch{load<uint64_t>(batch.data() + 8)};
    if (table_.empty() || table_.back().epoch < epoch) table_.push_back({epoch, tail()});
    const Address start = tail();
    bytes_.insert(bytes_.end(), batch.begin(), batch.end());
    ends_.push_back(tail());
    if (load<uint32_t>(batch.data() + 4) !=
        static_cast<uint32_t>(fasterlog::RecordKind::kConfiguration))
      return;
    auto more = *configurations_;
    const ByteSpan payload = batch.subspan(kHeaderBytes);
    more.push_back({start, tail(), epoch, {payload.begin(), payload.end()}});
    configurations_ = std::make_shared<const fasterlog::ConfigurationTable>(std::move(more));
  }
  bool writer_ = false;
  Epoch epoch_;
  std::vector<std::byte> bytes_;
  std::vector<Address> ends_;  // of the batches
  Address durable_ = fasterlog::kFirstAddress, flushing_;
  std::vector<fasterlog::EpochStart> table_;
  std::shared_ptr<const fasterlog::ConfigurationTable> configurations_ =
      std::make_shared<const fasterlog::ConfigurationTable>();
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
  Result<> admit(const statemachine::CommandCost& cost, uint64_t) const override {
    if (cost.log_bytes <= most_log_bytes) return {};
    return make_error(refuses, "no room for it");
  }
  uint64_t most_log_bytes = UINT64_MAX;
  ErrorCode refuses = ErrorCode::kResourceExhausted;
  Result<> read(ByteSpan, std::string&) const override { return {}; }
  Result<ReadOutcome> try_read(ByteSpan, std::string&) const override {
    return ReadOutcome::kAbsent;
  }
  void read_async(ByteSpan, ReadDone) const override {}
  Result<> read_state(ByteSpan, statemachine::KeyState&) const override { return {}; }
  Result<ReadOutcome> try_read_state(ByteSpan, statemachine::KeyState&) const override {
    return ReadOutcome::kAbsent;
  }
  void read_state_async(ByteSpan, StateDone) const override {}
  Result<statemachine::KeysTogether> read_together(const std::vector<std::string>&, size_t,
                                                   const GoOn&) override {
    return statemachine::KeysTogether{};
  }
  Result<std::optional<statemachine::StreamHead>> stream_head(std::string_view) const override {
    return std::nullopt;
  }
  Result<statemachine::StreamEntries> stream_entries(std::string_view, statemachine::StreamVersion,
                                                     size_t,
                                                     statemachine::Direction) const override {
    return statemachine::StreamEntries{};
  }
  Result<std::unique_ptr<statemachine::StreamList>> start_stream_list(
      std::string_view, std::string_view, statemachine::StreamListLimits) override {
    return make_error(ErrorCode::kUnavailable, "");
  }
  Result<std::unique_ptr<statemachine::StateScan>> start_scan(ByteSpan) override {
    return make_error(ErrorCode::kUnavailable, "");
  }
  uint64_t log_time_ns() const override { return 0; }
  bool wants_log_time(uint64_t) const override { return false; }
  statemachine::RulesStatus rules() const override { return rules_status; }
  statemachine::RulesStatus rules_status;
  statemachine::StoreStatus store_status() const override { return {}; }
  /// Applies what may be.
  Result<> wait_applied(Address address, SteadyTime) override {
    if (watermarks == nullptr) return {};
    const Address to = std::min(address, watermarks->applicable());
    if (to > watermarks->applied()) watermarks->advance_applied(to, Epoch{});
    return {};
  }
  statemachine::Watermarks* watermarks = nullptr;
  void request_checkpoint(std::function<void(Result<Address>)>) override {}
  statemachine::CheckpointStatus checkpoint_status() const override { return {}; }
  Result<statemachine::StateDigest> digest_at(Address) const override {
    return make_error(ErrorCode::kNotFound, "");
  }
  statemachine::DigestProgress digest_progress() const override { return {}; }
  Result<std::pair<uint64_t, uint64_t>> log_digest(AddressRange, const GoOn&) const override {
    return make_error(ErrorCode::kNotFound, "");
  }
  Result<std::unique_ptr<statemachine::StateCopySource>> open_copy(std::string, uint64_t) override {
    return make_error(ErrorCode::kNotFound, "no checkpoint");
  }
  uint64_t session_count() const override { return 0; }
  void register_metrics(observability::MetricRegistry&) override {}
  int notified = 0;
};

/// Runs what was posted when the test says so.
class HandExecutor final : public Executor {
 public:
  void post(std::function<void()> function) override {
    const MutexLock lock(mutex_);
    posted.push_back(std::move(function));
  }
  void run() {
    while (auto function = next())
      function();
  }
  std::deque<std::function<void()>> posted;  // the test's, while no other thread posts

 private:
  std::function<void()> next() {
    const MutexLock lock(mutex_);
    if (posted.empty()) return nullptr;
    auto function = std::move(posted.front());
    posted.pop_front();
    return function;
  }
  Mutex mutex_;
};

class HandClock final : public Clock {
 public:
  SteadyTime now() const override { return SteadyTime(passed); }
  uint64_t unix_time_ns() const override { return static_cast<uint64_t>(passed.count()); }
  Nanoseconds elapsed() const override { return passed + suspended; }
  Nanoseconds passed{std::chrono::seconds(1)}, suspended{0};
};

class Network;

class LinkedTransport final : public Transport {
 public:
  LinkedTransport(NodeId self, Network& network);
  void set_handler(TransportHandler* to) override;
  void set_members(const Members& members) override { named = members; }
  void reset(NodeId peer) override;
  void send(NodeId to, Message message) override;

  const NodeId self;
  Members named;  // the last ones
  TransportHandler* handler = nullptr;
  uint64_t greatest_round = 0;                // of what was sent
  std::map<NodeId, const std::byte*> newest;  // bytes of the log that were sent there

 private:
  Network& network_;
};

/// Connects whoever has a handler, but across what is cut.
class Network {
 public:
  explicit Network(HandExecutor& executor) : executor_(executor) {}

  void add(LinkedTransport& transport) { ends_[transport.self] = &transport; }
  void dial() {
    executor_.post([this] {
      for (const auto& [a, one] : ends_)
        for (const auto& [b, other] : ends_) {
          if (a >= b || one->handler == nullptr || other->handler == nullptr ||
              cuts_.contains({a, b}) || !links_.insert({a, b}).second)
            continue;
          one->handler->on_connected(b, other->handler->introduction());
          other->handler->on_connected(a, one->handler->introduction());
        }
    });
  }
  void unlink(NodeId a, NodeId b) {
    if (links_.erase(pair(a, b)) == 0) return;
    const auto tell = [this](NodeId to, NodeId of) {
      executor_.post([this, to, of] {
        if (ends_[to]->handler != nullptr) ends_[to]->handler->on_disconnected(of, "cut");
      });
    };
    tell(a, b);
    tell(b, a);
  }
  void cut(NodeId a, NodeId b) {
    cuts_.insert(pair(a, b));
    unlink(a, b);
  }
  void isolate(NodeId node) {
    for (const auto& [other, end] : ends_)
      if (other != node) cut(node, other);
  }
  void heal() {
    cuts_.clear();
    dial();
  }
  void leave(NodeId node) {
    for (const auto& [other, end] : ends_)
      unlink(node, other);
  }
  void send(NodeId from, NodeId to, Message message) {
    if (!links_.contains(pair(from, to))) return;
    executor_.post([this, from, to, message = std::move(message)] {
      TransportHandler* const handler = ends_[to]->handler;
      if (links_.contains(pair(from, to)) && handler != nullptr) handler->on_message(from, message);
    });
  }

 private:
  static std::pair<NodeId, NodeId> pair(NodeId a, NodeId b) { return std::minmax(a, b); }
  HandExecutor& executor_;
  std::map<NodeId, LinkedTransport*> ends_;
  std::set<std::pair<NodeId, NodeId>> links_, cuts_;
};

inline LinkedTransport::LinkedTransport(NodeId id, Network& network) : self(id), network_(network) {
  network.add(*this);
}
inline void LinkedTransport::set_handler(TransportHandler* to) {
  handler = to;
  if (to == nullptr) network_.leave(self);
  network_.dial();
}
inline void LinkedTransport::reset(NodeId peer) {
  network_.unlink(self, peer);
  network_.dial();
}
inline void LinkedTransport::send(NodeId to, Message message) {
  if (const auto* data = std::get_if<Data>(&message)) {
    greatest_round = std::max(greatest_round, data->round);
    if (data->bytes) newest[to] = data->bytes->data();
  }
  network_.send(self, to, std::move(message));
}

inline Member member_named(uint32_t id) {
  Member member;
  member.id = NodeId{id};
  member.peer_address = "peer" + std::to_string(id);
  return member;
}

struct Side {
  Side(uint32_t node_id, HandExecutor& on, Network& network, const Clock& with, uint32_t of)
      : id{node_id}, transport(id, network), executor(on), clock(with), members(of) {
    lose_log();
    make();
  }
  /// The process anew, on the same disk.
  void make() {
    node.reset();
    NodeOptions options;
    options.self = id;
    options.cluster = "test";
    options.directory = directory.path();
    for (uint32_t i = 1; i <= members; ++i)
      options.members.push_back(member_named(i));
    options.members_in_file = members_in_file;
    options.leader = NodeId{1};
    options.log = log_options;
    options.store = store_options;
    options.window_bytes = window_bytes;
    node = std::move(Node::create(storage::posix_file_system(), options, *log, state_machine,
                                  *watermarks, anchors, executor, transport, nullptr, clock)
                         .value());
  }
  void lose_log() {
    node.reset();
    watermarks.reset();
    log = std::make_unique<FakeLog>();
    watermarks = std::make_unique<statemachine::Watermarks>(*log);
    state_machine.watermarks = watermarks.get();
  }
  std::shared_ptr<const NodeStatus> status() const { return node->status(); }
  Result<AddressRange> enqueue(std::string_view text) {
    return log->try_enqueue(fasterlog::RecordKind::kData, as_bytes(text));
  }

  const NodeId id;
  tailrace::testing::TemporaryDirectory directory;
  std::unique_ptr<FakeLog> log;
  IdleStateMachine state_machine;
  LinkedTransport transport;
  std::unique_ptr<statemachine::Watermarks> watermarks;
  statemachine::AnchorRegistry anchors;
  HandExecutor& executor;
  const Clock& clock;
  const uint32_t members;
  // Taken by make(); log and store for a copy of another node's state.
  std::function<Result<Members>()> members_in_file;
  uint64_t window_bytes = NodeOptions{}.window_bytes;
  fasterlog::LogOptions log_options;
  kv::StoreOptions store_options;
  std::unique_ptr<Node> node;
};

}  // namespace tailrace::replication
