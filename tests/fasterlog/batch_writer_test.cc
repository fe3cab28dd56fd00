// Records that one thread gathers: nothing of them is in the log before they are enqueued, and
// nothing is lost or doubled after.
#include "fasterlog/batch_writer.h"

#include <thread>
#include <type_traits>

#include "fasterlog/format/record.h"
#include "tests/fasterlog/fault_options.h"
#include "tests/fasterlog/log_fixture.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::fasterlog {
namespace {

// Its records point into its own buffer.
static_assert(!std::is_copy_constructible_v<BatchWriter> &&
              !std::is_move_constructible_v<BatchWriter> &&
              !std::is_copy_assignable_v<BatchWriter> && !std::is_move_assignable_v<BatchWriter>);

class BatchWriterTest : public LogFixture {
 protected:
  static std::vector<std::string> numbered(const std::string& name, int count) {
    std::vector<std::string> all;
    for (int i = 0; i < count; ++i)
      all.push_back(name + std::to_string(i));
    return all;
  }
};

TEST_F(BatchWriterTest, WhatWasEnqueuedStandsInOrderAndSurvives) {
  const auto texts = numbered("record ", 1000);
  Address end;
  {
    auto log = open_writer(options());
    BatchWriter writer(*log, 1024);
    for (const std::string& text : texts)
      ASSERT_TRUE(writer.add(RecordKind::kData, as_bytes(text)));
    const auto range = writer.enqueue();
    ASSERT_TRUE(range);
    end = range->end;
    EXPECT_EQ(writer.enqueued_end(), end);
    ASSERT_TRUE(log->wait_durable(end));
    EXPECT_EQ(payloads(*log), texts);
    ASSERT_TRUE(log->close());
  }
  EXPECT_EQ(payloads(*open()), texts);
}

TEST_F(BatchWriterTest, WhatWasOnlyAddedIsNotInTheLog) {
  auto log = open_writer(options());
  const Address before = log->tail();
  {
    BatchWriter writer(*log);
    ASSERT_TRUE(writer.add(RecordKind::kData, as_bytes("gathered")));
    EXPECT_EQ(writer.gathered_records(), 1u);
    EXPECT_EQ(log->tail(), before);
  }
  ASSERT_TRUE(log->close());
  EXPECT_TRUE(payloads(*open()).empty());
}

TEST_F(BatchWriterTest, AnEmptyEnqueueEndsWhereTheOneBeforeDid) {
  auto log = open_writer(options());
  BatchWriter writer(*log);
  EXPECT_EQ(writer.enqueue()->end, Address{0});
  ASSERT_TRUE(writer.add(RecordKind::kData, as_bytes("x")));
  const Address end = writer.enqueue()->end;
  const auto again = writer.enqueue();
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->empty());
  EXPECT_EQ(again->end, end);
}

// Who waits for what was enqueued is not left waiting for bytes that a cut took.
TEST_F(BatchWriterTest, AfterACutItEndsNoFartherThanTheLog) {
  auto log = open_writer(options());
  append(*log, "stays");
  const Address cut = log->durable();
  BatchWriter writer(*log);
  ASSERT_TRUE(writer.add(RecordKind::kData, as_bytes("goes")));
  const Address end = writer.enqueue()->end;
  ASSERT_TRUE(log->wait_durable(end));
  EXPECT_EQ(writer.enqueued_end(), end);
  ASSERT_EQ(log->truncate_after(cut).value(), cut);
  EXPECT_EQ(writer.enqueued_end(), cut);
  const auto empty = writer.enqueue();
  ASSERT_TRUE(empty);
  EXPECT_EQ(empty->end, cut);
  EXPECT_TRUE(log->wait_durable(empty->end, system_clock().now() + std::chrono::seconds(20)));
  ASSERT_TRUE(writer.add(RecordKind::kData, as_bytes("new")));
  ASSERT_TRUE(log->wait_durable(writer.enqueue()->end));
  EXPECT_EQ(payloads(*log), (std::vector<std::string>{"stays", "new"}));
}

TEST_F(BatchWriterTest, GatheringNothingOrMoreThanAPageKeepsEveryRecordInItsPlace) {
  auto log = open_writer(options());
  std::vector<std::string> texts;
  for (const size_t gathered : {size_t{0}, size_t{1} << 30}) {
    BatchWriter writer(*log, gathered);
    for (int i = 0; i < 300; ++i) {
      texts.push_back(std::to_string(i) + std::string(static_cast<size_t>(i * 37 % 1500), 'g'));
      ASSERT_TRUE(writer.add(RecordKind::kData, as_bytes(texts.back())));
      if (gathered == 0) {
        ASSERT_EQ(writer.gathered_records(), 0u) << "kept though nothing is to be gathered";
        ASSERT_GT(writer.enqueued_end(), Address{0});
      }
    }
    ASSERT_TRUE(writer.enqueue());
    EXPECT_EQ(writer.gathered_records(), 0u);
  }
  ASSERT_TRUE(log->wait_durable(log->tail()));
  EXPECT_EQ(payloads(*log), texts);
}

// A disk that fails in between: the caller hears of it, what was gathered stays so, and a log that
// is opened again has a beginning of what was added, each record once.
TEST(BatchWriterFault, AFailedWriteComesThroughAndDoublesNothing) {
  for (const char* call : {"write", "fdatasync"}) {
    testing::FaultFileSystem disk(7);
    std::vector<std::string> texts;
    size_t acknowledged = 0;
    {
      auto log = Log::open(disk, fault_options());
      ASSERT_TRUE(log && (*log)->become_writer(Epoch{1}));
      BatchWriter writer(**log, 1024);
      std::optional<Error> failed;
      for (int i = 0; i < 3000 && !failed; ++i) {
        if (i == 500) {
          const auto range = writer.enqueue();
          ASSERT_TRUE(range && (*log)->wait_durable(range->end));
          acknowledged = texts.size();
          disk.fail_next(call, "/log/0000000000000000.seg", testing::FaultKind::kError);
        }
        const std::string text = "record " + std::to_string(i);
        const size_t before = writer.gathered_records();
        if (auto added = writer.add(RecordKind::kData, as_bytes(text)); !added) {
          failed = added.error();
          EXPECT_EQ(writer.gathered_records(), before) << "taken though refused";
        } else {
          texts.push_back(text);
        }
        if (i > 500) std::this_thread::sleep_for(std::chrono::microseconds(50));
      }
      ASSERT_TRUE(failed) << "the failure never came through";
      EXPECT_EQ(failed->code, ErrorCode::kIo) << failed->message;
      const size_t gathered = writer.gathered_records();
      EXPECT_GT(gathered, 0u);
      for (int i = 0; i < 2; ++i) {
        const auto again = writer.enqueue();
        ASSERT_FALSE(again) << "a failed log takes nothing";
        EXPECT_EQ(again.error().code, ErrorCode::kIo);
        EXPECT_EQ(writer.gathered_records(), gathered);
      }
    }
    for (const testing::CrashPolicy policy :
         {testing::CrashPolicy::kKeepAll, testing::CrashPolicy::kLoseUnsynced}) {
      disk.crash(policy);
      auto log = Log::open(disk, fault_options());
      ASSERT_TRUE(log) << log.error().message;
      size_t next = 0;
      const auto scanner = (*log)->scan((*log)->begin());
      for (auto record = scanner->next(Address::max()); record && *record;
           record = scanner->next(Address::max())) {
        ASSERT_LT(next, texts.size());
        EXPECT_EQ(to_string((*record)->payload), texts[next++]);
      }
      EXPECT_GE(next, acknowledged);
    }
  }
}

TEST_F(BatchWriterTest, ARecordLargerThanWhatIsGatheredKeepsItsPlace) {
  auto log = open_writer(options());
  BatchWriter writer(*log, 256);
  const std::vector<std::string> texts = {"before", std::string(1000, 'L'), "after",
                                          std::string(log->max_payload_bytes(), 'M'), ""};
  for (const std::string& text : texts)
    ASSERT_TRUE(writer.add(RecordKind::kData, as_bytes(text)));
  const auto range = writer.enqueue();
  ASSERT_TRUE(range);
  ASSERT_TRUE(log->wait_durable(range->end));
  EXPECT_EQ(payloads(*log), texts);
}

// A kind of the log's own, or a record too large for any page, is refused alone.
TEST_F(BatchWriterTest, ARefusedRecordTakesNoOthersAlong) {
  auto log = open_writer(options());
  BatchWriter writer(*log);
  ASSERT_TRUE(writer.add(RecordKind::kData, as_bytes("a")));
  for (const RecordKind kind : {RecordKind::kInvalid, RecordKind::kPadding, RecordKind::kCommitMark,
                                static_cast<RecordKind>(5), static_cast<RecordKind>(15)})
    EXPECT_EQ(writer.add(kind, as_bytes("bad")).error().code, ErrorCode::kInvalidArgument);
  const std::string large(log->max_payload_bytes() + 1, 'x');
  EXPECT_EQ(writer.add(RecordKind::kData, as_bytes(large)).error().code,
            ErrorCode::kInvalidArgument);
  ASSERT_TRUE(writer.add(RecordKind::kData, as_bytes("b")));
  const auto range = writer.enqueue();
  ASSERT_TRUE(range);
  ASSERT_TRUE(log->wait_durable(range->end));
  EXPECT_EQ(payloads(*log), (std::vector<std::string>{"a", "b"}));
}

// An enqueue that ran out of time can be tried again: the records are there once.
TEST_F(BatchWriterTest, AfterATimeoutEverythingIsStillGathered) {
  LogOptions slow = options();
  slow.commit = CommitPolicy::on_request();
  slow.pressure_fraction = 0.5;
  auto log = open_writer(slow);
  BatchWriter writer(*log, 16u << 10);
  const std::string payload(1000, 'p');
  size_t taken = 0;
  std::optional<Error> refused;
  // No wait for room: sooner or later the flusher is behind.
  for (int i = 0; i < 100000 && !refused; ++i) {
    const auto added = writer.add(RecordKind::kData, as_bytes(payload), SteadyTime::min());
    if (added) {
      ++taken;
    } else {
      refused = added.error();
    }
  }
  ASSERT_TRUE(refused) << "the buffer was never full";
  EXPECT_EQ(refused->code, ErrorCode::kTimedOut);
  EXPECT_GT(writer.gathered_records(), 0u);
  const auto range = writer.enqueue();
  ASSERT_TRUE(range);
  ASSERT_TRUE(log->wait_durable(range->end));
  EXPECT_EQ(payloads(*log).size(), taken);
}

// Side by side with others, each one's records are in its own order, and those of one enqueue are
// neighbours.
TEST_F(BatchWriterTest, ManyWritersKeepEachItsOrder) {
  constexpr int kWriters = 4, kRecords = 5000, kGathered = 10;
  auto log = open_writer(options());
  std::vector<std::thread> threads;
  for (int w = 0; w < kWriters; ++w) {
    threads.emplace_back([&, w] {
      BatchWriter writer(*log);
      for (int i = 0; i < kRecords; ++i) {
        const std::string text = std::to_string(w) + " " + std::to_string(i);
        EXPECT_TRUE(writer.add(RecordKind::kData, as_bytes(text)));
        if (i % kGathered == kGathered - 1) {
          EXPECT_TRUE(writer.enqueue());
        }
      }
    });
  }
  threads.emplace_back([&] {
    for (int i = 0; i < 2000; ++i)
      EXPECT_TRUE(log->enqueue(RecordKind::kData, as_bytes("single")));
  });
  for (std::thread& thread : threads)
    thread.join();
  ASSERT_TRUE(log->wait_durable(log->tail()));
  std::vector<int> next(kWriters, 0);
  int singles = 0, run = 0, writer_before = -1;
  for (const std::string& text : payloads(*log)) {
    if (text == "single") {
      EXPECT_EQ(run % kGathered, 0) << "within a batch";
      ++singles;
      continue;
    }
    const int writer = text[0] - '0';
    if (run % kGathered != 0) {
      EXPECT_EQ(writer, writer_before) << "within a batch";
    }
    EXPECT_EQ(text, std::to_string(writer) + " " + std::to_string(next[writer]++));
    writer_before = writer;
    ++run;
  }
  EXPECT_EQ(singles, 2000);
  EXPECT_EQ(next, std::vector<int>(kWriters, kRecords));
}

}  // namespace
}  // namespace tailrace::fasterlog
