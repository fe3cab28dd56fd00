#pragma once
// A state machine in memory. It applies a FakeLog on its own thread, and can be held.

#include <atomic>
#include <charconv>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "core/mutex.h"
#include "statemachine/command/command.h"
#include "statemachine/state_machine.h"
#include "statemachine/watermarks.h"
#include "tests/rpc/fake_log.h"

namespace tailrace::rpc::testing {

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
  Result<> read_state(ByteSpan key, statemachine::KeyState& into) const override {
    return read(key, into.value);
  }
  Result<ReadOutcome> try_read_state(ByteSpan key, statemachine::KeyState& into) const override {
    return try_read(key, into.value);
  }
  void read_state_async(ByteSpan key, StateDone done) const override {
    read_async(key, [done = std::move(done)](Result<bool> found, std::string value) {
      done(std::move(found), {std::move(value)});
    });
  }
  Result<statemachine::KeysTogether> read_together(const std::vector<std::string>& keys, size_t,
                                                   const GoOn& go_on) override {
    ++together_begun;
    while (together_waits) {
      if (!go_on()) {
        ++together_given_up;
        return make_error(ErrorCode::kCancelled, "nobody waits");
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    statemachine::KeysTogether together{marks_.applied_point(), {}};
    for (const std::string& key : keys) {
      auto& one = together.keys.emplace_back();
      one.found = read(as_bytes(key), one.state.value).has_value();
    }
    return together;
  }
  /// read_together() comes to its end when this is false, or it is given up.
  std::atomic<bool> together_waits{false};
  std::atomic<int> together_begun{0}, together_given_up{0};
  /// It has no streams.
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
    return make_error(ErrorCode::kUnavailable, "it has no streams");
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

}  // namespace tailrace::rpc::testing
