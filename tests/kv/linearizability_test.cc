// What concurrent sessions see of single keys has an order. TAILRACE_SEED=N replays one run's
// choices (not its timing), TAILRACE_SEEDS=N tries so many.

#include "tests/support/linearizability.h"

#include <atomic>
#include <chrono>
#include <thread>

#include "core/random.h"
#include "tests/kv/kv_support.h"
#include "tests/support/temporary_directory.h"

namespace tailrace::kv {
namespace {

using testing::HistoryKind;
using testing::HistoryOperation;
using Seen = HistoryOperation::Seen;

constexpr uint64_t kThreads = 4;
constexpr uint64_t kHotKeys = 3;  // and as many that are only added to
constexpr uint64_t kColdKeys = 120;

uint64_t now_ns() {
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

/// One session's thread: works on the hot keys and notes what it sees; writes to keys of its own in
/// between, so that in little memory the hot ones go to disk and come back.
class Client {
 public:
  Client(Store& store, uint64_t seed, uint64_t number)
      : store_(store), number_(number), random_(seed * 100 + number) {
    session_ = session_or_die(store, number + 1);
  }

  void run(uint64_t operations, bool fills) {
    const std::string filling(700, 'f');
    while (history_.size() < operations && !::testing::Test::HasFatalFailure()) {
      const uint64_t dice = random_.below(100);
      if (fills && dice < 50) {
        const std::string key =
            std::to_string(number_) + "/" + std::to_string(random_.below(kColdKeys));
        ASSERT_TRUE(session_->upsert(as_bytes(key), as_bytes(filling), ++serial_));
      } else if (dice < 52) {
        session_->refresh(serial_);
      } else if (dice < 60) {
        ASSERT_NO_FATAL_FAILURE(batch());
      } else if (dice < 65) {
        ASSERT_NO_FATAL_FAILURE(read_async());
      } else if (dice < 75) {
        ASSERT_NO_FATAL_FAILURE(add());
      } else {
        ASSERT_NO_FATAL_FAILURE(single());
      }
    }
  }
  std::vector<HistoryOperation>& history() { return history_; }
  void end() { session_.reset(); }

 private:
  /// No value is written twice, and none is empty.
  std::string new_value() {
    std::string value = std::to_string(number_) + "." + std::to_string(++values_) + " ";
    if (random_.chance(1, 3)) value.resize(value.size() + random_.below(60), '.');
    return value;
  }
  HistoryOperation begin(HistoryKind kind, const std::string& key) {
    HistoryOperation one;
    one.client = number_;
    one.kind = kind;
    one.key = key;
    one.invoked = now_ns();
    return one;
  }
  void end(HistoryOperation one) {
    one.returned = now_ns();
    if (one.seen == Seen::kValue) last_seen_ = one.seen_value;
    history_.push_back(std::move(one));
  }
  static void see(HistoryOperation& one, bool found, const std::string& value) {
    one.seen = found ? Seen::kValue : Seen::kAbsent;
    one.seen_value = value;
  }
  std::string hot_key() { return "hot" + std::to_string(random_.below(kHotKeys)); }
  HistoryKind any_kind() {
    constexpr HistoryKind kKinds[] = {
        HistoryKind::kRead,           HistoryKind::kRead,           HistoryKind::kRead,
        HistoryKind::kWrite,          HistoryKind::kWrite,          HistoryKind::kErase,
        HistoryKind::kInsertIfAbsent, HistoryKind::kCompareAndSwap, HistoryKind::kCompareAndSwap};
    return kKinds[random_.below(std::size(kKinds))];
  }

  void single() {
    const std::string key = hot_key(), value = new_value(), expected = last_seen_;
    std::string seen;
    auto one = begin(any_kind(), key);
    switch (one.kind) {
      case HistoryKind::kRead: {
        // From the session, or as somebody without one.
        const auto read = random_.chance(1, 2) ? session_->read(as_bytes(key), seen)
                                               : store_.read(as_bytes(key), seen);
        ASSERT_TRUE(read || read.error().code == ErrorCode::kNotFound) << read.error().message;
        see(one, read.has_value(), seen);
        break;
      }
      case HistoryKind::kWrite:
        one.value = value;
        ASSERT_TRUE(session_->upsert(as_bytes(key), as_bytes(value), ++serial_));
        break;
      case HistoryKind::kErase: {
        const auto done = session_->erase(as_bytes(key), ++serial_);
        ASSERT_TRUE(done.has_value()) << done.error().message;
        one.done = *done;
        break;
      }
      case HistoryKind::kInsertIfAbsent: {
        one.value = value;
        const auto done =
            session_->insert_if_absent(as_bytes(key), as_bytes(value), ++serial_, &seen);
        ASSERT_TRUE(done.has_value()) << done.error().message;
        one.done = *done;
        if (!*done) see(one, true, seen);
        break;
      }
      default: {
        one.value = value;
        one.expected = expected;
        const auto done = session_->compare_and_swap(as_bytes(key), as_bytes(expected),
                                                     as_bytes(value), ++serial_, &seen);
        ASSERT_TRUE(done.has_value()) << done.error().message;
        one.done = *done;
        if (!*done) see(one, !seen.empty(), seen);
      }
    }
    end(std::move(one));
  }

  void add() {
    const std::string key = "sum" + std::to_string(random_.below(kHotKeys));
    const int64_t amount = static_cast<int64_t>(1 + random_.below(9));
    std::string sum;
    const auto modify = [&](const ByteSpan* present, std::string& next) {
      const int64_t before = present == nullptr ? 0 : std::stoll(to_string(*present));
      // Grows and shrinks, so that it does not always fit where it was.
      next = std::to_string(before + amount);
      sum = next;
      next.append(static_cast<size_t>((before + amount) % 5) * 8, ' ');
      return Modification::kWrite;
    };
    auto one = begin(HistoryKind::kAdd, key);
    one.value = std::to_string(amount);
    const auto done = session_->rmw(as_bytes(key), modify, ++serial_);
    ASSERT_TRUE(done.has_value()) << done.error().message;
    see(one, true, sum);
    end(std::move(one));
  }

  void batch() {
    const size_t count = 2 + random_.below(12);
    std::vector<HistoryOperation> all;
    std::vector<std::string> results(count);
    std::vector<Operation> operations(count);
    all.reserve(count);
    const std::string expected = last_seen_;
    for (size_t i = 0; i < count; ++i) {
      all.push_back(begin(any_kind(), hot_key()));
      HistoryOperation& one = all.back();
      Operation& operation = operations[i];
      operation.key = as_bytes(one.key);
      operation.result = &results[i];
      if (one.kind != HistoryKind::kRead) operation.serial = ++serial_;
      if (one.kind != HistoryKind::kRead && one.kind != HistoryKind::kErase) {
        one.value = new_value();
        operation.value = as_bytes(one.value);
      }
      switch (one.kind) {
        case HistoryKind::kRead:
          operation.kind = OperationKind::kRead;
          break;
        case HistoryKind::kWrite:
          operation.kind = OperationKind::kUpsert;
          break;
        case HistoryKind::kErase:
          operation.kind = OperationKind::kErase;
          break;
        case HistoryKind::kInsertIfAbsent:
          operation.kind = OperationKind::kInsertIfAbsent;
          break;
        default:
          operation.kind = OperationKind::kCompareAndSwap;
          one.expected = expected;
          operation.expected = as_bytes(one.expected);
      }
    }
    const auto done = session_->run(operations);
    ASSERT_TRUE(done.has_value()) << done.error().message;
    for (size_t i = 0; i < count; ++i) {
      HistoryOperation& one = all[i];
      if (one.kind == HistoryKind::kRead) {
        see(one, operations[i].done, results[i]);
      } else if (one.kind != HistoryKind::kWrite) {
        one.done = operations[i].done;
        if (!*one.done && one.kind != HistoryKind::kErase) {
          see(one, !results[i].empty(), results[i]);
        }
      }
      end(std::move(one));
    }
  }

  void read_async() {
    const size_t count = 1 + random_.below(6);
    std::vector<HistoryOperation> all;
    all.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      all.push_back(begin(HistoryKind::kRead, hot_key()));
      session_->read_async(as_bytes(all.back().key),
                           [&, i](Result<bool> found, const std::string& value) {
                             ASSERT_TRUE(found.has_value()) << found.error().message;
                             see(all[i], *found, value);
                             end(all[i]);
                           });
      if (random_.chance(1, 3)) {
        ASSERT_NO_FATAL_FAILURE(single());
      }
    }
    ASSERT_TRUE(session_->wait_pending());
  }

  Store& store_;
  const uint64_t number_;
  Random random_;
  std::unique_ptr<Session> session_;
  Serial serial_ = 0;
  uint64_t values_ = 0;
  std::string last_seen_ = "nothing";
  std::vector<HistoryOperation> history_;
};

struct HistorySetting {
  bool tiny = false;
  bool upkeep = false;
  bool copy_reads = false;
};

void run_and_judge(uint64_t seed, const HistorySetting& setting, uint64_t operations) {
  const testing::TemporaryDirectory directory;
  StoreOptions options =
      setting.tiny ? tiny_options(directory.path()) : small_options(directory.path());
  options.copy_reads_to_tail = setting.copy_reads;
  options.index_buckets = 1;
  options.index_grows = setting.upkeep;
  options.compaction.least_log_bytes = 1u << 19;
  auto store = open_or_die(storage::posix_file_system(), options);
  ASSERT_NE(store, nullptr);
  std::vector<std::unique_ptr<Client>> clients;
  std::vector<std::thread> threads;
  for (uint64_t number = 0; number < kThreads; ++number)
    clients.push_back(std::make_unique<Client>(*store, seed, number));
  std::atomic<uint64_t> running{kThreads};
  for (auto& client : clients) {
    threads.emplace_back([&, one = client.get()] {
      one->run(operations, setting.tiny);
      one->end();
      --running;
    });
  }
  Random random(seed);
  while (setting.upkeep && running > 0) {
    const uint64_t dice = random.below(4);
    if (dice == 0) {
      const auto extent = store->log_extent();
      ASSERT_TRUE(store->compact(extent.begin + (extent.read_only - extent.begin) / 2));
    } else if (dice == 1 && store->index_buckets() < 64) {
      ASSERT_TRUE(store->grow_index());
    } else {
      const auto info =
          checkpoint(*store, static_cast<CheckpointKind>(1 + random.below(3)), random.chance(1, 2));
      ASSERT_TRUE(info.has_value()) << info.error().message;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(random.below(3000)));
  }
  for (auto& thread : threads)
    thread.join();
  std::vector<HistoryOperation> history;
  for (auto& client : clients)
    history.insert(history.end(), client->history().begin(), client->history().end());
  const auto judgement = testing::judge(std::move(history));
  EXPECT_EQ(judgement.verdict, testing::Judgement::Verdict::kLinearizable) << judgement.explanation;
}

// Promise: operations of concurrent sessions on one key take effect at one moment each, between
// call and return: updates in place, copies to the tail, reads of whatever region.
TEST(StoreLinearizability, InMemory) {
  for_seeds(3, [](uint64_t seed) { run_and_judge(seed, {}, 4000); });
}

// Promise: the same while records go to disk and come back.
TEST(StoreLinearizability, LargerThanMemory) {
  for_seeds(3, [](uint64_t seed) {
    run_and_judge(seed, {.tiny = true, .copy_reads = seed % 2 == 0}, 1500);
  });
}

// Promise: the same beside checkpoints, compaction and growth.
TEST(StoreLinearizability, BesideCheckpointsCompactionAndGrowth) {
  for_seeds(4, [](uint64_t seed) {
    run_and_judge(seed, {.tiny = seed % 2 == 0, .upkeep = true, .copy_reads = seed % 4 == 0},
                  seed % 2 == 0 ? 1500 : 4000);
  });
}

}  // namespace
}  // namespace tailrace::kv
