// What became of transactions is there for whatever a checkpoint has confirmed, whenever the power
// is cut.
#include "statemachine/outcomes/outcome_log.h"

#include <map>
#include <string>

#include <gtest/gtest.h>

#include "core/random.h"
#include "statemachine/outcomes/outcome_recorder.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::statemachine {
namespace {

using testing::CrashPolicy;
using testing::FaultFileSystem;
using testing::FaultKind;

constexpr const char* kOutcomes = "/outcomes";
constexpr uint64_t kRecord = 64, kEvery = 3;  // of those records has events

/// What each address of a log without end comes to.
void record_outcome(OutcomeRecorder& recorder, uint64_t address) {
  recorder.begin_record(address);
  const uint64_t number = address / kRecord;
  if (number % kEvery != 0) return;
  recorder.appended(number % 5 + 1, 2, 1 + number % 4, number);
  recorder.begin_effect(number % 3);
  if (number % 7 == 0) recorder.unreadable_below(number % 5 + 1, number);
}

class OutcomeLogTest : public ::testing::Test {
 protected:
  void open(Address from, bool none_before = false) {
    log_ = std::make_unique<OutcomeLog>(disk_, kOutcomes);
    const auto opened = log_->open(from, none_before);
    ASSERT_TRUE(opened) << opened.error().message;
    applied_ = from;
  }
  /// Applies records up to there, in stretches.
  void apply_to(uint64_t end) {
    while (applied_.value < end) {
      const uint64_t to = std::min(end, applied_.value + (1 + random_.below(9)) * kRecord);
      for (uint64_t address = align_up(applied_.value, kRecord); address < to; address += kRecord)
        record_outcome(recorder_, address);
      applied_ = Address{to};
      log_->applied(applied_, recorder_.take());
    }
  }
  void expect_outcomes(AddressRange range) {
    const auto found = log_->read(range);
    ASSERT_TRUE(found) << found.error().message;
    size_t next = 0;
    std::map<uint64_t, uint64_t> floors;  // by dense id: the last record that has set it
    for (uint64_t address = std::max(align_up(range.first.value, kRecord), kRecord);
         address < range.end.value; address += kRecord) {
      const uint64_t number = address / kRecord;
      if (number % kEvery != 0) continue;
      ASSERT_LT(next, found->records.size());
      const auto& record = found->records[next++];
      EXPECT_EQ(record.address.value, address);
      ASSERT_EQ(record.appends, 1u);
      const auto& appended = found->appends[record.first_append];
      EXPECT_EQ(appended.dense_id, number % 5 + 1);
      EXPECT_EQ(appended.ordinal, 2u);
      EXPECT_EQ(appended.events, 1 + number % 4);
      EXPECT_EQ(appended.first, number);
      if (number % 7 == 0) floors[number % 5 + 1] = number;
    }
    EXPECT_EQ(next, found->records.size());
    ASSERT_EQ(found->floors.size(), floors.size());
    for (const auto& [dense_id, number] : floors) {
      const auto& floor = found->floors.at(dense_id);
      EXPECT_EQ(floor.version, number);
      EXPECT_EQ(floor.record.value, number * kRecord);
      EXPECT_EQ(floor.effect, number % 3);
    }
  }

  Random random_{7};
  FaultFileSystem disk_{7};
  OutcomeRecorder recorder_;
  std::unique_ptr<OutcomeLog> log_;
  Address applied_;
};

TEST_F(OutcomeLogTest, AnyStretchIsReadOnceItIsDurable) {
  open(Address{kRecord}, true);
  EXPECT_EQ(log_->known_from(), Address{});
  apply_to(40 * kRecord);
  EXPECT_EQ(log_->read({Address{}, Address{kRecord}}).error().code, ErrorCode::kNotFound);
  ASSERT_TRUE(log_->flush());
  apply_to(90 * kRecord);
  ASSERT_TRUE(log_->flush());
  for (uint64_t from = 0; from < 90; from += 7)
    for (uint64_t to = from + 1; to <= 90; to += 11)
      expect_outcomes({Address{from * kRecord}, Address{to * kRecord}});
  EXPECT_FALSE(log_->read({Address{}, Address{91 * kRecord}}));
}

// The state that is gone back to is older than what was flushed, and what follows is not lost.
TEST_F(OutcomeLogTest, WhatIsAppliedAgainCountsOnce) {
  open(Address{kRecord}, true);
  apply_to(50 * kRecord);
  ASSERT_TRUE(log_->flush());
  apply_to(70 * kRecord);
  ASSERT_TRUE(log_->flush());
  for (const uint64_t from : {uint64_t{60}, uint64_t{50}, uint64_t{20}}) {
    open(Address{from * kRecord});
    EXPECT_EQ(log_->known_from(), Address{});
    apply_to(80 * kRecord);
    ASSERT_TRUE(log_->flush());
    expect_outcomes({Address{}, Address{80 * kRecord}});
  }
}

TEST_F(OutcomeLogTest, ACopiedStateBeginsAnew) {
  open(Address{kRecord}, true);
  apply_to(50 * kRecord);
  ASSERT_TRUE(log_->flush());
  ASSERT_TRUE(disk_.remove_directory(kOutcomes));  // as whoever installs a copy does
  open(Address{70 * kRecord});
  EXPECT_EQ(log_->known_from(), Address{70 * kRecord});
  apply_to(90 * kRecord);
  ASSERT_TRUE(log_->flush());
  expect_outcomes({Address{70 * kRecord}, Address{90 * kRecord}});
  EXPECT_EQ(log_->read({Address{60 * kRecord}, Address{80 * kRecord}}).error().code,
            ErrorCode::kNotFound);
}

TEST_F(OutcomeLogTest, AFullDiskIsTriedAgainAndNothingIsMissing) {
  open(Address{kRecord}, true);
  apply_to(50 * kRecord);
  disk_.fail_at(disk_.operations(), FaultKind::kNoSpace);  // the file
  EXPECT_EQ(log_->flush().error().code, ErrorCode::kResourceExhausted);
  disk_.fail_at(disk_.operations() + 1, FaultKind::kNoSpace);  // its room
  EXPECT_EQ(log_->flush().error().code, ErrorCode::kResourceExhausted);
  apply_to(60 * kRecord);
  ASSERT_TRUE(log_->flush());
  expect_outcomes({Address{}, Address{60 * kRecord}});
  apply_to(70 * kRecord);
  disk_.fail_at(disk_.operations() + 1, FaultKind::kError);  // the write: final
  EXPECT_EQ(log_->flush().error().code, ErrorCode::kIo);
  EXPECT_EQ(log_->flush().error().code, ErrorCode::kIo);
}

TEST_F(OutcomeLogTest, DamageIsNamedAndNothingOfItIsTold) {
  open(Address{kRecord}, true);
  apply_to(50 * kRecord);
  ASSERT_TRUE(log_->flush());
  const storage::Path path = storage::Path(kOutcomes) / disk_.list(kOutcomes).value().at(0);
  const auto file = disk_.open(path, {storage::OpenMode::kReadWrite}).value();
  const auto size = file->size().value();
  for (uint64_t at = 0; at < size; at += 1 + random_.below(9)) {
    std::byte before, after;
    ASSERT_TRUE(file->read_at(at, {&before, 1}));
    after = before ^ static_cast<std::byte>(1u << random_.below(8));
    ASSERT_TRUE(file->write_at(at, ByteSpan{&after, 1}));
    OutcomeLog log(disk_, kOutcomes);
    const auto opened = log.open(Address{50 * kRecord}, false);
    const auto read = opened ? log.read({Address{}, Address{50 * kRecord}})
                             : Result<StretchOutcomes>(tl::unexpected(opened.error()));
    EXPECT_FALSE(read) << "byte " << at;
    if (opened && !read && read.error().code == ErrorCode::kCorruption) {
      EXPECT_NE(read.error().message.find(path.string()), std::string::npos);
    }
    ASSERT_TRUE(disk_.exists(path).value()) << "an error removes nothing";
    ASSERT_TRUE(file->truncate(size));
    ASSERT_TRUE(file->write_at(at, ByteSpan{&before, 1}));
  }
}

// Promise: what is missing is never taken for a copy of another node's state.
TEST_F(OutcomeLogTest, FilesThatDoNotReachTheStateAreRefusedByName) {
  for (const char* how : {"cut to nothing", "cut", "zeros", "the last one removed"}) {
    SCOPED_TRACE(how);
    (void)disk_.remove_directory(kOutcomes);
    open(Address{kRecord}, true);
    for (uint64_t file = 1; file <= 3; ++file) {
      applied_ = Address{file * OutcomeLog::kFileBytes};
      log_->applied(applied_, {});
      apply_to(file * OutcomeLog::kFileBytes + 50 * kRecord);
      ASSERT_TRUE(log_->flush());
    }
    const Address state = applied_;
    log_.reset();
    const auto names = disk_.list(kOutcomes).value();
    ASSERT_GE(names.size(), 2u);
    const storage::Path last = storage::Path(kOutcomes) / names.back();
    if (std::string_view(how) == "the last one removed") {
      ASSERT_TRUE(disk_.remove(last));
    } else {
      const auto file = disk_.open(last, {storage::OpenMode::kReadWrite}).value();
      const uint64_t size = file->size().value();
      ASSERT_TRUE(file->truncate(std::string_view(how) == "cut" ? 30 : 0));
      if (std::string_view(how) == "zeros") {
        ASSERT_TRUE(file->allocate(size));
      }
    }
    OutcomeLog log(disk_, kOutcomes);
    const auto opened = log.open(state, false);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, ErrorCode::kCorruption);
    EXPECT_NE(opened.error().message.find(kOutcomes), std::string::npos);
    EXPECT_GE(disk_.list(kOutcomes).value().size(), 1u) << "an error removes nothing";
  }
}

TEST_F(OutcomeLogTest, FilesThatNobodyNeedsGoAndTheRestIsThere) {
  open(Address{kRecord}, true);
  constexpr uint64_t kFiles = 6;
  for (uint64_t file = 1; file <= kFiles; ++file) {
    // Of most of the log there is nothing to say.
    applied_ = Address{file * OutcomeLog::kFileBytes - 51 * kRecord};
    log_->applied(applied_, {});
    apply_to(file * OutcomeLog::kFileBytes - kRecord);
    ASSERT_TRUE(log_->flush());
  }
  const size_t files = disk_.list(kOutcomes).value().size();
  ASSERT_GE(files, kFiles - 1);
  const Address below{3 * OutcomeLog::kFileBytes};
  ASSERT_TRUE(log_->release(below));
  EXPECT_LT(disk_.list(kOutcomes).value().size(), files);
  for (const bool opened_anew : {false, true}) {
    if (opened_anew) open(applied_);
    EXPECT_GT(log_->known_from(), Address{});
    EXPECT_LE(log_->known_from(), below);
    for (uint64_t file = 4; file <= kFiles; ++file)
      expect_outcomes({Address{file * OutcomeLog::kFileBytes - 51 * kRecord},
                       Address{file * OutcomeLog::kFileBytes - kRecord}});
  }
}

// Power cuts at each operation, with all that a disk may make of it: what was published is known.
TEST_F(OutcomeLogTest, APowerCutAtAnyStepLosesNothingThatACheckpointHas) {
  const auto life = [&](Address published) {
    for (int round = 0; round < 4; ++round) {
      apply_to(applied_.value + (5 + random_.below(20)) * kRecord);
      if (!log_->flush()) return published;
      published = applied_;  // or a little before
    }
    (void)log_->release(Address{});
    return published;
  };
  for (const auto policy :
       {CrashPolicy::kLoseUnsynced, CrashPolicy::kRandom, CrashPolicy::kKeepAll})
    for (uint64_t operation = 0; operation < 40; ++operation) {
      SCOPED_TRACE(std::to_string(operation));
      random_ = Random(operation);
      (void)disk_.remove_directory(kOutcomes);
      open(Address{kRecord}, true);
      disk_.fail_at(disk_.operations() + operation, FaultKind::kPowerCut);
      const Address published = life(Address{kRecord});
      disk_.crash(policy);
      open(published, published == Address{kRecord});
      apply_to(published.value + 10 * kRecord);
      ASSERT_TRUE(log_->flush());
      expect_outcomes({Address{}, applied_});
    }
}

}  // namespace
}  // namespace tailrace::statemachine
