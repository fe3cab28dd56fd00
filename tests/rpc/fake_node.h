#pragma once
// A node in memory: a log that is durable at once, a state machine that applies it on its own
// thread (and can be held), so that the service is tested alone.

#include <charconv>
#include <deque>
#include <map>
#include <thread>

#include "core/mutex.h"
#include "replication/node.h"
#include "replication/protocol/membership.h"
#include "rpc/server/server.h"
#include "tests/support/log_double.h"

namespace tailrace::rpc::testing {

class FakeLog : public tailrace::testing::LogDouble {
 public:
  struct Stored {
    Address address, end;
    Epoch epoch;
    fasterlog::RecordKind kind;
    std::string payload;
  };

  Result<AddressRange> try_enqueue_batch(std::span<const fasterlog::RecordView> records,
                                         std::vector<Address>* addresses) override {
    const MutexLock lock(mutex_);
    if (would_block_ > 0) {
      --would_block_;
      return make_error(ErrorCode::kWouldBlock, "full");
    }
    const Address first = tail_;
    for (const fasterlog::RecordView& record : records) {
      const Address at = tail_;
      tail_ = tail_ + align_up(32 + record.payload.size(), 8);
      if (epochs_.empty() || epochs_.back().epoch != epoch_) epochs_.push_back({epoch_, at});
      records_.push_back({at, tail_, epoch_, record.kind, to_string(record.payload)});
      if (addresses != nullptr) addresses->push_back(at);
    }
    if (listener_) listener_();
    return AddressRange{first, tail_};
  }
  Result<AddressRange> try_enqueue(fasterlog::RecordKind kind, ByteSpan payload) override {
    const fasterlog::RecordView record{kind, payload};
    return try_enqueue_batch({&record, 1}, nullptr);
  }
  Result<AddressRange> try_enqueue(fasterlog::RecordKind, std::span<const ByteSpan>) override {
    return make_error(ErrorCode::kUnsupported, "fake");
  }
  using LogDouble::enqueue;
  Result<AddressRange> enqueue(fasterlog::RecordKind kind, ByteSpan payload, SteadyTime) override {
    return try_enqueue(kind, payload);
  }
  Result<AddressRange> try_enqueue_in(Epoch epoch,
                                      std::span<const fasterlog::RecordView> records) override {
    if (epoch != last_epoch()) return make_error(ErrorCode::kFailedPrecondition, "another epoch");
    return try_enqueue_batch(records, nullptr);
  }
  /// The lead is lost: what stands from `to` on is cut off, and another one's records come there.
  Result<> become_writer(Epoch epoch) override {
    const MutexLock lock(mutex_);
    epoch_ = epoch;
    return {};
  }
  void cut(Address to) {
    const MutexLock lock(mutex_);
    while (!records_.empty() && records_.back().end > to)
      records_.pop_back();
    while (!epochs_.empty() && epochs_.back().start >= to)
      epochs_.pop_back();
    tail_ = to;
    ++cuts;
  }
  std::atomic<int> cuts{0};
  mutable std::atomic<int> scanners{0};  // that there are
  /// Whether a scan that begins within a record fails, as that of a real log does; and how many
  /// scans have asked for commit marks, which is how the records around an address are found.
  std::atomic<bool> strict{false};
  std::atomic<int> looks{0};
  std::atomic<size_t> most_read_ahead{0};  // of all other scans
  std::atomic<int> scans{0};               // so many
  Result<> become_copy() override { return {}; }
  size_t max_payload_bytes() const override { return 4u << 20; }
  Result<> try_append_raw(Address, ByteSpan) override {
    return make_error(ErrorCode::kUnsupported, "fake");
  }
  Result<> wait_durable(Address, SteadyTime, std::stop_token) override { return {}; }
  std::optional<Error> failure() const override { return std::nullopt; }
  Address begin() const override { return fasterlog::kFirstAddress; }
  Address durable() const override { return tail(); }
  Address tail() const override {
    const MutexLock lock(mutex_);
    return tail_;
  }
  Epoch last_epoch() const override {
    const MutexLock lock(mutex_);
    return epoch_;
  }
  std::vector<fasterlog::EpochStart> epoch_table() const override {
    const MutexLock lock(mutex_);
    return epochs_;
  }
  const fasterlog::RecoveryReport& recovery() const override { return recovery_; }
  Result<fasterlog::Record> read(Address, std::vector<std::byte>&) override {
    return make_error(ErrorCode::kUnsupported, "fake");
  }
  std::unique_ptr<fasterlog::LogScanner> scan(Address from, ScanOptions) override;
  Result<> read_raw(Address, size_t, std::vector<std::byte>&) override { return {}; }
  /// All of a strict log is one batch.
  Result<Address> mark_end_at(Address address) const override {
    return strict ? fasterlog::kFirstAddress : address;
  }
  Result<Address> truncate_before(Address address) override { return address; }
  uint64_t reclaimable_bytes(Address) const override { return 0; }
  uint64_t reclaimable_segments(Address) const override { return 0; }
  uint64_t disk_bytes() const override { return tail().value; }
  Result<> close() override { return {}; }
  void register_metrics(observability::MetricRegistry&, TellAddresses) override {}

  /// The first record at or above `from` that ends at or below `limit`.
  std::optional<Stored> next(Address from, Address limit) const {
    const MutexLock lock(mutex_);
    auto it = std::lower_bound(records_.begin(), records_.end(), from,
                               [](const Stored& one, Address at) { return one.address < at; });
    if (it == records_.end() || it->end > limit) return std::nullopt;
    return *it;
  }
  size_t count() const {
    const MutexLock lock(mutex_);
    return records_.size();
  }
  void block_next(int times) {
    const MutexLock lock(mutex_);
    would_block_ = times;
  }
  std::function<void()> listener_;  // set before use
  /// What every scan comes to from now on.
  void fail_reads(Error error) {
    const MutexLock lock(mutex_);
    read_failure_ = std::move(error);
  }
  std::optional<Error> read_failure() const {
    const MutexLock lock(mutex_);
    return read_failure_;
  }

 private:
  mutable Mutex mutex_;
  std::deque<Stored> records_ TAILRACE_GUARDED_BY(mutex_);
  std::optional<Error> read_failure_ TAILRACE_GUARDED_BY(mutex_);
  Address tail_ TAILRACE_GUARDED_BY(mutex_) = fasterlog::kFirstAddress;
  Epoch epoch_ TAILRACE_GUARDED_BY(mutex_){1};
  std::vector<fasterlog::EpochStart> epochs_ TAILRACE_GUARDED_BY(mutex_);
  int would_block_ TAILRACE_GUARDED_BY(mutex_) = 0;
  fasterlog::RecoveryReport recovery_;
};

class FakeScanner : public fasterlog::LogScanner {
 public:
  FakeScanner(const FakeLog& log, Address from)
      : log_(log), cuts_(log.cuts.load()), position_(from) {
    ++log_.scanners;
  }
  ~FakeScanner() override { --log_.scanners; }
  Result<std::optional<fasterlog::Record>> next(Address limit) override {
    if (log_.cuts.load() != cuts_) return make_error(ErrorCode::kOutOfRange, "the log was cut");
    if (const auto failure = log_.read_failure()) return tl::unexpected(*failure);
    auto found = log_.next(position_, limit);
    if (!found) return std::nullopt;
    if (log_.strict && found->address != position_)
      return make_error(ErrorCode::kCorruption, "no sound record begins here");
    current_ = std::move(*found);
    position_ = current_.end;
    return fasterlog::Record{current_.address, current_.end, current_.epoch, current_.kind,
                             as_bytes(current_.payload)};
  }
  Result<> wait(SteadyTime, std::stop_token) override {
    return make_error(ErrorCode::kUnsupported, "the test's log has no such call");
  }
  Address position() const override { return position_; }

 private:
  const FakeLog& log_;
  const int cuts_;
  Address position_;
  FakeLog::Stored current_;
};

inline std::unique_ptr<fasterlog::LogScanner> FakeLog::scan(Address from, ScanOptions options) {
  if (options.with_commit_marks) {
    ++looks;
  } else {
    ++scans;
    most_read_ahead = std::max(most_read_ahead.load(), options.read_ahead_bytes);
  }
  return std::make_unique<FakeScanner>(*this, from);
}

/// A copy of the pairs, as they were.
class FakeScan : public statemachine::StateScan {
 public:
  FakeScan(Address address, std::string prefix, std::map<std::string, std::string> pairs)
      : address_(address), prefix_(std::move(prefix)), pairs_(std::move(pairs)) {}
  Address address() const override { return address_; }
  Epoch epoch() const override { return Epoch{1}; }
  Result<bool> next(size_t most_pairs, uint64_t, const Visitor& visit) override {
    for (size_t i = 0; i < most_pairs && !pairs_.empty(); ++i) {
      const auto node = pairs_.extract(pairs_.begin());
      if (node.key().starts_with(prefix_)) visit(as_bytes(node.key()), as_bytes(node.mapped()));
    }
    return !pairs_.empty();
  }

 private:
  const Address address_;
  const std::string prefix_;
  std::map<std::string, std::string> pairs_;
};

class FakeStateMachine : public statemachine::StateMachine {
 public:
  using Listener = std::function<void(std::shared_ptr<const statemachine::AppliedBatch>)>;
  FakeStateMachine(FakeLog& log, statemachine::Watermarks& marks) : log_(log), marks_(marks) {}
  ~FakeStateMachine() override { stop(); }

  void set_applied_listener(Listener listener) override {
    const MutexLock lock(mutex_);
    listener_ = std::move(listener);
  }
  void start() override {
    thread_ = std::thread([this] { run(); });
  }
  void stop() override {
    {
      const MutexLock lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
  }
  void notify() override {
    const MutexLock lock(mutex_);
    ++turns_;
    changed_.notify_all();
  }
  /// As if all sessions had expired.
  void forget_sessions() {
    const MutexLock lock(state_mutex_);
    sessions_.clear();
  }
  /// While held, nothing is applied.
  void hold(bool held) {
    const MutexLock lock(mutex_);
    held_ = held;
    ++turns_;
    changed_.notify_all();
  }
  std::optional<Error> failure() const override { return std::nullopt; }
  Result<> admit(const statemachine::CommandCost&, uint64_t) const override { return {}; }
  Result<> read(ByteSpan key, std::string& value) const override {
    const MutexLock lock(state_mutex_);
    const auto found = state_.find(std::string(as_text(key)));
    if (found == state_.end()) return make_error(ErrorCode::kNotFound, "absent");
    value = found->second;
    return {};
  }
  /// What every read comes to from now on.
  void fail_reads(Error error) {
    const MutexLock lock(state_mutex_);
    read_failure_ = std::move(error);
  }
  Result<ReadOutcome> try_read(ByteSpan key, std::string& value) const override {
    {
      const MutexLock lock(state_mutex_);
      if (read_failure_) return tl::unexpected(*read_failure_);
    }
    if (cold) return ReadOutcome::kCold;
    return read(key, value) ? ReadOutcome::kFound : ReadOutcome::kAbsent;
  }
  void read_async(ByteSpan key, ReadDone done) const override {
    std::thread([this, key = to_string(key), done = std::move(done)] {
      std::string value;
      const bool found = read(as_bytes(key), value).has_value();
      if (after_cold_read) after_cold_read();
      done(found, std::move(value));
    }).detach();
  }
  Result<std::unique_ptr<statemachine::StateScan>> start_scan(ByteSpan prefix) override {
    const MutexLock lock(state_mutex_);
    return std::make_unique<FakeScan>(marks_.applied(), to_string(prefix), state_);
  }
  uint64_t log_time_ns() const override { return log_time; }
  statemachine::RulesStatus rules() const override {
    statemachine::RulesStatus rules;
    rules.in_log = session_ttl_ns != 0;
    if (rules.in_log) rules.in_force.session_ttl_ns = session_ttl_ns;
    rules.floor_ns = floor_ns;
    return rules;
  }
  std::atomic<uint64_t> log_time{5}, session_ttl_ns{0};  // 0: the log has no rules
  std::atomic<uint64_t> floor_ns{0};                     // the greatest bound of an evicted session
  std::atomic<uint64_t> last_bound_ns{0};                // of the last serial 1
  bool wants_log_time(uint64_t) const override { return false; }
  statemachine::StoreStatus store_status() const override { return {1, 2, 7, {3, 4, 5, 6}}; }
  /// Every value is on disk.
  std::atomic<bool> cold{false};
  std::function<void()> after_cold_read;  // set before it is used; the answer waits for it
  /// Of the last command that had one.
  std::atomic<uint64_t> last_expiry_ns{0};
  Result<> wait_applied(Address, SteadyTime) override { return {}; }
  void request_checkpoint(std::function<void(Result<Address>)> done) override {
    ++checkpoints;
    std::thread([done = std::move(done)] { done(Address{4096}); }).detach();
  }
  std::atomic<int> checkpoints{0};  // that were taken
  statemachine::CheckpointStatus checkpoint_status() const override { return {}; }
  /// The state's digests come when this is false, and the log's when `log_digests_wait` is.
  std::atomic<bool> digests_wait{false}, log_digests_wait{false};
  mutable std::atomic<int> log_digests{0}, log_digests_given_up{0};
  std::atomic<int> log_digest_takes_ms{0};
  Result<statemachine::StateDigest> digest_at(Address address) const override {
    if (digests_wait) return make_error(ErrorCode::kWouldBlock, "is being computed");
    return statemachine::StateDigest{address, 1, 2, 3};
  }
  statemachine::DigestProgress digest_progress() const override { return {}; }
  Result<std::pair<uint64_t, uint64_t>> log_digest(AddressRange range,
                                                   const GoOn& go_on) const override {
    ++log_digests;
    while (log_digests_wait && go_on())
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::this_thread::sleep_for(std::chrono::milliseconds(log_digest_takes_ms));
    if (go_on()) return std::pair{range.first.value, range.end.value};
    ++log_digests_given_up;
    return make_error(ErrorCode::kCancelled, "nobody waits");
  }
  Result<std::unique_ptr<statemachine::StateCopySource>> open_copy(std::string, uint64_t) override {
    return make_error(ErrorCode::kNotFound, "no checkpoint");
  }
  uint64_t session_count() const override {
    const MutexLock lock(state_mutex_);
    return sessions_.size();
  }
  void register_metrics(observability::MetricRegistry&) override {}

 private:
  void run() {
    Address position = fasterlog::kFirstAddress;
    MutexLock lock(mutex_);
    uint64_t seen = 0;  // what was notified before this thread ran counts too
    while (true) {
      changed_.wait(
          lock, [&]() TAILRACE_REQUIRES(mutex_) { return stop_ || (turns_ != seen && !held_); });
      if (stop_) return;
      seen = turns_;
      const Listener listener = listener_;
      lock.unlock();
      std::shared_ptr<statemachine::AppliedBatch> batch;
      const auto tell = [&] {
        if (!batch) return;
        marks_.advance_applied(batch->range.end, batch->epoch);
        if (listener) listener(std::exchange(batch, nullptr));
      };
      const Address tail = log_.tail();
      marks_.advance_committed(tail);
      while (auto record = log_.next(position, tail)) {
        if (batch && batch->epoch != record->epoch) tell();
        if (!batch)
          batch = std::make_shared<statemachine::AppliedBatch>(
              statemachine::AppliedBatch{record->epoch, {position, position}, {}});
        batch->range.end = position = record->end;
        auto answer = apply(statemachine::decode(as_bytes(record->payload)).value());
        if (answer.outcome != statemachine::Outcome::kDone || answer.has_value)
          batch->answers.emplace_back(record->address, std::move(answer));
      }
      tell();
      lock.lock();
    }
  }

  statemachine::Answer apply(const statemachine::Command& command) {
    using statemachine::Operation;
    using statemachine::Outcome;
    const MutexLock lock(state_mutex_);
    if (command.session) {
      if (command.session->serial == 1) {
        last_bound_ns = command.session->begins_before_ns;
        if (session_ttl_ns != 0 && !sessions_.contains(command.session->client) &&
            !statemachine::may_begin(last_bound_ns, log_time, rules().in_force, floor_ns))
          return {Outcome::kSessionExpired, false, {}};
      }
      auto& [last, answer] = sessions_[command.session->client];
      if (command.session->serial <= last) return answer;
      if (command.session->serial != last + 1) return {Outcome::kSerialGap, false, {}};
      last = command.session->serial;
      return answer = change(command);
    }
    return change(command);
  }

  statemachine::Answer change(const statemachine::Command& command)
      TAILRACE_REQUIRES(state_mutex_) {
    using statemachine::Operation;
    using statemachine::Outcome;
    const std::string key(as_text(command.key)), value(as_text(command.value));
    if (command.expires_at_ns != 0) last_expiry_ns = command.expires_at_ns;
    switch (command.operation) {
      case Operation::kPut:
        state_[key] = value;
        return {};
      case Operation::kExpire:
        return {state_.contains(key) ? Outcome::kDone : Outcome::kAbsent, false, {}};
      case Operation::kDelete:
        return {state_.erase(key) != 0 ? Outcome::kDone : Outcome::kAbsent, false, {}};
      case Operation::kAdd: {
        std::string& number = state_[key];
        int64_t sum = 0;
        const char* end = number.data() + number.size();
        const auto parsed = std::from_chars(number.data(), end, sum);
        if (!number.empty() && (parsed.ec != std::errc{} || parsed.ptr != end))
          return {Outcome::kNotAnInteger, false, {}};
        if (__builtin_add_overflow(sum, command.delta, &sum))
          return {Outcome::kNotAnInteger, false, {}};
        number = std::to_string(sum);
        return {Outcome::kDone, true, number};
      }
      case Operation::kCas: {
        const auto found = state_.find(key);
        if (found == state_.end()) return {Outcome::kCasMismatch, false, {}};
        if (found->second != as_text(command.expected))
          return {Outcome::kCasMismatch, true, found->second};
        found->second = value;
        return {};
      }
      case Operation::kInsert: {
        const auto [found, inserted] = state_.try_emplace(key, value);
        if (!inserted) return {Outcome::kCasMismatch, true, found->second};
        return {};
      }
      default:
        return {};
    }
  }

  FakeLog& log_;
  statemachine::Watermarks& marks_;
  Mutex mutex_;
  Condition changed_;
  Listener listener_ TAILRACE_GUARDED_BY(mutex_);
  bool stop_ TAILRACE_GUARDED_BY(mutex_) = false;
  bool held_ TAILRACE_GUARDED_BY(mutex_) = false;
  uint64_t turns_ TAILRACE_GUARDED_BY(mutex_) = 0;
  mutable Mutex state_mutex_;
  std::optional<Error> read_failure_ TAILRACE_GUARDED_BY(state_mutex_);
  std::map<std::string, std::string> state_ TAILRACE_GUARDED_BY(state_mutex_);
  std::map<statemachine::ClientId, std::pair<uint64_t, statemachine::Answer>> sessions_
      TAILRACE_GUARDED_BY(state_mutex_);
  std::thread thread_;
};

class FakeReplication : public replication::Node {
 public:
  FakeReplication() {
    replication::NodeStatus status;
    status.self = NodeId{1};
    status.role = replication::Role::kLeader;
    status.epoch = Epoch{1};
    status.leader = NodeId{1};
    status.serving = true;
    status.alone = true;
    status.cluster_version = kClusterVersion;
    set(status);
  }
  Result<> start() override { return {}; }
  void stop() override {}
  void tick() override {}
  std::shared_ptr<const replication::NodeStatus> status() const override {
    const MutexLock lock(mutex_);
    return status_;
  }
  void set(replication::NodeStatus status) {
    const MutexLock lock(mutex_);
    status_ = std::make_shared<const replication::NodeStatus>(std::move(status));
  }
  void set_role_listener(std::function<void(const replication::NodeStatus&)>) override {}
  void set_restart_listener(std::function<void()>) override {}
  void set_fatal_listener(std::function<void(const Error&)>) override {}
  void confirm_leadership(SteadyTime, Confirmed done) override {
    done(make_error(ErrorCode::kNotLeader, "the test's node asks nobody"));
  }
  void transfer(NodeId, Done done) override { done({}); }
  void promote(Done done) override { done({}); }
  void change_members(replication::MemberChange change, Done done) override {
    changes.push_back(std::move(change));
    done({});
  }
  std::vector<replication::MemberChange> changes;
  void register_metrics(observability::MetricRegistry&) override {}

 private:
  mutable Mutex mutex_;
  std::shared_ptr<const replication::NodeStatus> status_ TAILRACE_GUARDED_BY(mutex_);
};

/// All of it, and a server on a free port.
struct FakeNode {
  explicit FakeNode(ServerOptions options = {}) : marks(log), machine(log, marks) {
    log.listener_ = [this] { machine.notify(); };
    machine.start();
    serve(std::move(options));
  }
  ~FakeNode() { stop_serving(); }

  void serve(ServerOptions options) {
    options.listen = "127.0.0.1:" + std::to_string(port);
    auto created = Server::create(options, {&log, &machine, &marks, &anchors, &node});
    if (!created) throw std::runtime_error(created.error().message);
    server = std::move(*created);
    port = server->port();
    machine.set_applied_listener([this, to = server.get()](auto batch) { to->on_applied(batch); });
    server->start();
  }
  void stop_serving() {
    if (!server) return;
    machine.stop();
    server->drain_and_stop(std::chrono::milliseconds(0));
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(port); }

  FakeLog log;
  statemachine::Watermarks marks;
  statemachine::AnchorRegistry anchors;
  FakeReplication node;
  FakeStateMachine machine;
  int port = 0;
  std::unique_ptr<Server> server;
};

}  // namespace tailrace::rpc::testing
