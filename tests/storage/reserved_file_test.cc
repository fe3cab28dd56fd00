// Files that are replaced whole, with room kept for it: also a full disk takes the next content.
#include <string>

#include <gtest/gtest.h>

#include "storage/atomic_file.h"
#include "tests/support/fault_file_system.h"
#include "tests/support/temporary_directory.h"

namespace tailrace::storage {
namespace {

using testing::CrashPolicy;
using testing::FaultFileSystem;
using testing::FaultKind;

constexpr AtomicFileFormat kReservedFormat{four_letters("TEST"), 1};
const Path kReservedPath = "/d/META";

std::string content_of(FileSystem& disk) {
  const auto content = read_atomic_file(disk, kReservedPath, kReservedFormat);
  return content ? to_string(content->bytes) : content.error().message;
}

Result<> replace(FileSystem& disk, const std::string& content) {
  return replace_reserved_file(disk, kReservedPath, kReservedFormat, as_bytes(content));
}

const std::string kFirst(1500, 'a'), kSecond(2500, 'b'), kThird(900, 'c');

// At every operation of a replacement, and whatever a crash keeps: the old content or the new. An
// error that says that there was no room has changed nothing.
TEST(ReservedFile, HoldsTheOldOrTheNewContentAfterAFaultAnywhere) {
  for (const FaultKind kind : {FaultKind::kError, FaultKind::kNoSpace, FaultKind::kPowerCut}) {
    for (const CrashPolicy policy : {CrashPolicy::kLoseUnsynced, CrashPolicy::kKeepAll,
                                     CrashPolicy::kRandom, CrashPolicy::kProcessEnds}) {
      for (uint64_t seed = 0; seed < 20; ++seed) {
        bool struck = true;
        for (uint64_t step = 0; struck; ++step) {
          FaultFileSystem disk(seed);
          ASSERT_TRUE(disk.make_directory("/d"));
          ASSERT_TRUE(replace(disk, kFirst) && replace(disk, kSecond));
          const uint64_t fault = disk.operations() + step;
          disk.fail_at(fault, kind);
          const auto replaced = replace(disk, kThird);
          struck = disk.operations() > fault;
          disk.crash(policy);
          const std::string found = content_of(disk);
          const std::string where =
              "seed " + std::to_string(seed) + " step " + std::to_string(step);
          ASSERT_TRUE(found == kThird || (!replaced && found == kSecond)) << where << ": " << found;
          const bool no_room = !replaced && replaced.error().code == ErrorCode::kResourceExhausted;
          ASSERT_TRUE(!no_room || found == kSecond) << where;
          // The next one is as good as any.
          ASSERT_TRUE(replace(disk, kFirst)) << where;
          disk.crash(CrashPolicy::kLoseUnsynced);
          ASSERT_EQ(content_of(disk), kFirst) << where;
          ASSERT_LT(step, 100u);
        }
      }
    }
  }
}

// A process that ends in the middle leaves names that are on no device yet. The next one overwrites
// no blocks that still are the file's there: a power cut at any of its operations is survived.
TEST(ReservedFile, APowerCutAfterAProcessThatEndedHalfWayLosesNothing) {
  for (uint64_t seed = 0; seed < 10; ++seed) {
    for (uint64_t ends = 0; ends < 12; ++ends) {
      bool struck = true;
      for (uint64_t step = 0; struck; ++step) {
        FaultFileSystem disk(seed);
        ASSERT_TRUE(disk.make_directory("/d"));
        ASSERT_TRUE(replace(disk, kFirst));
        disk.fail_at(disk.operations() + ends, FaultKind::kPowerCut);
        (void)replace(disk, kSecond);
        disk.crash(CrashPolicy::kProcessEnds);
        const uint64_t fault = disk.operations() + step;
        disk.fail_at(fault, FaultKind::kPowerCut);
        (void)replace(disk, kThird);
        struck = disk.operations() > fault;
        disk.crash(CrashPolicy::kRandom);
        const std::string found = content_of(disk);
        ASSERT_TRUE(found == kFirst || found == kSecond || found == kThird)
            << "seed " << seed << " ends at " << ends << " step " << step << ": " << found;
        ASSERT_LT(step, 100u);
      }
    }
  }
}

// A full disk takes any number of contents of as many blocks, and one that has a block more.
TEST(ReservedFile, IsReplacedOnAFullDisk) {
  FaultFileSystem disk(1);
  ASSERT_TRUE(disk.make_directory("/d"));
  ASSERT_TRUE(replace(disk, kFirst));
  disk.fill();
  ASSERT_FALSE(replace_atomic_file(disk, kReservedPath, kReservedFormat, as_bytes(kSecond)));
  const std::string longer(7000, 'l');
  ASSERT_TRUE(replace(disk, longer));
  EXPECT_EQ(content_of(disk), longer);
  for (int turn = 0; turn < 20; ++turn) {
    const std::string next(static_cast<size_t>(100 * turn), static_cast<char>('a' + turn));
    const auto replaced = replace(disk, next);
    ASSERT_TRUE(replaced) << replaced.error().message;
    disk.crash(turn % 2 == 0 ? CrashPolicy::kRandom : CrashPolicy::kProcessEnds);
    ASSERT_EQ(content_of(disk), next);
  }
}

// The first content finds room where it was kept before there was any file.
TEST(ReservedFile, RoomCanBeKeptBeforeTheFirstContent) {
  FaultFileSystem disk(1);
  ASSERT_TRUE(disk.make_directory("/d"));
  const auto reserved = reserve_atomic_file(disk, kReservedPath, kFirst.size());
  ASSERT_TRUE(reserved && *reserved);
  disk.fill();
  ASSERT_TRUE(replace(disk, kFirst));
  EXPECT_EQ(content_of(disk), kFirst);
}

// A directory without a reserve, on a disk that is full already: refused, unchanged, and said; as
// good as any once there is room.
TEST(ReservedFile, WithoutAReserveAFullDiskRefusesAndNothingIsChanged) {
  FaultFileSystem disk(1);
  ASSERT_TRUE(disk.make_directory("/d"));
  ASSERT_TRUE(replace_atomic_file(disk, kReservedPath, kReservedFormat, as_bytes(kFirst)));
  disk.fill();
  const auto reserved = reserve_atomic_file(disk, kReservedPath, kFirst.size());
  ASSERT_TRUE(reserved) << reserved.error().message;
  EXPECT_FALSE(*reserved);
  const auto refused = replace(disk, kSecond);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted);
  EXPECT_NE(refused.error().message.find(kReservedPath.string()), std::string::npos);
  EXPECT_EQ(content_of(disk), kFirst);
  disk.set_capacity(1u << 20);
  ASSERT_TRUE(replace(disk, kSecond));
  disk.fill();
  ASSERT_TRUE(replace(disk, kThird));
  EXPECT_EQ(content_of(disk), kThird);
}

// Where names cannot be exchanged, the reserve is made anew of what the old file gives back.
TEST(ReservedFile, IsReplacedOnAFullDiskWhereNamesCannotBeExchanged) {
  FaultFileSystem disk(1);
  disk.set_can_exchange(false);
  ASSERT_TRUE(disk.make_directory("/d"));
  ASSERT_TRUE(replace(disk, kFirst));
  disk.fill();
  ASSERT_TRUE(replace(disk, kSecond));
  disk.crash(CrashPolicy::kLoseUnsynced);
  EXPECT_EQ(content_of(disk), kSecond);
}

TEST(ReservedFile, IsRemovedWithItsReserve) {
  FaultFileSystem disk(1);
  ASSERT_TRUE(disk.make_directory("/d"));
  ASSERT_TRUE(replace(disk, kFirst));
  ASSERT_TRUE(remove_reserved_file(disk, kReservedPath));
  EXPECT_TRUE(disk.files().empty());
  EXPECT_TRUE(remove_reserved_file(disk, kReservedPath)) << "and again";
}

// The system's own files: names and contents, and nothing but the two files is left.
TEST(ReservedFile, IsReplacedOnThisMachinesDisk) {
  const testing::TemporaryDirectory directory;
  FileSystem& disk = posix_file_system();
  const Path path = directory.path() / "META";
  for (const std::string& content : {kFirst, std::string(9000, 'x'), kThird, std::string()}) {
    ASSERT_TRUE(replace_reserved_file(disk, path, kReservedFormat, as_bytes(content)));
    const auto found = read_atomic_file(disk, path, kReservedFormat);
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_EQ(to_string(found->bytes), content);
  }
  EXPECT_EQ(*disk.list(directory.path()), (std::vector<std::string>{"META", "META.reserve"}));
}

}  // namespace
}  // namespace tailrace::storage
