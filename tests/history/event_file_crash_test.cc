// A writer that is killed, or whose disk fails, at each of its operations: there is a whole file or
// none, what it left goes when the catalogue is opened, and another writer makes the file.
#include "history/catalogue.h"
#include "history/format/file_name.h"
#include "tests/history/history_support.h"

namespace tailrace::history {
namespace {

using testing::CrashPolicy;
using testing::FaultFileSystem;
using testing::FaultKind;

Events events_for_crashes() {
  Random random(3);
  // More than two pieces of the writer.
  return random_events(random, {.count = 70, .most_data = 120'000});
}

/// Nothing, or exactly this file, whole; and then the file can be written.
void expect_file_or_nothing(FaultFileSystem& disk, const Events& events, bool must_be_there,
                            bool must_be_absent) {
  const auto catalogue = Catalogue::open(disk, kDirectory);
  ASSERT_TRUE(catalogue) << catalogue.error().message;
  const auto files = (*catalogue)->files();
  EXPECT_EQ(disk.files().size(), files.size()) << "something was left";
  ASSERT_TRUE(!must_be_there || files.size() == 1);
  ASSERT_TRUE(!must_be_absent || files.empty());
  BlockCache cache(1u << 20);
  for (const EventFileInfo& info : files) {
    const auto file = (*catalogue)->open_file(info, cache);
    ASSERT_TRUE(file) << file.error().message;
    ASSERT_TRUE((*file)->verify());
    EXPECT_EQ(read_all((*file)->events(Address{}, Order::kForwards)).value(), events);
  }
  const auto again = write_file(disk, events, Compression::kNone);
  ASSERT_TRUE(again) << again.error().message;
  ASSERT_TRUE((*catalogue)->add(*again));
  disk.crash(CrashPolicy::kLoseUnsynced);
  EXPECT_EQ(Catalogue::open(disk, kDirectory).value()->files(), std::vector{*again});
}

uint64_t operations_of_a_file(const Events& events) {
  FaultFileSystem disk(1);
  EXPECT_TRUE(disk.make_directory(kDirectory));
  EXPECT_TRUE(write_file(disk, events, Compression::kNone));
  return disk.operations();
}

TEST(EventFileCrash, AnywhereLeavesTheFileOrNothing) {
  const Events events = events_for_crashes();
  const uint64_t operations = operations_of_a_file(events);
  ASSERT_GT(operations, 8u);
  for (uint64_t at = 0; at <= operations; at += kCrashEvery)
    for (const CrashPolicy policy : {CrashPolicy::kLoseUnsynced, CrashPolicy::kKeepAll,
                                     CrashPolicy::kRandom, CrashPolicy::kProcessEnds}) {
      SCOPED_TRACE("a crash at operation " + std::to_string(at));
      FaultFileSystem disk(at + 1);
      disk.fail_at(at, FaultKind::kPowerCut);
      const auto written = write_file(disk, events, Compression::kNone);
      EXPECT_EQ(written.has_value(), at == operations);
      disk.crash(policy);
      expect_file_or_nothing(disk, events, written.has_value(), false);
    }
}

// A failed write is final: no file, and an error that says what the disk said.
TEST(EventFileCrash, AFailureAnywhereIsReportedAndLeavesNothing) {
  const Events events = events_for_crashes();
  const uint64_t operations = operations_of_a_file(events);
  for (uint64_t at = 1; at < operations; at += kCrashEvery)
    for (const FaultKind kind : {FaultKind::kError, FaultKind::kNoSpace, FaultKind::kShort}) {
      SCOPED_TRACE("a failure at operation " + std::to_string(at));
      FaultFileSystem disk(at + 1);
      ASSERT_TRUE(disk.make_directory(kDirectory));
      const uint64_t from = disk.operations();
      disk.fail_at(from + at, kind);
      const auto written = write_file(disk, events, Compression::kNone);
      if (from + at >= operations) {
        EXPECT_TRUE(written);
        continue;
      }
      ASSERT_FALSE(written);
      const bool is_full = kind == FaultKind::kNoSpace;
      EXPECT_EQ(written.error().code, is_full ? ErrorCode::kResourceExhausted : ErrorCode::kIo)
          << written.error().message;
      EXPECT_TRUE(disk.files().empty());
      expect_file_or_nothing(disk, events, false, true);
    }
}

TEST(EventFileCrash, AFullDiskIsNamedAndAnotherAttemptBegins) {
  const Events events = events_for_crashes();
  FaultFileSystem disk(1);
  ASSERT_TRUE(disk.make_directory(kDirectory));
  disk.set_capacity(2'500'000);
  const auto refused = write_file(disk, events, Compression::kNone);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted);
  EXPECT_TRUE(disk.files().empty()) << "a full disk stays fuller";
  disk.set_capacity(100'000'000);
  EXPECT_TRUE(write_file(disk, events, Compression::kNone));
}

}  // namespace
}  // namespace tailrace::history
