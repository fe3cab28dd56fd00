#include "fasterlog/offline/repair.h"

#include <algorithm>

#include "fasterlog/format/record.h"
#include "storage/atomic_file.h"
#include "tests/fasterlog/log_fixture.h"
#include "tests/fasterlog/saved_log.h"

namespace tailrace::fasterlog {
namespace {

using testing::CrashPolicy;
using testing::FaultFileSystem;
using testing::FaultKind;

constexpr uint64_t kSegment = 64u << 10;

std::string report_of(const RepairPlan& plan) {
  return std::to_string(plan.lost_records) + " lost\n";
}

Result<RepairResult> repair(storage::FileSystem& disk, const RepairOptions& options = {}) {
  return repair_log(disk, "/log", options, report_of);
}

RepairOptions rebuilding() {
  RepairOptions options;
  options.rebuild_metadata = true;
  options.owner = "test/1";
  return options;
}

class Repair : public ::testing::Test {
 protected:
  void flip(Address at) {
    const uint64_t segment = at.value / kSegment * kSegment;
    files_[path_of(segment)][at.value - segment] ^= std::byte{16};
  }
  /// Shows the plan, which changes nothing; then repairs: the copies are what stood there, and the
  /// log opens with exactly `expected`.
  RepairResult check_repair(const std::vector<Written>& expected,
                            const RepairOptions& options = {}) {
    const auto disk = disk_with(files_);
    const auto planned = plan_repair(*disk, "/log", options);
    EXPECT_TRUE(planned.has_value()) << (planned ? "" : planned.error().message);
    EXPECT_EQ(files_of(*disk), files_) << "a dry run changed something";
    auto done = repair(*disk, options);
    EXPECT_TRUE(done.has_value()) << (done ? "" : done.error().message);
    if (!planned || !done) return {};
    EXPECT_EQ(planned->steps, done->plan.steps);
    EXPECT_EQ(done->copies, "/log.repair-1");
    const auto after = files_of(*disk);
    EXPECT_EQ(to_string(after.at("/log.repair-1/report.json")), report_of(done->plan));
    for (const auto& [path, bytes] : files_) {
      const auto now = after.find(path);
      if (now != after.end() && now->second == bytes) continue;
      const std::string copy = "/log.repair-1/" + storage::Path(path).filename().string();
      EXPECT_TRUE(after.contains(copy)) << path << " was touched without a copy";
      if (after.contains(copy)) {
        EXPECT_EQ(after.at(copy), bytes) << copy;
      }
    }
    const auto checked = check_log(*disk, "/log");
    EXPECT_TRUE(checked && !checked->damaged());
    EXPECT_EQ(done->plan.kept_records, expected.size());
    const auto opened = open_and_read(*disk, saved_.options());
    EXPECT_TRUE(opened.has_value()) << (opened ? "" : opened.error().message);
    if (opened) {
      EXPECT_EQ(*opened, expected);
    }
    // And goes on.
    auto log = Log::open(*disk, saved_.options());
    EXPECT_TRUE(log && (*log)->become_writer(Epoch{7}).has_value());
    auto more = (*log)->enqueue(RecordKind::kData, as_bytes("more"));
    EXPECT_TRUE(more && (*log)->wait_durable(more->end).has_value());
    EXPECT_EQ(read_all(**log).size(), expected.size() + 1);
    return std::move(*done);
  }
  std::vector<Written> first(size_t count) const {
    return {saved_.written().begin(), saved_.written().begin() + static_cast<ptrdiff_t>(count)};
  }

  const SavedLog saved_{300, 1000, saved_log_options(kSegment)};  // five segments, a page each
  FilesOfLog files_ = saved_.files();
};

TEST_F(Repair, LeavesASoundLogAlone) {
  const auto disk = disk_with(files_);
  const auto done = repair(*disk);
  ASSERT_TRUE(done.has_value()) << done.error().message;
  EXPECT_TRUE(done->plan.nothing_to_do());
  EXPECT_TRUE(done->copies.empty());
  EXPECT_EQ(files_of(*disk), files_);
}

TEST_F(Repair, CutsAtTheLastWholeBatchBeforeTheFirstDamage) {
  flip(saved_.written()[200].at.first + 100);
  flip(saved_.written()[120].at.first + 3);
  const RepairResult done = check_repair(first(120));
  EXPECT_EQ(done.plan.lost_records, 300u - 120 - 2);
  // The consumer had read 150.
  EXPECT_NE(std::find(done.plan.changed.begin(), done.plan.changed.end(), "CONSUMERS"),
            done.plan.changed.end());
}

TEST_F(Repair, CutsInTheFirstBatchAndAtEveryKindOfPlace) {
  flip(saved_.written()[0].at.first + 8);
  check_repair({});
  files_ = saved_.files();
  flip(saved_.durable() - 1);  // the last commit mark: one that ends the log
  check_repair(first(299));
  files_ = saved_.files();
  flip(Address{2 * kSegment + 1});  // a page's first record
  check_repair(saved_.written_before(Address{2 * kSegment}));
}

TEST_F(Repair, CutsBeforeAMissingSegment) {
  files_.erase(path_of(2 * kSegment));
  check_repair(saved_.written_before(Address{2 * kSegment}));
  files_ = saved_.files();
  files_.erase(path_of(0));
  check_repair({});
}

// Where only zeros belong, zeros are certain, and no record is lost.
TEST_F(Repair, ZeroesBytesThatHoldNothing) {
  flip(Address{5});
  size_t unaligned = 0;
  while ((saved_.written()[unaligned].payload.size()) % 8 != 4)
    ++unaligned;
  const Written& victim = saved_.written()[unaligned];
  flip(victim.at.first + kHeaderBytes + victim.payload.size() + 1);
  const RepairResult done = check_repair(saved_.written());
  EXPECT_EQ(done.plan.zeroed.size(), 2u);
  EXPECT_FALSE(done.plan.cut.has_value());
  EXPECT_EQ(done.plan.lost_records, 0u);
}

TEST_F(Repair, TakesAwayDamagedConsumersAndSegmentsThatAreNone) {
  files_["/log/CONSUMERS"][20] ^= std::byte{1};
  files_[path_of(12345)] = {std::byte{1}};
  const RepairResult done = check_repair(saved_.written());
  EXPECT_EQ(done.plan.removed.size(), 2u);
}

TEST_F(Repair, MakesALostOrDamagedMetaAnew) {
  files_.erase("/log/META");
  auto disk = disk_with(files_);
  EXPECT_EQ(repair(*disk).error().code, ErrorCode::kFailedPrecondition);
  RepairOptions nobody = rebuilding();
  nobody.owner.clear();
  EXPECT_EQ(repair(*disk, nobody).error().code, ErrorCode::kInvalidArgument);
  auto untouched = files_of(*disk);
  untouched.erase("/log/LOCK");
  EXPECT_EQ(untouched, files_);
  check_repair(saved_.written(), rebuilding());

  files_ = saved_.files();
  files_["/log/META"][50] ^= std::byte{1};
  check_repair(saved_.written(), rebuilding());
  // And the log is damaged as well.
  flip(saved_.written()[70].at.first);
  const RepairResult done = check_repair(first(70), rebuilding());
  EXPECT_EQ(done.plan.lost_records, 229u);
  ASSERT_TRUE(done.plan.metadata.has_value());
  EXPECT_EQ(done.plan.metadata->page_bytes, 64u << 10);
  EXPECT_EQ(done.plan.metadata->segment_bytes, kSegment);
}

TEST_F(Repair, AMetaThatIsSoundIsNotMadeAnewAndANewerOneNotTouched) {
  EXPECT_EQ(repair(*disk_with(files_), rebuilding()).error().code, ErrorCode::kFailedPrecondition);
  auto disk = disk_with(files_);
  ASSERT_TRUE(storage::replace_atomic_file(*disk, "/log/META", {storage::four_letters("FLOG"), 3},
                                           as_bytes("of the future"))
                  .has_value());
  const auto newer = files_of(*disk);
  EXPECT_EQ(repair(*disk).error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(repair(*disk, rebuilding()).error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(check_log(*disk, "/log").error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(files_of(*disk), newer);
}

// A truncated log begins in the middle of a batch when all it has is segments.
TEST_F(Repair, MakesTheMetaOfATruncatedLogAnew) {
  FilesOfLog truncated;
  std::vector<Written> left;
  {
    auto disk = disk_with(files_);
    auto log = Log::open(*disk, saved_.options());
    ASSERT_TRUE(log.has_value());
    ASSERT_TRUE((*log)->truncate_before(saved_.written()[130].at.first).has_value());
    ASSERT_TRUE((*log)->close().has_value());
    log->reset();
    truncated = files_of(*disk);
  }
  truncated.erase("/log/META");
  std::erase_if(truncated, [](const auto& each) { return each.first.ends_with(".spare"); });
  files_ = truncated;
  // What is left of the first segment comes back: nothing says any more where the log began.
  ASSERT_TRUE(files_.contains(path_of(2 * kSegment)));
  ASSERT_FALSE(files_.contains(path_of(kSegment)));
  for (const Written& each : saved_.written()) {
    if (each.at.first >= Address{2 * kSegment}) left.push_back(each);
  }
  const auto disk = disk_with(files_);
  const auto done = repair(*disk, rebuilding());
  ASSERT_TRUE(done.has_value()) << done.error().message;
  const auto opened = open_and_read(*disk, saved_.options());
  ASSERT_TRUE(opened.has_value()) << opened.error().message;
  ASSERT_EQ(opened->size(), done->plan.kept_records);
  EXPECT_TRUE(std::equal(opened->rbegin(), opened->rend(), left.rbegin()));
  EXPECT_GE(opened->size() + 1, left.size()) << "at most the batch that began before is lost";
}

TEST_F(Repair, AsksForAPageSizeThatALogTooShortDoesNotTell) {
  const SavedLog small(5, 10, saved_log_options(256u << 10));
  FilesOfLog files = small.files();
  files.erase("/log/META");
  const auto disk = disk_with(files);
  const auto refused = repair(*disk, rebuilding());
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(refused.error().message.find("65536, 131072, 262144"), std::string::npos);
  RepairOptions told = rebuilding();
  told.check.sizes.page_bytes = 64u << 10;
  ASSERT_TRUE(repair(*disk, told).has_value());
  EXPECT_EQ(*open_and_read(*disk, small.options()), small.written());
}

TEST_F(Repair, RefusesALogInUse) {
  flip(saved_.written()[250].at.first);
  const auto disk = disk_with(files_);
  const auto lock = disk->lock("/log");
  ASSERT_TRUE(lock.has_value());
  EXPECT_EQ(plan_repair(*disk, "/log", {}).error().code, ErrorCode::kInUse);
  EXPECT_EQ(repair(*disk).error().code, ErrorCode::kInUse);
  EXPECT_EQ(files_of(*disk), files_);
}

// Whatever fails, and whenever the power goes: the log is as it was or the copies are whole, and
// the next attempt brings the same log.
TEST_F(Repair, SurvivesAFaultAtEveryOperation) {
  flip(saved_.written()[120].at.first + 3);
  flip(Address{5});
  for (const bool rebuild : {false, true}) {
    if (rebuild) files_.erase("/log/META");
    const RepairOptions options = rebuild ? rebuilding() : RepairOptions{};
    uint64_t begin = 0;
    uint64_t operations = 0;
    {
      const auto disk = disk_with(files_);
      begin = disk->operations();
      ASSERT_TRUE(repair(*disk, options).has_value());
      operations = disk->operations();
    }
    ASSERT_GT(operations, begin);
    for (uint64_t operation = begin; operation < operations; ++operation) {
      for (const FaultKind kind : {FaultKind::kError, FaultKind::kPowerCut}) {
        for (const CrashPolicy policy : {CrashPolicy::kLoseUnsynced, CrashPolicy::kRandom}) {
          SCOPED_TRACE("operation " + std::to_string(operation));
          const auto disk = disk_with(files_, operation + 1);
          disk->fail_at(operation, kind);
          (void)repair(*disk, options);
          disk->crash(policy);
          const auto now = files_of(*disk);
          for (const auto& [path, bytes] : files_) {
            if (now.contains(path) && now.at(path) == bytes) continue;
            const std::string copy = "/log.repair-1/" + storage::Path(path).filename().string();
            ASSERT_TRUE(now.contains(copy)) << copy;
            ASSERT_EQ(now.at(copy), bytes) << copy;
          }
          // META may have been made already.
          const bool has_metadata = now.contains("/log/META");
          const auto again = repair(*disk, has_metadata ? RepairOptions{} : options);
          ASSERT_TRUE(again.has_value()) << again.error().message;
          const auto opened = open_and_read(*disk, saved_.options());
          ASSERT_TRUE(opened.has_value()) << opened.error().message;
          ASSERT_EQ(*opened, first(120));
        }
      }
    }
  }
}

class RepairOnDisk : public LogFixture {};

TEST_F(RepairOnDisk, CutsCopiesAndRefusesWhatIsInUse) {
  std::vector<AddressRange> ranges;
  auto log = open_writer(options());
  for (int i = 0; i < 300; ++i)
    ranges.push_back(append(*log, std::to_string(i) + std::string(2000, 'y')));
  EXPECT_EQ(plan_repair(storage::posix_file_system(), root_ / "log", {}).error().code,
            ErrorCode::kInUse);
  EXPECT_EQ(repair_log(storage::posix_file_system(), root_ / "log", {}, report_of).error().code,
            ErrorCode::kInUse);
  ASSERT_TRUE(log->close().has_value());
  log.reset();
  {
    auto file = storage::posix_file_system().open(root_ / "log" / segment_name(0),
                                                  {storage::OpenMode::kReadWrite, false});
    ASSERT_TRUE((*file)->write_at(ranges[40].first.value + 500, as_bytes("!")).has_value());
  }
  const auto done = repair_log(storage::posix_file_system(), root_ / "log" / "", {}, report_of);
  ASSERT_TRUE(done.has_value()) << done.error().message;
  EXPECT_EQ(done->copies, root_ / "log.repair-1");
  EXPECT_EQ(done->plan.kept_records, 40u);
  EXPECT_EQ(done->plan.lost_records, 259u);
  EXPECT_EQ(std::filesystem::file_size(done->copies / segment_name(0)), 256u << 10);
  log = open();
  EXPECT_EQ(payloads(*log).size(), 40u);
}

}  // namespace
}  // namespace tailrace::fasterlog
