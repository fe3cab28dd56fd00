// A fault at every operation of a log that is truncated at both ends, has consumers, and is waited
// for by other threads meanwhile.

#include <atomic>
#include <map>
#include <thread>

#include <gtest/gtest.h>

#include "fasterlog/log.h"
#include "observability/logging.h"
#include "tests/fasterlog/fault_options.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::fasterlog {
namespace {

using testing::CrashPolicy;
using testing::FaultFileSystem;
using testing::FaultKind;

SteadyTime soon() {
  return system_clock().now() + std::chrono::seconds(30);
}

struct Outcome {
  /// What stands where: enqueued and not cut for certain.
  std::map<Address, std::string> records;
  Address acknowledged = kFirstAddress;
  Address begin = kFirstAddress;
  Address position = kFirstAddress;  // of the consumer "c", acknowledged
  bool has_consumer = false;
  bool failed = false;
};

/// Threads that wait; every wait has to end by itself once the log has failed or is closed.
class Waiters {
 public:
  explicit Waiters(Log& log) {
    threads_.emplace_back([this, &log] {
      const auto waited = log.wait_durable(Address{uint64_t{1} << 40}, soon());
      check(waited);
    });
    threads_.emplace_back([this, &log] {
      auto scanner = log.scan(log.begin());
      for (;;) {
        auto record = scanner->next(Address::max());
        if (!record) {
          if (record.error().code != ErrorCode::kOutOfRange &&
              record.error().code != ErrorCode::kTruncated)
            return;  // the disk is gone
          scanner = log.scan(log.begin());
          continue;
        }
        if (*record) continue;
        const auto waited = scanner->wait(soon());
        if (!waited) return check(waited);
      }
    });
  }
  ~Waiters() {
    for (std::thread& thread : threads_)
      thread.join();
  }
  Waiters(const Waiters&) = delete;
  Waiters& operator=(const Waiters&) = delete;

 private:
  static void check(const Result<>& waited) {
    EXPECT_FALSE(waited.has_value());
    if (!waited) {
      EXPECT_NE(waited.error().code, ErrorCode::kTimedOut) << "a waiter hangs";
    }
  }
  std::vector<std::thread> threads_;
};

class Scenario {
 public:
  explicit Scenario(FaultFileSystem& disk) : disk_(disk) {}

  Outcome run() {
    for (uint64_t life = 1; life <= 2 && !outcome_.failed; ++life) {
      auto opened = Log::open(disk_, fault_options());
      if (!opened) {
        outcome_.failed = true;
        break;
      }
      Log& log = **opened;
      const Waiters waiters(log);
      outcome_.failed = !live(log, life);
      if (outcome_.failed && log.failure()) {
        EXPECT_FALSE(log.try_enqueue(RecordKind::kData, as_bytes("x")).has_value())
            << "a failure is final";
      }
      const bool closed = log.close().has_value();  // ends the waiters in any case
      if (!closed) outcome_.failed = true;
    }
    return outcome_;
  }

 private:
  std::string payload() {
    const int i = number_++;
    return std::to_string(i) + ":" +
           std::string((i * 1731) % 13'000, static_cast<char>('a' + i % 26));
  }
  bool append(Log& log, int count) {
    for (int i = 0; i < count; ++i) {
      const std::string text = payload();
      auto range = log.enqueue(RecordKind::kData, as_bytes(text), soon());
      if (!range) return false;
      outcome_.records[range->first] = text;
      if (i % 2 == 0) continue;
      if (!log.wait_durable(range->end, soon())) return false;
      outcome_.acknowledged = range->end;
    }
    return true;
  }
  bool consume(Log& log) {
    auto consumer = log.open_consumer("c");
    if (!consumer) return false;
    if (!outcome_.has_consumer) outcome_.position = (*consumer)->position();
    outcome_.has_consumer = true;
    Address end;
    for (int i = 0; i < 4; ++i) {
      auto record = (*consumer)->next();
      if (!record) return false;
      if (*record) end = (*record)->end;
    }
    if (!(*consumer)->acknowledge(end)) return false;
    outcome_.position = (*consumer)->position();
    return true;
  }
  static Address mark_not_above(Log& log, Address address) {
    const auto scanner = log.scan(log.begin(), {true, false, 65536});
    Address found = log.begin();
    for (;;) {
      auto record = scanner->next(Address::max());
      if (!record || !*record || (*record)->end > address) return found;
      if ((*record)->kind == RecordKind::kCommitMark) found = (*record)->end;
    }
  }
  bool cut(Log& log, Address address) {
    // Whether a failed one has happened only the disk knows.
    std::map<Address, std::string> beyond(outcome_.records.lower_bound(address),
                                          outcome_.records.end());
    for (const auto& [at, text] : beyond)
      outcome_.records.erase(at);
    const Address least = mark_not_above(log, address);
    outcome_.acknowledged = std::min(outcome_.acknowledged, least);
    outcome_.position = std::min(outcome_.position, least);
    auto to = log.truncate_after(address);
    if (!to) {
      outcome_.records.merge(beyond);
      return false;
    }
    EXPECT_LE(*to, address);
    EXPECT_GE(*to, least);
    EXPECT_LE(log.consumers().empty() ? Address{} : log.consumers()[0].position, *to);
    outcome_.records.erase(outcome_.records.lower_bound(*to), outcome_.records.end());
    outcome_.acknowledged = *to;
    return true;
  }
  bool live(Log& log, uint64_t life) {
    if (!log.become_writer(Epoch{life})) return false;
    if (life == 2) return append(log, 4) && cut(log, log.durable() - 15'000) && append(log, 2);
    if (!append(log, 8) || !consume(log)) return false;
    // In the same batch as its neighbour, or behind a mark of its own.
    if (!cut(log, std::prev(outcome_.records.end(), 3)->first)) return false;
    if (!append(log, 10)) return false;
    auto begin = log.truncate_before(log.durable());
    if (!begin) return false;
    EXPECT_LE(*begin, outcome_.position) << "a pin was not respected";
    outcome_.begin = *begin;
    if (!consume(log) || !append(log, 6)) return false;
    return cut(log, log.durable() - 20'000) && append(log, 3);
  }

  FaultFileSystem& disk_;
  Outcome outcome_;
  int number_ = 0;
};

void check_reopened(FaultFileSystem& disk, const Outcome& outcome) {
  auto log = Log::open(disk, fault_options());
  ASSERT_TRUE(log.has_value()) << log.error().message;
  ASSERT_GE((*log)->begin(), outcome.begin);
  std::map<Address, std::string> there;
  const auto scanner = (*log)->scan((*log)->begin());
  for (;;) {
    auto record = scanner->next(Address::max());
    ASSERT_TRUE(record.has_value()) << record.error().message;
    if (!*record) break;
    there[(*record)->address] = to_string((*record)->payload);
  }
  for (const auto& [at, text] : outcome.records) {
    const bool must = at >= (*log)->begin() && at < outcome.acknowledged;
    const auto found = there.find(at);
    ASSERT_TRUE(found != there.end() || !must) << "missing at " << at.value;
  }
  for (const auto& [at, text] : there) {
    const auto found = outcome.records.find(at);
    ASSERT_TRUE(found != outcome.records.end()) << "nobody enqueued, or cut: " << at.value;
    ASSERT_TRUE(found->second == text) << "other bytes at " << at.value;
  }
  if (outcome.has_consumer) {
    const auto consumers = (*log)->consumers();
    ASSERT_EQ(consumers.size(), 1u);
    ASSERT_GE(consumers[0].position, std::min(outcome.position, (*log)->durable()));
    ASSERT_LE(consumers[0].position, (*log)->durable());
    ASSERT_GE(consumers[0].position, (*log)->begin()) << "a pin was not respected";
    auto consumer = (*log)->open_consumer("c");
    ASSERT_TRUE(consumer.has_value());
    auto next = (*consumer)->next();
    ASSERT_TRUE(next.has_value()) << next.error().message;
  }
  // What is there can be continued, whoever wrote there before.
  ASSERT_TRUE((*log)->become_writer(Epoch{9}).has_value());
  auto more = (*log)->enqueue(RecordKind::kData, as_bytes("more"));
  ASSERT_TRUE(more.has_value()) << more.error().message;
  ASSERT_TRUE((*log)->wait_durable(more->end).has_value());
}

class TruncationFaults : public ::testing::Test {
 protected:
  void SetUp() override { observability::set_log_level(observability::LogLevel::kOff); }
  void TearDown() override { observability::set_log_level(observability::LogLevel::kInfo); }

  static std::vector<uint64_t> operations() {
    FaultFileSystem disk(1);
    EXPECT_FALSE(Scenario(disk).run().failed);
    return disk.sectors_of_operations();
  }
  static void run(uint64_t operation, FaultKind kind, uint64_t sectors, CrashPolicy policy) {
    FaultFileSystem disk(operation + 1);
    disk.fail_at(operation, kind, sectors);
    const Outcome outcome = Scenario(disk).run();
    disk.crash(policy);
    check_reopened(disk, outcome);
  }
};

class FaultWhileTruncating
    : public TruncationFaults,
      public ::testing::WithParamInterface<std::tuple<FaultKind, CrashPolicy>> {};

TEST_P(FaultWhileTruncating, LosesNothingAcknowledgedBringsNothingBackAndLetsNobodyHang) {
  const auto [kind, policy] = GetParam();
  const uint64_t operations = TruncationFaults::operations().size();
  for (uint64_t operation = 0; operation < operations; operation += kSweepStep) {
    SCOPED_TRACE("operation " + std::to_string(operation));
    run(operation, kind, 0, policy);
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Faults, FaultWhileTruncating,
    ::testing::Combine(::testing::Values(FaultKind::kError, FaultKind::kNoSpace,
                                         FaultKind::kPowerCut),
                       ::testing::Values(CrashPolicy::kLoseUnsynced, CrashPolicy::kKeepAll,
                                         CrashPolicy::kRandom)));

INSTANTIATE_TEST_SUITE_P(ShortWrites, FaultWhileTruncating,
                         ::testing::Values(std::tuple(FaultKind::kShort, CrashPolicy::kRandom)));

class TornWrites : public TruncationFaults, public ::testing::WithParamInterface<CrashPolicy> {};

// Zero sectors are a lost write. Its neighbours in flight are done before or after it, by chance.
TEST_P(TornWrites, AtEverySectorOfEveryWriteLeaveWholeBatches) {
  const std::vector<uint64_t> sectors = operations();
  for (uint64_t operation = 0; operation < sectors.size(); operation += kSweepStep) {
    // Every boundary; under the sanitizers, which are slow, some of the large writes' only.
    const uint64_t step = kSweepStep == 1 ? 1 : std::max<uint64_t>(1, sectors[operation] / 10) * 3;
    for (uint64_t done = 0; done < sectors[operation]; done += done < 2 ? 1 : step) {
      SCOPED_TRACE("operation " + std::to_string(operation) + ", sectors " + std::to_string(done));
      run(operation, FaultKind::kTorn, done, GetParam());
      if (HasFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Faults, TornWrites,
                         ::testing::Values(CrashPolicy::kKeepAll, CrashPolicy::kRandom,
                                           CrashPolicy::kProcessEnds));

}  // namespace
}  // namespace tailrace::fasterlog
