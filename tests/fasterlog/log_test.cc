#include "fasterlog/log.h"

#include <filesystem>
#include <fstream>
#include <thread>

#include <gtest/gtest.h>

#include "fasterlog/format/log_metadata.h"
#include "fasterlog/format/segment_files.h"
#include "fasterlog/offline/inspect.h"
#include "storage/atomic_file.h"
#include "tests/fasterlog/log_fixture.h"

namespace tailrace::fasterlog {
namespace {

class LogTest : public LogFixture {
 protected:
  using LogFixture::open;
  std::unique_ptr<Log> open(const char* name) { return open(options(name)); }
  void fill(Log& log, int count, size_t bytes) {
    Address end;
    for (int i = 0; i < count; ++i) {
      const std::string text = std::to_string(i) + std::string(bytes, 'x');
      auto range = log.enqueue(RecordKind::kData, as_bytes(text));
      ASSERT_TRUE(range.has_value()) << range.error().message;
      end = range->end;
      if (i % 10 == 0) {
        ASSERT_TRUE(log.wait_durable(end).has_value());
      }
    }
    ASSERT_TRUE(log.wait_durable(end).has_value());
  }
};

TEST_F(LogTest, WhatWasDurableIsReadBackAndSurvivesAReopen) {
  std::vector<std::string> expected;
  Address first;
  {
    auto log = open();
    ASSERT_TRUE(log->become_writer(Epoch{3}).has_value());
    Address end;
    for (int i = 0; i < 3000; ++i) {
      expected.push_back("record " + std::to_string(i) + std::string(i % 700, 'a'));
      auto range = log->enqueue(RecordKind::kData, as_bytes(expected.back()));
      ASSERT_TRUE(range.has_value()) << range.error().message;
      if (i == 0) first = range->first;
      end = range->end;
    }
    ASSERT_TRUE(log->wait_durable(end).has_value());
    EXPECT_EQ(payloads(*log, log->begin()), expected);
    std::vector<std::byte> buffer;
    auto record = log->read(first, buffer);
    ASSERT_TRUE(record.has_value());
    EXPECT_EQ(to_string(record->payload), expected[0]);
    EXPECT_EQ(record->epoch, Epoch{3});
    EXPECT_EQ(log->read(first + 8, buffer).error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(log->read(log->durable(), buffer).error().code, ErrorCode::kOutOfRange);
    ASSERT_TRUE(log->close().has_value());
  }
  auto log = open();
  EXPECT_EQ(log->last_epoch(), Epoch{3});
  EXPECT_EQ(payloads(*log, log->begin()), expected);
  EXPECT_EQ(log->become_writer(Epoch{2}).error().code, ErrorCode::kFailedPrecondition);
  ASSERT_TRUE(log->become_writer(Epoch{4}).has_value());
  auto more = log->enqueue(RecordKind::kData, as_bytes("after"));
  ASSERT_TRUE(log->wait_durable(more->end).has_value());
  expected.push_back("after");
  EXPECT_EQ(payloads(*log, log->begin()), expected);
  ASSERT_EQ(log->epoch_table().size(), 2u);
  EXPECT_EQ(log->epoch_table()[1].start, more->first);
  auto report = inspect(storage::posix_file_system(), root_ / "log");
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_EQ(report->records, expected.size());
  EXPECT_FALSE(report->damaged);
}

TEST_F(LogTest, ManyWritersAndAScannerSeeEveryRecordOnceInOrder) {
  auto log = open();
  ASSERT_TRUE(log->become_writer(Epoch{1}).has_value());
  constexpr int kWriters = 4;
  constexpr int kEach = 3000;
  std::vector<std::thread> writers;
  for (int w = 0; w < kWriters; ++w) {
    writers.emplace_back([&, w] {
      for (int i = 0; i < kEach; ++i) {
        const std::string text = std::to_string(w) + " " + std::to_string(i);
        auto range = log->enqueue(RecordKind::kData, as_bytes(text));
        ASSERT_TRUE(range.has_value()) << range.error().message;
        if (i % 50 == 0) {
          ASSERT_TRUE(log->wait_durable(range->end).has_value());
        }
      }
    });
  }
  int next[kWriters] = {};
  const auto scanner = log->scan(log->begin());
  for (int seen = 0; seen < kWriters * kEach;) {
    auto record = scanner->next(Address::max());
    ASSERT_TRUE(record.has_value()) << record.error().message;
    if (!*record) {
      std::this_thread::yield();
      continue;
    }
    int w = 0;
    int i = 0;
    ASSERT_EQ(std::sscanf(to_string((*record)->payload).c_str(), "%d %d", &w, &i), 2);
    ASSERT_EQ(i, next[w]++);
    if (++seen % 1000 == 0) {
      auto begin = log->truncate_before((*record)->address);
      ASSERT_TRUE(begin.has_value()) << begin.error().message;
      ASSERT_LE(*begin, (*record)->address);
    }
  }
  for (std::thread& writer : writers)
    writer.join();
}

TEST_F(LogTest, ACopyHoldsTheSameBytesAndRefusesBadOnes) {
  auto log = open();
  ASSERT_TRUE(log->become_writer(Epoch{1}).has_value());
  auto copy = open("copy");
  ASSERT_TRUE(copy->become_copy().has_value());
  EXPECT_EQ(copy->try_enqueue(RecordKind::kData, as_bytes("x")).error().code,
            ErrorCode::kFailedPrecondition);
  fill(*log, 500, 1000);
  std::vector<std::byte> raw;
  while (copy->tail() < log->durable()) {
    ASSERT_TRUE(log->read_raw(copy->tail(), 10000, raw).has_value());
    ASSERT_FALSE(raw.empty());
    raw[raw.size() / 2] ^= std::byte{1};
    // A full buffer answers before the bytes are looked at.
    auto refused = copy->try_append_raw(copy->tail(), raw);
    while (!refused && refused.error().code == ErrorCode::kWouldBlock) {
      std::this_thread::yield();
      refused = copy->try_append_raw(copy->tail(), raw);
    }
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::kCorruption);
    raw[raw.size() / 2] ^= std::byte{1};
    const Address at = copy->tail();
    auto appended = copy->try_append_raw(at, raw);
    while (!appended && appended.error().code == ErrorCode::kWouldBlock) {
      std::this_thread::yield();
      appended = copy->try_append_raw(at, raw);
    }
    ASSERT_TRUE(appended.has_value()) << appended.error().message;
  }
  ASSERT_TRUE(copy->wait_durable(copy->tail()).has_value());
  std::vector<std::byte> theirs;
  for (Address at = log->begin(); at < log->durable(); at = at + raw.size()) {
    ASSERT_TRUE(log->read_raw(at, 50000, raw).has_value());
    ASSERT_TRUE(copy->read_raw(at, 50000, theirs).has_value());
    ASSERT_EQ(raw, theirs);
  }
  EXPECT_EQ(copy->epoch_table(), log->epoch_table());
}

TEST_F(LogTest, ACopyThatIsClosedAddsNothingOfItsOwn) {
  auto log = open();
  ASSERT_TRUE(log->become_writer(Epoch{1}).has_value());
  fill(*log, 300, 100);
  std::vector<std::byte> raw, theirs;
  {
    auto copy = open("copy");
    ASSERT_TRUE(copy->become_copy().has_value());
    while (copy->tail() < log->durable()) {
      // The flusher is, but for a very fast disk, busy with the first batches when the last come.
      ASSERT_TRUE(log->read_raw(copy->tail(), 2000, raw).has_value());
      ASSERT_TRUE(copy->try_append_raw(copy->tail(), raw).has_value());
    }
    ASSERT_TRUE(copy->close().has_value());
  }
  auto copy = open("copy");
  ASSERT_NE(copy, nullptr);
  EXPECT_EQ(copy->tail(), log->durable());
  EXPECT_EQ(copy->epoch_table(), log->epoch_table());
  for (Address at = log->begin(); at < log->durable(); at = at + raw.size()) {
    ASSERT_TRUE(log->read_raw(at, 50000, raw).has_value());
    ASSERT_TRUE(copy->read_raw(at, 50000, theirs).has_value());
    ASSERT_EQ(raw, theirs);
  }
}

TEST_F(LogTest, TruncationDeletesSegmentsAndSurvivesAReopen) {
  Address begin;
  {
    auto log = open();
    ASSERT_TRUE(log->become_writer(Epoch{1}).has_value());
    fill(*log, 2000, 1000);
    const uint64_t before = log->disk_bytes();
    auto to = log->truncate_before(Address{1500000});
    ASSERT_TRUE(to.has_value());
    begin = *to;
    EXPECT_LE(begin, Address{1500000});
    EXPECT_GT(begin, Address{1400000});
    EXPECT_LT(log->disk_bytes(), before);
    std::vector<std::byte> buffer;
    EXPECT_EQ(log->read(kFirstAddress, buffer).error().code, ErrorCode::kTruncated);
    EXPECT_EQ(log->truncate_before(Address{64}).value(), begin);
  }
  auto log = open();
  EXPECT_EQ(log->begin(), begin);
  EXPECT_FALSE(payloads(*log, begin).empty());
}

TEST_F(LogTest, TruncationAboveDurableIsRefused) {
  LogOptions slow = options();
  slow.commit = CommitPolicy::on_request();
  auto log = open_writer(slow);
  append(*log, "durable");
  ASSERT_TRUE(log->try_enqueue(RecordKind::kData, as_bytes("only enqueued")));
  ASSERT_LT(log->durable(), log->tail());
  for (const Address above : {log->durable() + 8, log->tail(), log->tail() + (1u << 20)}) {
    const auto refused = log->truncate_before(above);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::kOutOfRange);
  }
  EXPECT_EQ(log->begin(), kFirstAddress);
}

// What is said before is by how much the files shrink.
TEST_F(LogTest, ReclaimableIsWhatTruncationFrees) {
  const auto files = [&] {
    uint64_t bytes = 0;
    for (const auto& entry : std::filesystem::directory_iterator(root_ / "log")) {
      const auto kind = entry.path().extension();
      if (kind == ".seg" || kind == ".spare") bytes += std::filesystem::file_size(entry);
    }
    return bytes;
  };
  LogOptions small = options();
  small.segment_bytes = small.page_bytes;
  uint64_t freed_in_all = 0;
  for (const uint32_t spares : {0u, 2u, 5u}) {
    small.spare_segments = spares;
    auto log = open_writer(small);
    fill(*log, 1000, 1000);
    uint64_t made = log->disk_bytes(), before = 0;
    for (uint64_t same = 0; same < 20; ++same) {  // segments are made ahead, and then no more
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      if (made != log->disk_bytes()) same = 0;
      made = log->disk_bytes();
    }
    for (Address limit = log->begin(); limit < log->durable() + 100'000; limit = limit + 777) {
      const uint64_t now = log->reclaimable_bytes(limit);
      EXPECT_GE(now, before) << "less for a greater limit";
      before = now;
    }
    {
      const auto pin = log->open_consumer("pin");
      ASSERT_TRUE(pin);
      EXPECT_EQ(log->reclaimable_bytes(log->durable()), 0u);
      EXPECT_EQ(log->reclaimable_segments(log->durable()), 0u);
    }
    ASSERT_TRUE(log->remove_consumer("pin"));
    for (Address limit = log->begin() + 30'000; limit < log->durable(); limit = limit + 150'000) {
      const uint64_t said = log->reclaimable_bytes(limit);
      const uint64_t disk = log->disk_bytes(), on_disk = files();
      ASSERT_EQ(disk, on_disk);
      ASSERT_TRUE(log->truncate_before(limit));
      EXPECT_EQ(disk - log->disk_bytes(), said);
      EXPECT_EQ(on_disk - files(), said);
      EXPECT_EQ(log->reclaimable_bytes(limit), 0u);
      EXPECT_EQ(log->reclaimable_segments(limit), 0u);
      freed_in_all += said;
    }
  }
  EXPECT_GT(freed_in_all, 0u);
}

// Promise: what is to be erased stays in no file once the log has gone on; until then it is told
// where it may be.
TEST_F(LogTest, NoSpareHasBytesFromBeforeWhatIsDiscarded) {
  const auto spares = [](const Log& log) {
    auto old = log.old_bytes();
    std::erase_if(old, [](const OldBytes& each) { return each.until != Address{}; });
    return old;
  };
  const auto is_on_disk = [&](const std::string& marker) {
    for (const auto& entry : std::filesystem::directory_iterator(root_ / "log")) {
      std::ifstream file(entry.path(), std::ios::binary);
      const std::string bytes((std::istreambuf_iterator<char>(file)), {});
      if (bytes.find(marker) != std::string::npos) return true;
    }
    return false;
  };
  LogOptions small = options();
  small.segment_bytes = small.page_bytes;
  small.spare_segments = 2;
  auto log = open_writer(small);
  append(*log, "secret-marker");
  fill(*log, 600, 1000);
  EXPECT_TRUE(log->old_bytes().empty()) << "nothing was truncated";
  ASSERT_TRUE(log->truncate_before(log->durable()));
  ASSERT_FALSE(spares(*log).empty());
  EXPECT_EQ(spares(*log)[0].of, (AddressRange{Address{0}, Address{small.segment_bytes}}));
  EXPECT_TRUE(is_on_disk("secret-marker"));
  const Address discarded = log->durable();
  ASSERT_TRUE(log->discard_before(discarded));
  EXPECT_TRUE(spares(*log).empty());
  EXPECT_FALSE(is_on_disk("secret-marker"));
  // Segments behind that of the address may be kept as spares again.
  append(*log, "later-marker");
  fill(*log, 600, 1000);
  ASSERT_TRUE(log->truncate_before(log->durable()));
  EXPECT_FALSE(spares(*log).empty());
  for (const OldBytes& spare : spares(*log))
    EXPECT_GE(spare.of.first.value, align_up(discarded.value, small.segment_bytes));
  // Their bytes come back in the segments made of them, until the log has overwritten these. A log
  // that is opened does not know which they are.
  for (const bool opened_anew : {false, true}) {
    if (opened_anew) {
      log.reset();
      log = open_writer(small, Epoch{2});
    }
    ASSERT_TRUE(log->discard_before(log->durable()));
    Address until;
    for (const OldBytes& each : log->old_bytes())
      until = std::max(until, each.until);
    EXPECT_TRUE(!opened_anew || until > log->durable());
    while (log->durable() < until)
      append(*log, std::string(1000, 'x'));
    for (const OldBytes& each : log->old_bytes())
      EXPECT_GT(each.until, until) << each.file;
  }
  EXPECT_FALSE(is_on_disk("later-marker"));
}

TEST_F(LogTest, ABatchAcrossSegmentsIsReclaimableOnlyAtItsEnd) {
  LogOptions slow = options();
  slow.segment_bytes = slow.page_bytes;
  slow.spare_segments = 0;
  slow.commit = CommitPolicy::on_request();
  slow.pressure_fraction = 0.5;
  auto log = open_writer(slow);
  append(*log, "first");
  // One batch that begins in the first segment and ends in the second.
  AddressRange last;
  while (last.end < Address{slow.segment_bytes + 20'000})
    last = log->try_enqueue(RecordKind::kData, as_bytes(std::string(5000, 'x'))).value();
  ASSERT_TRUE(log->wait_durable(last.end));
  const Address inside{slow.segment_bytes + 10'000};
  EXPECT_EQ(log->reclaimable_bytes(inside), 0u);
  EXPECT_LT(log->truncate_before(inside).value(), Address{slow.segment_bytes});
  EXPECT_EQ(log->reclaimable_bytes(log->durable()), slow.segment_bytes);
}

TEST_F(LogTest, ABadRecordBelowProvenIsRefusedAndNamed) {
  Address hit;
  {
    auto log = open();
    ASSERT_TRUE(log->become_writer(Epoch{1}).has_value());
    fill(*log, 100, 100);
    const auto scanner = log->scan(log->begin(), {.with_commit_marks = true});
    for (auto record = scanner->next(Address::max()); record && *record && hit == Address{};
         record = scanner->next(Address::max())) {
      if ((*record)->end > Address{1000}) hit = (*record)->address;
    }
  }
  {
    std::fstream file(root_ / "log" / segment_name(0), std::ios::in | std::ios::out);
    file.seekp(1000);
    file.put('!');
  }
  auto log = Log::open(storage::posix_file_system(), options());
  ASSERT_FALSE(log.has_value());
  EXPECT_EQ(log.error().code, ErrorCode::kCorruption);
  // Where it is, down to the address of the record that was hit, and what to do.
  const std::string bad = "address " + std::to_string(hit.value);
  for (const std::string& part : {segment_name(0), bad, std::string("tailrace log check"),
                                  std::string("tailrace log repair")})
    EXPECT_NE(log.error().message.find(part), std::string::npos) << log.error().message;
  auto report = inspect(storage::posix_file_system(), root_ / "log");
  ASSERT_TRUE(report.has_value());
  EXPECT_TRUE(report->damaged);
}

TEST_F(LogTest, AnUnfinishedBatchBeyondProvenIsDiscarded) {
  Address durable;
  LogMetadata metadata;
  {
    auto log = open();
    ASSERT_TRUE(log->become_writer(Epoch{1}).has_value());
    auto range = log->enqueue(RecordKind::kData, as_bytes("kept"));
    ASSERT_TRUE(log->wait_durable(range->end).has_value());
    durable = log->durable();
    fill(*log, 1, 5000);
  }
  // As if the crash had come before the proven watermark and half of the second batch.
  metadata = *read_log_metadata(storage::posix_file_system(), root_ / "log");
  metadata.proven = durable;
  metadata.clean = false;
  ASSERT_TRUE(
      write_log_metadata(storage::posix_file_system(), root_ / "log", metadata).has_value());
  {
    std::fstream file(root_ / "log" / segment_name(0), std::ios::in | std::ios::out);
    file.seekp(2000);
    file.put('!');
  }
  auto log = open();
  EXPECT_EQ(log->durable(), durable);
  EXPECT_GT(log->recovery().discarded_end, durable);
  EXPECT_FALSE(log->recovery().valid_beyond_hole);
  EXPECT_EQ(payloads(*log, log->begin()), std::vector<std::string>{"kept"});
}

TEST_F(LogTest, SegmentsWithoutMetaAreRefusedAndTheWayOutNamed) {
  ASSERT_TRUE(open_writer(options())->close());
  std::filesystem::remove(root_ / "log/META");
  const auto log = Log::open(storage::posix_file_system(), options());
  ASSERT_FALSE(log.has_value());
  EXPECT_EQ(log.error().code, ErrorCode::kCorruption);
  for (const char* part : {"META", "tailrace log check", "tailrace log repair --rebuild-meta"})
    EXPECT_NE(log.error().message.find(part), std::string::npos) << log.error().message;
  EXPECT_FALSE(std::filesystem::exists(root_ / "log/META"));
}

// Whole batches stand behind a bad one that is not proven: a start drops them, and says so.
TEST_F(LogTest, WholeBatchesBehindAHoleAreReported) {
  Address kept, second;
  {
    auto log = open_writer(options());
    append(*log, "kept");
    kept = log->durable();
    second = append(*log, std::string(5000, 'b')).first;
    append(*log, "whole, and behind the hole");
  }
  LogMetadata metadata = *read_log_metadata(storage::posix_file_system(), root_ / "log");
  const Address end = metadata.proven;
  metadata.proven = kept;
  metadata.clean = false;
  ASSERT_TRUE(write_log_metadata(storage::posix_file_system(), root_ / "log", metadata));
  {
    std::fstream file(root_ / "log" / segment_name(0), std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(second.value + 100));
    file.put('!');
  }
  auto log = open();
  ASSERT_TRUE(log);
  EXPECT_TRUE(log->recovery().valid_beyond_hole);
  EXPECT_EQ(log->recovery().discarded_end, end);
  EXPECT_EQ(log->durable(), kept);
  EXPECT_EQ(payloads(*log), std::vector<std::string>{"kept"});
}

// Behind the log's end stand stale events of a segment that was used before. Text in them looks
// like commit marks of megabytes, one in each event; a start that checked them all took half an
// hour.
TEST_F(LogTest, StaleBytesThatLookLikeMarksCostAStartNothing) {
  LogOptions large = options();
  large.page_bytes = 16u << 20;
  large.segment_bytes = 32u << 20;
  large.buffer_pages = 4;
  Address kept;
  {
    auto log = open_writer(large);
    append(*log, "kept");
    kept = log->durable();
    ASSERT_TRUE(log->close());
  }
  LogMetadata metadata = *read_log_metadata(storage::posix_file_system(), root_ / "log");
  metadata.clean = false;
  ASSERT_TRUE(write_log_metadata(storage::posix_file_system(), root_ / "log", metadata));
  RecordHeader mark;
  mark.payload_bytes = 0x616161;
  mark.kind = static_cast<uint8_t>(RecordKind::kCommitMark);
  std::string stale;
  while (stale.size() < large.segment_bytes - storage::kBlockBytes)
    stale.append(reinterpret_cast<const char*>(&mark), offsetof(RecordHeader, epoch));
  {
    std::fstream file(root_ / "log" / segment_name(0), std::ios::in | std::ios::out);
    file.seekp(storage::kBlockBytes);
    file.write(stale.data(), static_cast<std::streamsize>(stale.size()));
    ASSERT_TRUE(file.good());
  }
  auto log = open(large);
  ASSERT_TRUE(log);
  EXPECT_EQ(log->durable(), kept);
  EXPECT_FALSE(log->recovery().valid_beyond_hole);
  EXPECT_EQ(payloads(*log), std::vector<std::string>{"kept"});
}

TEST_F(LogTest, ALongRecoveryTellsHowFarItIs) {
  LogOptions large = options();
  large.page_bytes = 1u << 20;
  large.segment_bytes = 16u << 20;
  const std::string payload(512u << 10, 'x');
  {
    auto log = open_writer(large);
    for (int i = 0; i < 280; ++i)
      ASSERT_TRUE(log->enqueue(RecordKind::kData, as_bytes(payload)));
  }
  std::vector<std::pair<uint64_t, uint64_t>> told;
  large.on_recovery_progress = [&](uint64_t scanned, uint64_t total) {
    told.emplace_back(scanned, total);
  };
  auto log = open(large);
  ASSERT_GE(told.size(), 2u);
  for (size_t i = 0; i < told.size(); ++i) {
    EXPECT_LE(told[i].first, told[i].second);
    EXPECT_EQ(told[i].second, told[0].second);
    if (i > 0) {
      EXPECT_GT(told[i].first, told[i - 1].first);
    }
  }
  EXPECT_GE(told[0].second, log->durable() - log->begin());
}

TEST_F(LogTest, AWaitForDurabilityEndsWithItsDeadlineOrItsStopToken) {
  auto log = open_writer(options());
  append(*log, "there");
  const Address far = log->tail() + 1000;
  const SteadyTime deadline = system_clock().now() + std::chrono::milliseconds(20);
  const auto late = log->wait_durable(far, deadline);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, ErrorCode::kTimedOut);
  EXPECT_NE(late.error().message.find(std::to_string(far.value)), std::string::npos);
  EXPECT_GE(system_clock().now(), deadline);
  EXPECT_EQ(log->wait_durable(far, SteadyTime::min()).error().code, ErrorCode::kTimedOut);

  std::stop_source stop;
  std::thread stops([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    stop.request_stop();
  });
  const auto stopped = log->wait_durable(far, SteadyTime::max(), stop.get_token());
  stops.join();
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, ErrorCode::kCancelled);
  // What is durable is so whatever the token says.
  EXPECT_TRUE(log->wait_durable(log->durable(), SteadyTime::min(), stop.get_token()));
}

TEST_F(LogTest, ACopyRefusesBytesThatAreNotForItsTail) {
  auto log = open_writer(options());
  append(*log, "first");
  std::vector<std::byte> first, second;
  ASSERT_TRUE(log->read_raw(log->begin(), 1 << 20, first));
  const Address middle = log->durable();
  append(*log, "second");
  ASSERT_TRUE(log->read_raw(middle, 1 << 20, second));
  auto copy = open("copy");
  ASSERT_TRUE(copy->become_copy());
  for (const Address wrong : {middle, kFirstAddress + 8, Address{0}})
    EXPECT_EQ(copy->try_append_raw(wrong, second).error().code, ErrorCode::kFailedPrecondition);
  EXPECT_EQ(copy->tail(), kFirstAddress);
  ASSERT_TRUE(copy->try_append_raw(kFirstAddress, first));
  EXPECT_EQ(copy->try_append_raw(kFirstAddress, first).error().code,
            ErrorCode::kFailedPrecondition);
  ASSERT_TRUE(copy->try_append_raw(middle, second));
  ASSERT_TRUE(copy->wait_durable(copy->tail()));
  EXPECT_EQ(payloads(*copy), (std::vector<std::string>{"first", "second"}));
}

TEST_F(LogTest, ForeignAndNewerLogsAreRefusedUntouched) {
  { auto log = open(); }
  EXPECT_EQ(Log::open(storage::posix_file_system(),
                      [&] {
                        auto other = options();
                        other.owner = "test/2";
                        return other;
                      }())
                .error()
                .code,
            ErrorCode::kFailedPrecondition);
  const std::vector<std::byte> content(64);
  ASSERT_TRUE(storage::replace_atomic_file(storage::posix_file_system(), root_ / "log" / "META",
                                           {storage::four_letters("FLOG"), 3}, content)
                  .has_value());
  EXPECT_EQ(Log::open(storage::posix_file_system(), options()).error().code,
            ErrorCode::kUnsupported);
}

TEST_F(LogTest, ASecondOpenIsRefused) {
  auto log = open();
  auto second = Log::open(storage::posix_file_system(), options());
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code, ErrorCode::kInUse);
}

}  // namespace
}  // namespace tailrace::fasterlog
