#include <algorithm>
#include <fstream>

#include "core/random.h"
#include "fasterlog/offline/check_log.h"
#include "fasterlog/offline/dump_log.h"
#include "fasterlog/offline/inspect.h"
#include "tests/fasterlog/log_fixture.h"
#include "tests/fasterlog/saved_log.h"

namespace tailrace::fasterlog {
namespace {

using testing::FaultFileSystem;

CheckReport check(storage::FileSystem& disk, CheckOptions options = {}) {
  auto report = check_log(disk, "/log", options);
  EXPECT_TRUE(report.has_value()) << (report ? "" : report.error().message);
  return report ? std::move(*report) : CheckReport{};
}

struct Dumped {
  std::vector<Written> records;
  std::vector<AddressRange> skipped;
  Result<> result;
};

Dumped dump(storage::FileSystem& disk, DumpOptions options) {
  Dumped dumped;
  DumpVisitor visitor;
  visitor.record = [&](const DumpedRecord& record) {
    dumped.records.push_back({{record.address, record.end}, to_string(record.payload)});
    return true;
  };
  visitor.skipped = [&](AddressRange range, const std::string&, const std::string&) {
    dumped.skipped.push_back(range);
  };
  dumped.result = dump_log(disk, "/log", options, visitor);
  return dumped;
}

DumpOptions skipping() {
  DumpOptions options;
  options.skip_damage = true;
  return options;
}

TEST(Inspection, SaysWhatASoundLogHolds) {
  const SavedLog saved(20, 50);
  const auto disk = disk_with(saved.files());
  const CheckReport report = check(*disk);
  EXPECT_FALSE(report.damaged());
  EXPECT_TRUE(report.findings.empty());
  EXPECT_EQ(report.metadata.owner, "test/1");
  EXPECT_EQ(report.checked_from, kFirstAddress);
  EXPECT_EQ(report.durable, saved.durable());
  EXPECT_EQ(report.last_batch_end, saved.durable());
  EXPECT_EQ(report.records, 20u);
  EXPECT_EQ(report.batches, 20u);
  EXPECT_EQ(report.sound_bytes, saved.durable() - kFirstAddress);
  EXPECT_EQ(report.bad_bytes, 0u);
  ASSERT_EQ(report.epochs.size(), 2u);
  EXPECT_EQ(report.epochs[1], (EpochStart{Epoch{2}, saved.written()[10].at.first}));

  const auto inspected = inspect(*disk, "/log");
  ASSERT_TRUE(inspected.has_value());
  EXPECT_EQ(inspected->records, report.records);
  EXPECT_EQ(inspected->batches, report.batches);
  EXPECT_EQ(inspected->epochs, report.epochs);
  EXPECT_EQ(inspected->durable, report.durable);
  EXPECT_EQ(dump(*disk, {}).records, saved.written());
  EXPECT_EQ(files_of(*disk), saved.files());
}

TEST(Inspection, EveryFlippedByteIsFoundAndNeverReadAsData) {
  const SavedLog saved(12, 40);
  Random random(20261124);
  for (const auto& [path, bytes] : saved.files()) {
    if (path.ends_with(".reserve")) continue;  // holds nothing
    const bool segment = path.ends_with(".seg");
    const uint64_t first =
        segment ? *parse_segment_name(storage::Path(path).filename().string()) : 0;
    // The segments behind the first one are made ahead.
    const uint64_t used = !segment ? bytes.size() : first == 0 ? saved.durable().value : 0;
    auto disk = disk_with(saved.files());
    for (uint64_t byte = 0; byte < bytes.size();
         // Behind the log's end the flips are all alike.
         byte += byte < used + 64 ? 1 : 1 + random.below(500)) {
      const int bit = static_cast<int>(random.below(8));
      SCOPED_TRACE(path + " byte " + std::to_string(byte) + " bit " + std::to_string(bit));
      disk->flip_bit(path, byte, bit);
      const auto damaged = files_of(*disk);
      const CheckReport report = check(*disk);
      ASSERT_FALSE(report.findings.empty());
      const Finding& found = report.findings.front();
      ASSERT_EQ(found.file, path);
      ASSERT_EQ(report.damaged(), byte < used);
      if (segment) {
        ASSERT_LE(found.first.value, first + byte);
        ASSERT_GT(found.end.value, first + byte);
        ASSERT_EQ(found.offset, found.first.value - first);
        ASSERT_EQ(found.place, byte < used ? Place::kBelowProven : Place::kBeyond);
        ASSERT_EQ(report.findings.size(), 1u);
        // All but the batch that was hit is there, and only that record is not sound.
        ASSERT_GE(report.records, 11u);
        for (const Written& each : dump(*disk, skipping()).records)
          ASSERT_TRUE(std::count(saved.written().begin(), saved.written().end(), each));
      }
      ASSERT_EQ(files_of(*disk), damaged) << "looking changed something";
      const auto opened = open_and_read(*disk, saved.options());
      if (byte < used) {
        ASSERT_FALSE(opened.has_value());
        ASSERT_EQ(opened.error().code, ErrorCode::kCorruption) << opened.error().message;
        ASSERT_NE(opened.error().message.find(path), std::string::npos) << opened.error().message;
        ASSERT_EQ(files_of(*disk), damaged) << "a refused log was changed";
        disk->flip_bit(path, byte, bit);
      } else {
        ASSERT_EQ(*opened, saved.written());
        disk = disk_with(saved.files());
      }
    }
  }
}

TEST(Inspection, GoesOnBehindEachOfSeveralDamages) {
  const SavedLog saved(400, 1000);  // several pages and segments
  auto files = saved.files();
  const auto& written = saved.written();
  const auto flip = [&](Address at) {
    const uint64_t segment = at.value / (64u << 10) * (64u << 10);
    files[path_of(segment)][at.value - segment] ^= std::byte{4};
  };
  for (const size_t hit : {3u, 100u, 101u, 333u})
    flip(written[hit].at.first + 30);
  const auto disk = disk_with(files);
  const CheckReport report = check(*disk);
  ASSERT_EQ(report.findings.size(), 4u);
  size_t finding = 0;
  for (const size_t hit : {3u, 100u, 101u, 333u}) {
    EXPECT_EQ(report.findings[finding].first, written[hit].at.first);
    EXPECT_EQ(report.findings[finding].end, written[hit].at.end);
    EXPECT_EQ(report.findings[finding++].place, Place::kBelowProven);
  }
  EXPECT_EQ(report.records, 396u);
  EXPECT_EQ(report.batches_behind_damage, 393u);
  EXPECT_EQ(report.findings.front().records_before, 3u);
  EXPECT_EQ(report.last_batch_end, saved.durable());
  EXPECT_LT(report.durable, written[3].at.first + 1);

  const Dumped stopped = dump(*disk, {});
  EXPECT_EQ(stopped.result.error().code, ErrorCode::kCorruption);
  EXPECT_EQ(stopped.records.size(), 3u);
  const Dumped skipped = dump(*disk, skipping());
  ASSERT_TRUE(skipped.result.has_value());
  EXPECT_EQ(skipped.records.size(), 396u);
  EXPECT_EQ(skipped.skipped.size(), 4u);
  // Part of it, beginning and ending within pages.
  DumpOptions part = skipping();
  part.from = written[50].at.first;
  part.to = written[103].at.first;
  const Dumped some = dump(*disk, part);
  ASSERT_EQ(some.records.size(), 51u);
  EXPECT_EQ(some.records.front(), written[50]);
  EXPECT_EQ(some.records.back(), written[102]);
  EXPECT_EQ(some.skipped.size(), 2u);
}

TEST(Inspection, ADamagedLengthOrACutFileLosesNoMoreThanItHit) {
  const SavedLog saved(400, 1000);
  auto files = saved.files();
  // The length of a record says more than there is, and a file ends in its middle.
  const Written& victim = saved.written()[10];
  files[path_of(0)][victim.at.first.value + 6] = std::byte{1};
  files[path_of(2 * (64u << 10))].resize(30000);
  const auto disk = disk_with(files);
  const CheckReport report = check(*disk);
  ASSERT_EQ(report.findings.size(), 2u);
  EXPECT_EQ(report.findings[0].first, victim.at.first);
  EXPECT_EQ(report.findings[0].end, victim.at.end);
  EXPECT_LT(report.findings[1].first, Address{2 * (64u << 10) + 30000});
  EXPECT_EQ(report.findings[1].end, Address{3 * (64u << 10)});
  EXPECT_NE(report.findings[1].reason.find("is short: it ends at byte 30000"), std::string::npos)
      << report.findings[1].reason;
  EXPECT_EQ(report.notes.size(), 1u);
  EXPECT_GT(report.records, 350u);
}

TEST(Inspection, NamesAMissingSegmentAndWhatStandsBehindIt) {
  const SavedLog saved(400, 1000);
  auto files = saved.files();
  files.erase(path_of(2 * (64u << 10)));
  const auto disk = disk_with(files);
  const CheckReport report = check(*disk);
  ASSERT_EQ(report.findings.size(), 1u);
  EXPECT_EQ(report.findings[0].first, Address{2 * (64u << 10)});
  EXPECT_EQ(report.findings[0].end, Address{3 * (64u << 10)});
  EXPECT_EQ(report.findings[0].place, Place::kBelowProven);
  EXPECT_GT(report.batches_behind_damage, 100u);
  EXPECT_EQ(open_and_read(*disk, saved.options()).error().code, ErrorCode::kCorruption);
  EXPECT_EQ(files_of(*disk), files);
  // The last ones, too.
  files = saved.files();
  const Address last{align_down(saved.durable().value, 64u << 10)};
  for (Address at = last; files.erase(path_of(at.value)) > 0;)
    at = at + (64u << 10);
  EXPECT_EQ(check(*disk_with(files)).findings.back().end, saved.durable());
}

// What a crash leaves is no damage; batches behind a hole are, for an open would clear them.
TEST(Inspection, TellsACrashFromDamageBehindProven) {
  const SavedLog saved(20, 100);
  auto files = saved.files();
  {
    const auto disk = disk_with(files);
    LogMetadata metadata = *read_log_metadata(*disk, "/log");
    metadata.clean = false;
    metadata.proven = check(*disk).findings.empty() ? saved.written()[10].at.first : Address{};
    // The batch of record 10 begins where the mark before ends, which is where the record is.
    ASSERT_TRUE(write_log_metadata(*disk, "/log", metadata).has_value());
    files = files_of(*disk);
  }
  const auto with_flip = [&](Address at) {
    auto damaged = files;
    damaged[path_of(0)][at.value] ^= std::byte{1};
    return disk_with(damaged);
  };
  EXPECT_FALSE(check(*disk_with(files)).damaged());
  {
    const auto disk = with_flip(saved.written()[19].at.first + 30);
    const CheckReport report = check(*disk);
    EXPECT_FALSE(report.damaged());
    ASSERT_EQ(report.findings.size(), 1u);
    EXPECT_EQ(report.findings[0].place, Place::kBeyond);
    EXPECT_EQ(report.records, 19u);
    EXPECT_EQ(dump(*disk, {}).records.size(), 19u);
    EXPECT_EQ(open_and_read(*disk, saved.options())->size(), 19u);
  }
  {
    const auto disk = with_flip(saved.written()[15].at.first + 30);
    const CheckReport report = check(*disk);
    EXPECT_TRUE(report.damaged());
    ASSERT_EQ(report.findings.size(), 1u);
    EXPECT_EQ(report.findings[0].place, Place::kBelowEnd);
    EXPECT_EQ(report.findings[0].records_before, 15u);
    EXPECT_EQ(report.batches_behind_damage, 4u);
    EXPECT_EQ(dump(*disk, {}).records.size(), 15u);
    EXPECT_EQ(dump(*disk, skipping()).records.size(), 19u);
    EXPECT_EQ(open_and_read(*disk, saved.options())->size(), 15u);
  }
}

TEST(Inspection, LeftoversAndForeignFilesAreNotedAndHarmNothing) {
  const SavedLog saved(5, 10);
  auto files = saved.files();
  files["/log/META.tmp"] = files["/log/META"];
  files["/log/notes.txt"] = {std::byte{'x'}};
  const auto disk = disk_with(files);
  const CheckReport report = check(*disk);
  EXPECT_FALSE(report.damaged());
  ASSERT_EQ(report.notes.size(), 2u);
  EXPECT_NE(report.notes[0].find("META.tmp"), std::string::npos);
  EXPECT_NE(report.notes[1].find("notes.txt"), std::string::npos);
  EXPECT_EQ(*open_and_read(*disk, saved.options()), saved.written());
}

TEST(Inspection, WithoutMetaTheSegmentsSpeak) {
  const SavedLog saved(400, 1000, saved_log_options(256u << 10));
  for (const bool missing : {true, false}) {
    auto files = saved.files();
    if (missing) {
      files.erase("/log/META");
    } else {
      files["/log/META"][40] ^= std::byte{1};
    }
    const auto disk = disk_with(files);
    const CheckReport report = check(*disk);
    EXPECT_TRUE(report.damaged());
    ASSERT_TRUE(report.metadata_error.has_value());
    ASSERT_EQ(report.findings.size(), 1u);
    EXPECT_EQ(report.findings[0].place, Place::kFile);
    EXPECT_EQ(report.findings[0].file, "/log/META");
    EXPECT_EQ(report.possible_page_bytes, std::vector<uint32_t>{64u << 10});
    EXPECT_EQ(report.metadata.segment_bytes, 256u << 10);
    EXPECT_EQ(report.records, 400u);
    EXPECT_EQ(report.durable, saved.durable());
    const auto inspected = inspect(*disk, "/log");
    ASSERT_TRUE(inspected.has_value());
    EXPECT_TRUE(inspected->metadata_error.has_value());
    EXPECT_EQ(inspected->records, 400u);
    EXPECT_EQ(dump(*disk, {}).records, saved.written());
  }
  FaultFileSystem empty(1);
  ASSERT_TRUE(empty.make_directory("/log").has_value());
  EXPECT_EQ(check_log(empty, "/log").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(check_log(empty, "/absent").error().code, ErrorCode::kNotFound);
}

TEST(Inspection, FilesThatAreNoLogAreSaidToBeNone) {
  Random random(7);
  for (int round = 0; round < 50; ++round) {
    FilesOfLog files;
    for (const std::string name : {"META", "CONSUMERS", "0000000000000000.seg"}) {
      auto& bytes = files["/log/" + name];
      bytes.resize(random.below(100000));
      for (std::byte& byte : bytes)
        byte = static_cast<std::byte>(random.below(round % 2 == 0 ? 256 : 3));
    }
    const auto disk = disk_with(files);
    const CheckReport report = check(*disk);
    EXPECT_TRUE(report.damaged());
    EXPECT_EQ(report.records, 0u);
    EXPECT_TRUE(dump(*disk, skipping()).records.empty());
    EXPECT_FALSE(Log::open(*disk, saved_log_options()).has_value());
    EXPECT_EQ(files_of(*disk), files);
  }
}

class InspectionOnDisk : public LogFixture {};

TEST_F(InspectionOnDisk, FindsWhatItFindsInMemory) {
  Address hit;
  {
    auto log = open_writer(options());
    for (int i = 0; i < 200; ++i) {
      const auto range = append(*log, std::string(2000, 'y'));
      if (i == 77) hit = range.first;
    }
  }
  const auto file = root_ / "log" / segment_name(0);
  {
    std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekp(static_cast<std::streamoff>(hit.value + 100));
    bytes.put('!');
  }
  const auto report = check_log(storage::posix_file_system(), root_ / "log");
  ASSERT_TRUE(report.has_value()) << report.error().message;
  ASSERT_EQ(report->findings.size(), 1u);
  EXPECT_EQ(report->findings[0].first, hit);
  EXPECT_EQ(report->findings[0].offset, hit.value);
  EXPECT_EQ(report->findings[0].file, file.string());
  EXPECT_EQ(report->records, 199u);
}

}  // namespace
}  // namespace tailrace::fasterlog
