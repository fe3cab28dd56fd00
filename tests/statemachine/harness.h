#pragma once
// A node without network: a real log, a real store and the state machine between them.

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "core/mutex.h"
#include "fasterlog/log.h"
#include "kv/store.h"
#include "model.h"
#include "statemachine/digest.h"
#include "statemachine/state_machine.h"

namespace tailrace::statemachine {

/// Where it says so, the sanitizers take a part of what the release build takes.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

/// What most commands answer, and what one of a session that was forgotten does.
inline const Answer kDone{};
inline const Answer kExpired{Outcome::kSessionExpired, false, {}};

inline SteadyTime soon() {
  return std::chrono::steady_clock::now() + std::chrono::seconds(30);
}

/// Stands still until it is told to move.
class ManualClock final : public Clock {
 public:
  SteadyTime now() const override { return SteadyTime(Nanoseconds(passed_ns_.load())); }
  uint64_t unix_time_ns() const override { return kBorn + static_cast<uint64_t>(passed_ns_); }
  void advance(Nanoseconds time) { passed_ns_ += time.count(); }

 private:
  static constexpr uint64_t kBorn = 1'700'000'000'000'000'000;
  std::atomic<int64_t> passed_ns_{1'000'000'000};
};

inline fasterlog::LogOptions small_log(storage::Path directory) {
  fasterlog::LogOptions options;
  options.directory = std::move(directory);
  options.owner = "test/1";
  options.page_bytes = 64u << 10;
  options.buffer_pages = 4;
  options.segment_bytes = 64u << 10;
  options.reserve_disk_bytes = 0;
  options.proven_lag_bytes = 64u << 10;
  options.huge_pages = false;
  return options;
}

inline kv::StoreOptions small_store(storage::Path directory) {
  kv::StoreOptions options;
  options.directory = std::move(directory);
  options.owner = "test/1";
  options.memory_bytes = 1u << 20;
  options.disk_bytes = 8u << 20;
  options.page_bytes = 128u << 10;
  options.segment_bytes = 256u << 10;
  options.index_buckets = 64;
  options.huge_pages = false;
  return options;
}

/// Nothing happens by time or size unless a test says so.
inline StateMachineOptions quiet() {
  StateMachineOptions options;
  options.checkpoint_interval = std::chrono::seconds(0);
  options.checkpoint_log_bytes = 0;
  options.store_reserve_bytes = 256u << 10;
  return options;
}

/// Asks for a checkpoint. The promise is shared: whoever waits may be gone before set_value
/// returns.
inline std::future<Result<Address>> request_checkpoint(StateMachine& machine) {
  auto taken = std::make_shared<std::promise<Result<Address>>>();
  machine.request_checkpoint([taken](Result<Address> at) { taken->set_value(std::move(at)); });
  return taken->get_future();
}
inline Result<Address> wait(std::future<Result<Address>> taken) {
  if (taken.wait_until(soon()) != std::future_status::ready) {
    return make_error(ErrorCode::kTimedOut, "the checkpoint hangs");
  }
  return taken.get();
}

/// The answers as the server would hear them, and whether they came in order.
class Heard {
 public:
  void take(const AppliedBatch& batch) {
    const MutexLock lock(mutex_);
    if (batch.range.empty()) ADD_FAILURE() << "an empty stretch";
    size_t bytes = 0;
    for (const auto& [address, answer] : batch.answers)
      bytes += answer.value.size();
    if (bytes > (1u << 20) + kMostAnswerBytes) ADD_FAILURE() << "answers of " << bytes << " bytes";
    if (batch.epoch < epoch_) ADD_FAILURE() << "an epoch after a later one";
    epoch_ = batch.epoch;
    if (end_ > Address{0} && batch.range.first != end_) ADD_FAILURE() << "a hole between stretches";
    for (const auto& [address, answer] : batch.answers) {
      if (!batch.range.contains(address)) ADD_FAILURE() << "an answer outside of its stretch";
      if (!answers_.empty() && answers_.back().first >= address) ADD_FAILURE() << "out of order";
      answers_.emplace_back(address, answer);
    }
    end_ = batch.range.end;
    moved_.notify_all();
  }
  /// The answer of the command at `address`, once it was heard: that may be a moment after it
  /// counts as applied.
  Answer at(Address address) const {
    MutexLock lock(mutex_);
    EXPECT_TRUE(moved_.wait_until(lock, soon(),
                                  [&]() TAILRACE_REQUIRES(mutex_) { return end_ > address; }));
    for (const auto& [place, answer] : answers_)
      if (place == address) return answer;
    return {};
  }
  Address end() const {
    const MutexLock lock(mutex_);
    return end_;
  }

 private:
  mutable Mutex mutex_;
  mutable Condition moved_;
  Address end_ TAILRACE_GUARDED_BY(mutex_);
  Epoch epoch_ TAILRACE_GUARDED_BY(mutex_);
  std::vector<std::pair<Address, Answer>> answers_ TAILRACE_GUARDED_BY(mutex_);
};

/// A store and its state machine on a log that several may share. What is committed is up to the
/// test.
class Replica {
 public:
  static Result<std::unique_ptr<Replica>> open(storage::FileSystem& disk, fasterlog::Log& log,
                                               const kv::StoreOptions& store,
                                               const StateMachineOptions& options,
                                               const Clock& clock = system_clock()) {
    auto opened = kv::Store::open(disk, store, clock);
    if (!opened) return tl::unexpected(opened.error());
    std::unique_ptr<Replica> replica(new Replica(log, std::move(*opened)));
    auto machine = StateMachine::create(log, *replica->store_, replica->watermarks,
                                        replica->anchors, options, clock);
    if (!machine) return tl::unexpected(machine.error());
    replica->machine_ = std::move(*machine);
    replica->machine_->set_applied_listener(
        [heard = &replica->heard](auto batch) { heard->take(*batch); });
    return replica;
  }
  ~Replica() {
    if (machine_) machine_->stop();
  }

  StateMachine& machine() { return *machine_; }
  kv::Store& store() { return *store_; }

  void commit(Address address) {
    watermarks.advance_committed(address);
    machine_->notify();
  }
  Result<> apply_to(Address address) {
    commit(address);
    return machine_->wait_applied(address, soon());
  }
  /// The users' keys. Only while nothing is applied.
  Pairs pairs() {
    Pairs pairs;
    const auto quiet = store_->hold_compaction(true);
    const auto visited = store_->for_each([&](ByteSpan key, ByteSpan stored) {
      if (as_text(key).front() != kUserKey) return;
      const auto value = decode_state_value(stored);
      if (!value) ADD_FAILURE() << "a value that does not parse";
      if (value && !value->is_expired(machine_->log_time_ns()))
        pairs[to_string(key.subspan(1))] = to_string(value->value);
    });
    if (!visited) ADD_FAILURE() << visited.error().message;
    return pairs;
  }
  StateDigest state_digest() {
    const auto quiet = store_->hold_compaction(true);
    return digest_of(*store_, watermarks.applied(), machine_->log_time_ns()).value();
  }

  Watermarks watermarks;
  AnchorRegistry anchors;
  Heard heard;

 private:
  Replica(fasterlog::Log& log, std::unique_ptr<kv::Store> store)
      : watermarks(log), store_(std::move(store)) {}

  std::unique_ptr<kv::Store> store_;
  std::unique_ptr<StateMachine> machine_;
};

inline Result<AddressRange> append(fasterlog::Log& log, const OwnedCommand& command) {
  std::vector<std::byte> bytes;
  encode(command.view(), bytes);
  return log.enqueue(kCommandRecord, bytes, soon());
}

/// The whole of it: every command that is durable counts as committed, as on a single node.
class Node {
 public:
  struct Options {
    storage::Path root = "/node";
    StateMachineOptions machine = quiet();
    std::vector<std::pair<std::string, Address>> anchors;  // set before the start
    fasterlog::LogOptions log = small_log({});
    kv::StoreOptions store = small_store({});
    const Clock* clock = &system_clock();
  };

  static Result<std::unique_ptr<Node>> open(storage::FileSystem& disk, Options options) {
    options.log.directory = options.root / "log";
    options.store.directory = options.root / "kv";
    auto log = fasterlog::Log::open(disk, options.log, *options.clock);
    if (!log) return tl::unexpected(log.error());
    std::unique_ptr<Node> node(new Node(std::move(*log)));
    auto replica = Replica::open(disk, *node->log_, options.store, options.machine, *options.clock);
    if (!replica) return tl::unexpected(replica.error());
    node->replica_ = std::move(*replica);
    for (const auto& [name, address] : options.anchors)
      node->replica_->anchors.set(name, address);
    node->listener_ = node->log_->add_durable_listener(
        [raw = node->replica_.get()](Address durable, const Error*) { raw->commit(durable); });
    const Epoch epoch{node->log_->last_epoch().value + 1};
    node->replica_->commit(node->log_->durable());
    node->replica_->machine().start();
    TAILRACE_RETURN_IF_ERROR(node->log_->become_writer(epoch));
    return node;
  }
  ~Node() {
    listener_.reset();
    replica_.reset();
  }

  fasterlog::Log& log() { return *log_; }
  Replica& replica() { return *replica_; }
  StateMachine& machine() { return replica_->machine(); }

  /// Returns when it is applied: its address and answer.
  Result<std::pair<AddressRange, Answer>> run(const OwnedCommand& command) {
    auto range = append(*log_, command);
    if (!range) return tl::unexpected(range.error());
    TAILRACE_RETURN_IF_ERROR(log_->wait_durable(range->end, soon()));
    TAILRACE_RETURN_IF_ERROR(machine().wait_applied(range->end, soon()));
    return std::pair{*range, replica_->heard.at(range->first)};
  }
  /// run(), when only the answer matters.
  Answer answer(const OwnedCommand& command) {
    auto done = run(command);
    EXPECT_TRUE(done.has_value()) << done.error().message;
    return done ? done->second : Answer{};
  }
  /// All that was appended is applied.
  Result<> settle() {
    TAILRACE_RETURN_IF_ERROR(log_->wait_durable(log_->tail(), soon()));
    return machine().wait_applied(log_->durable(), soon());  // with the mark
  }
  Result<Address> checkpoint() { return wait(request_checkpoint(machine())); }

 private:
  explicit Node(std::unique_ptr<fasterlog::Log> log) : log_(std::move(log)) {}

  std::unique_ptr<fasterlog::Log> log_;
  fasterlog::Log::ListenerHandle listener_;
  std::unique_ptr<Replica> replica_;
};

inline uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

}  // namespace tailrace::statemachine
