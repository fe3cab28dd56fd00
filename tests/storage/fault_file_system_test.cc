#include "tests/support/fault_file_system.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "storage/atomic_file.h"

// The disk that other tests stand on: these tests keep it honest.
namespace tailrace::testing {
namespace {

using storage::OpenMode;

std::unique_ptr<storage::File> create(FaultFileSystem& disk, const std::string& path) {
  EXPECT_TRUE(disk.make_directory(storage::Path(path).parent_path()));
  auto file = disk.open(path, {OpenMode::kCreateReadWrite, false});
  EXPECT_TRUE(file) << file.error().message;
  return std::move(*file);
}

TEST(FaultFileSystem, ACrashTakesWhatWasNotSynced) {
  FaultFileSystem disk(1);
  const auto file = create(disk, "/d/f");
  ASSERT_TRUE(file->write_at(0, as_bytes("synced")));
  ASSERT_TRUE(file->sync());
  ASSERT_TRUE(disk.sync_directory("/d"));
  ASSERT_TRUE(file->write_at(0, as_bytes("UNSYNC")));
  create(disk, "/d/nameless");
  disk.crash(CrashPolicy::kLoseUnsynced);
  EXPECT_EQ(as_text(disk.content("/d/f")), "synced");
  EXPECT_FALSE(*disk.exists("/d/nameless"));
  EXPECT_FALSE(file->write_at(0, as_bytes("x"))) << "a file of the dead process";
}

TEST(FaultFileSystem, ARandomCrashTearsAWriteBetweenSectors) {
  bool torn = false;
  for (uint64_t seed = 0; seed < 50 && !torn; ++seed) {
    FaultFileSystem disk(seed);
    const auto file = create(disk, "/d/f");
    const std::vector<std::byte> zeros(4096);
    const std::vector<std::byte> ones(4096, std::byte{1});
    ASSERT_TRUE(file->write_at(0, zeros));
    ASSERT_TRUE(file->sync());
    ASSERT_TRUE(disk.sync_directory("/d"));
    ASSERT_TRUE(file->write_at(0, ones));
    disk.crash(CrashPolicy::kRandom);
    const auto bytes = disk.content("/d/f");
    size_t changed = 0;
    for (size_t sector = 0; sector < 8; ++sector) {
      for (size_t place = 1; place < 512; ++place) {
        ASSERT_EQ(bytes[sector * 512 + place], bytes[sector * 512]) << "a sector is never torn";
      }
      changed += bytes[sector * 512] == std::byte{1} ? 1 : 0;
    }
    torn = changed > 0 && changed < 8;
  }
  EXPECT_TRUE(torn);
}

// As on Linux: after a failed fsync the pages count as clean, and the next one succeeds without
// them.
TEST(FaultFileSystem, ASyncThatSucceedsAfterAFailedOneDoesNotBringTheBytesBack) {
  FaultFileSystem disk(1);
  const auto file = create(disk, "/d/f");
  ASSERT_TRUE(file->write_at(0, as_bytes("older")));
  ASSERT_TRUE(file->sync());
  ASSERT_TRUE(disk.sync_directory("/d"));
  ASSERT_TRUE(file->write_at(0, as_bytes("newer")));
  disk.fail_at(disk.operations(), FaultKind::kError);
  ASSERT_FALSE(file->sync());
  ASSERT_TRUE(file->sync());
  EXPECT_EQ(as_text(disk.content("/d/f")), "newer") << "reads still see it";
  disk.crash(CrashPolicy::kKeepAll);
  EXPECT_EQ(as_text(disk.content("/d/f")), "older");
}

TEST(FaultFileSystem, ANamedFaultStrikesThatCallOnThatFileOnceWhateverComesBefore) {
  FaultFileSystem disk(1);
  const auto file = create(disk, "/d/f");
  const auto other = create(disk, "/d/g");
  for (const auto& [call, is_write] : {std::pair("write", true), std::pair("fdatasync", false)}) {
    disk.fail_next(call, "/d/f", FaultKind::kError);
    EXPECT_TRUE(other->write_at(0, as_bytes("other")));
    EXPECT_TRUE(other->sync());
    EXPECT_EQ(file->write_at(0, as_bytes("bytes")).has_value(), !is_write);
    EXPECT_EQ(file->sync().has_value(), is_write);
    EXPECT_TRUE(file->write_at(0, as_bytes("bytes")));
    EXPECT_TRUE(file->sync());
  }
}

TEST(FaultFileSystem, BytesThatWereCutOffDoNotComeBackWhenTheFileGrows) {
  FaultFileSystem disk(1);
  const auto file = create(disk, "/d/f");
  ASSERT_TRUE(file->write_at(0, std::vector<std::byte>(2048, std::byte{1})));
  ASSERT_TRUE(file->sync());
  ASSERT_TRUE(disk.sync_directory("/d"));
  ASSERT_TRUE(file->truncate(0));
  ASSERT_TRUE(file->allocate(2048));
  ASSERT_TRUE(file->sync());
  disk.crash(CrashPolicy::kLoseUnsynced);
  EXPECT_EQ(disk.content("/d/f"), std::vector<std::byte>(2048));
}

TEST(FaultFileSystem, ATornWriteDidExactlyItsFirstSectorsAndTheProcessesEndLosesNothing) {
  const std::vector<std::byte> ones(4096, std::byte{1});
  for (uint64_t sectors = 0; sectors <= 8; ++sectors) {
    FaultFileSystem disk(1);
    const auto file = create(disk, "/d/f");
    ASSERT_TRUE(file->allocate(4096));
    disk.fail_at(disk.operations(), FaultKind::kTorn, sectors);
    EXPECT_FALSE(file->write_at(0, ones));
    EXPECT_EQ(disk.sectors_of_operations().back(), 8u);
    EXPECT_FALSE(file->sync()) << "the power is cut";
    disk.crash(CrashPolicy::kProcessEnds);
    EXPECT_FALSE(file->sync()) << "a file of the dead process";
    const auto bytes = disk.content("/d/f");
    EXPECT_EQ(std::count(bytes.begin(), bytes.end(), std::byte{1}),
              static_cast<ptrdiff_t>(sectors * 512));
    disk.crash(CrashPolicy::kLoseUnsynced);
    EXPECT_FALSE(*disk.exists("/d/f")) << "the end of a process is no sync";
  }
}

TEST(FaultFileSystem, AShortWriteDidItsFirstHalfAndFails) {
  FaultFileSystem disk(1);
  const auto file = create(disk, "/d/f");
  ASSERT_TRUE(file->allocate(4096));
  disk.fail_at(disk.operations(), FaultKind::kShort);
  EXPECT_FALSE(file->write_at(0, std::vector<std::byte>(4096, std::byte{1})));
  const auto bytes = disk.content("/d/f");
  EXPECT_EQ(bytes[2047], std::byte{1});
  EXPECT_EQ(bytes[2048], std::byte{0});
  EXPECT_TRUE(file->sync()) << "the disk goes on";
}

// Journaling file systems do: the file is under the old name or the new one, never both or none.
TEST(FaultFileSystem, ARandomCrashKeepsARenameWhole) {
  bool old_name = false;
  bool new_name = false;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    FaultFileSystem disk(seed);
    create(disk, "/d/old");
    ASSERT_TRUE(disk.sync_directory("/d"));
    ASSERT_TRUE(disk.rename("/d/old", "/d/new"));
    disk.crash(CrashPolicy::kRandom);
    ASSERT_NE(*disk.exists("/d/old"), *disk.exists("/d/new"));
    (*disk.exists("/d/old") ? old_name : new_name) = true;
  }
  EXPECT_TRUE(old_name && new_name);
}

TEST(FaultFileSystem, AFullDiskRefusesAndSaysSo) {
  FaultFileSystem disk(1);
  disk.set_capacity(4096);
  const auto file = create(disk, "/d/f");
  const auto refused = file->allocate(8192);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted);
}

// The promise of atomic files, at every operation the replacement consists of: after a failure or a
// power cut, and whatever the crash keeps, the file holds the old content or the new.
TEST(AtomicFileOnAFaultyDisk, HoldsTheOldOrTheNewContentAfterAFaultAnywhere) {
  constexpr storage::AtomicFileFormat kFormat{storage::four_letters("TEST"), 1};
  const std::string old_content(1500, 'o');
  const std::string new_content(2500, 'n');
  for (const FaultKind kind : {FaultKind::kError, FaultKind::kNoSpace, FaultKind::kPowerCut}) {
    for (const CrashPolicy policy :
         {CrashPolicy::kLoseUnsynced, CrashPolicy::kKeepAll, CrashPolicy::kRandom}) {
      for (uint64_t seed = 0; seed < 20; ++seed) {
        bool faulted = true;
        for (uint64_t step = 0; faulted; ++step) {
          FaultFileSystem disk(seed);
          ASSERT_TRUE(disk.make_directory("/d"));
          ASSERT_TRUE(
              storage::replace_atomic_file(disk, "/d/META", kFormat, as_bytes(old_content)));
          disk.fail_at(disk.operations() + step, kind);
          const auto replaced =
              storage::replace_atomic_file(disk, "/d/META", kFormat, as_bytes(new_content));
          faulted = !replaced;
          disk.crash(policy);
          const auto content = storage::read_atomic_file(disk, "/d/META", kFormat);
          ASSERT_TRUE(content) << content.error().message << " seed " << seed << " step " << step;
          const std::string text = to_string(content->bytes);
          EXPECT_TRUE(text == new_content || (faulted && text == old_content))
              << "seed " << seed << " step " << step;
          ASSERT_LT(step, 100u);
        }
      }
    }
  }
}

}  // namespace
}  // namespace tailrace::testing
