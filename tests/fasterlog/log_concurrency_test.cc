// Everything that any thread may call, at the same time, while both ends of the log move.

#include <algorithm>
#include <atomic>
#include <list>
#include <thread>

#include "core/random.h"
#include "tests/fasterlog/log_fixture.h"

namespace tailrace::fasterlog {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kRounds = 60;
#else
constexpr int kRounds = 100;
#endif

// Content that shows any mixture of two records.
std::string payload_of(uint64_t number) {
  return std::to_string(number) + ":" +
         std::string(number * 37 % 2500, static_cast<char>('a' + number % 26));
}
void check_payload(const Record& record) {
  const std::string text = to_string(record.payload);
  EXPECT_EQ(text, payload_of(std::strtoull(text.c_str(), nullptr, 10)));
}
bool one_of(ErrorCode code, std::initializer_list<ErrorCode> allowed) {
  return std::find(allowed.begin(), allowed.end(), code) != allowed.end();
}
SteadyTime in_milliseconds(int count) {
  return system_clock().now() + std::chrono::milliseconds(count);
}

class LogConcurrency : public LogFixture {
 protected:
  void enqueues(uint64_t thread) {
    std::vector<std::byte> buffer;
    for (uint64_t i = thread; !stop_.load(); i += 10) {
      const std::string one = payload_of(i);
      const RecordView pair[] = {{RecordKind::kData, as_bytes(one)},
                                 {RecordKind::kData, as_bytes(one)}};
      const auto range =
          i % 3 == 0 ? log_->enqueue_batch(pair, in_milliseconds(20'000))
                     : log_->enqueue(RecordKind::kData, as_bytes(one), in_milliseconds(20'000));
      if (!range) {
        // Between two roles, while the suffix is cut.
        EXPECT_EQ(range.error().code, ErrorCode::kFailedPrecondition) << range.error().message;
        std::this_thread::yield();
        continue;
      }
      if (i % 7 == 0) log_->request_commit();
      if (i % 5 != 0) continue;
      // The address may have been cut meanwhile, so it may take long.
      const auto waited = log_->wait_durable(range->end, in_milliseconds(2));
      EXPECT_TRUE(waited || waited.error().code == ErrorCode::kTimedOut) << waited.error().message;
      auto record = log_->read(range->first, buffer);
      if (record) continue;
      EXPECT_TRUE(one_of(record.error().code, {ErrorCode::kOutOfRange, ErrorCode::kTruncated,
                                               ErrorCode::kInvalidArgument}))
          << record.error().message;
    }
  }
  void scans(bool with_unflushed) {
    while (!stop_.load()) {
      const auto scanner = log_->scan(log_->begin(), {true, with_unflushed, 64 << 10});
      for (;;) {
        auto record = scanner->next(Address::max());
        if (!record) {
          EXPECT_TRUE(one_of(record.error().code, {ErrorCode::kOutOfRange, ErrorCode::kTruncated}))
              << record.error().message;
          break;
        }
        if (*record) {
          if ((*record)->kind == RecordKind::kData) check_payload(**record);
          continue;
        }
        if (stop_.load()) break;
        const auto more = scanner->wait(in_milliseconds(20));
        EXPECT_TRUE(more || more.error().code == ErrorCode::kTimedOut) << more.error().message;
      }
    }
  }
  void reads_raw() {
    std::vector<std::byte> bytes;
    std::vector<Address> addresses;
    while (!stop_.load()) {
      const auto raw = log_->read_raw(log_->begin(), 200'000, bytes);
      EXPECT_TRUE(raw || one_of(raw.error().code, {ErrorCode::kTruncated, ErrorCode::kOutOfRange}))
          << raw.error().message;
      addresses.clear();
      const auto scanner = log_->scan(log_->begin());
      for (int i = 0; i < 50; ++i) {
        auto record = scanner->next(Address::max());
        if (!record || !*record) break;
        addresses.push_back((*record)->address);
      }
      const auto read = log_->read_batch(addresses, [](const Record& record) {
        if (record.kind == RecordKind::kData) check_payload(record);
        return true;
      });
      EXPECT_TRUE(read || one_of(read.error().code, {ErrorCode::kTruncated, ErrorCode::kOutOfRange,
                                                     ErrorCode::kInvalidArgument}))
          << read.error().message;
    }
  }
  void consumes(const std::string& name) {
    while (!stop_.load()) {
      auto consumer = log_->open_consumer(name);
      ASSERT_TRUE(consumer.has_value()) << consumer.error().message;
      for (int i = 0; !stop_.load(); ++i) {
        auto record = (*consumer)->next();
        Result<> done;
        if (record && *record) {
          check_payload(**record);
          if (i % 20 == 0) done = (*consumer)->acknowledge((*record)->end);
        } else if (!record) {
          // Its pin holds the log, so only a cut can take what it reads.
          EXPECT_EQ(record.error().code, ErrorCode::kOutOfRange) << record.error().message;
          break;
        } else {
          (void)(*consumer)->wait(in_milliseconds(5));
        }
        if (done) continue;
        EXPECT_EQ(done.error().code, ErrorCode::kOutOfRange) << done.error().message;
        break;
      }
    }
    for (const ConsumerStatus& status : log_->consumers())
      EXPECT_GE(status.position, kFirstAddress);
  }

  std::unique_ptr<Log> log_;
  std::atomic<bool> stop_{false};
};

TEST_F(LogConcurrency, EverythingAtOnceWhileBothEndsAreTruncated) {
  LogOptions with = options();
  with.commit = CommitPolicy::each(20'000, std::chrono::microseconds(500));
  with.segment_bytes = 128u << 10;
  log_ = open_writer(with);
  ASSERT_NE(log_, nullptr);
  std::list<std::thread> threads;  // in a vector g++ 12 sees an array without elements
  threads.emplace_back([this] { enqueues(1); });
  threads.emplace_back([this] { enqueues(2); });
  threads.emplace_back([this] { scans(false); });
  threads.emplace_back([this] { scans(true); });
  threads.emplace_back([this] { reads_raw(); });
  threads.emplace_back([this] { consumes("c"); });
  Random random(1);
  for (int round = 0; round < kRounds; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    const Address durable = log_->durable();
    if (round % 3 != 0) {
      const auto to = log_->truncate_after(std::max(
          log_->begin(), durable - std::min<uint64_t>(durable.value, random.below(90'000))));
      ASSERT_TRUE(to.has_value()) << to.error().message;
    } else {
      const auto to = log_->truncate_before(durable);
      ASSERT_TRUE(to.has_value() || to.error().code == ErrorCode::kOutOfRange)
          << to.error().message;
    }
    if (HasFailure()) break;
  }
  stop_.store(true);
  for (std::thread& thread : threads)
    thread.join();
  const auto before = payloads(*log_, log_->begin());
  ASSERT_TRUE(log_->close().has_value());
  log_ = open(with);
  const auto after = payloads(*log_);
  ASSERT_GE(after.size(), before.size());
  EXPECT_TRUE(std::equal(before.begin(), before.end(), after.begin()));
}

// What was checked in one epoch is never written in another, at whatever moment the epoch ends.
TEST_F(LogConcurrency, ARecordThatWasCheckedInOneEpochIsNotWrittenInAnother) {
  log_ = open_writer(options(), Epoch{1});
  std::atomic<uint64_t> asked{1};
  uint64_t written = 0, refused = 0;
  std::thread writer([&] {
    while (!stop_.load()) {
      const Epoch epoch{asked.load()};
      const std::string text = std::to_string(epoch.value);
      const RecordView record{RecordKind::kData, as_bytes(text)};
      const auto range = log_->try_enqueue_in(epoch, {&record, 1});
      ++(range ? written : refused);
      if (range || range.error().code == ErrorCode::kWouldBlock) continue;
      EXPECT_EQ(range.error().code, ErrorCode::kFailedPrecondition) << range.error().message;
      std::this_thread::yield();
    }
  });
  for (uint64_t epoch = 2; epoch < 2 + kRounds; ++epoch) {
    if (epoch % 3 == 0) {
      EXPECT_TRUE(log_->become_copy().has_value());
    }
    EXPECT_TRUE(log_->become_writer(Epoch{epoch}).has_value());
    if (epoch % 2 == 0) std::this_thread::sleep_for(std::chrono::microseconds(300));
    asked.store(epoch);  // late, as whoever looks at a status is
    std::this_thread::sleep_for(std::chrono::microseconds(300));
  }
  stop_.store(true);
  writer.join();
  EXPECT_GT(written, 0u);
  EXPECT_GT(refused, 0u);
  ASSERT_TRUE(log_->wait_durable(log_->tail()).has_value());
  const auto scanner = log_->scan(log_->begin());
  uint64_t found = 0;
  for (;; ++found) {
    const auto record = scanner->next(Address::max());
    ASSERT_TRUE(record.has_value()) << record.error().message;
    if (!*record) break;
    EXPECT_EQ(to_string((*record)->payload), std::to_string((*record)->epoch.value));
    EXPECT_EQ(log_->epoch_before((*record)->end), (*record)->epoch);
  }
  EXPECT_EQ(found, written);
}

}  // namespace
}  // namespace tailrace::fasterlog
