#include "replication/promise_file.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "storage/atomic_file.h"
#include "tests/support/fault_file_system.h"
#include "tests/support/temporary_directory.h"

namespace tailrace::replication {
namespace {

class PromiseFileTest : public ::testing::Test {
 protected:
  PromiseFile file(uint32_t node = 3, const std::string& cluster = "orders") {
    return PromiseFile(storage::posix_file_system(), directory_, NodeId{node}, cluster);
  }
  /// The content of a file with these votes, as another version may have written it.
  void write_raw(uint32_t version, uint32_t vote) {
    std::vector<std::byte> content(32 + 6);
    store(content.data(), uint64_t{9});       // epoch
    store(content.data() + 8, uint64_t{5});   // incarnation
    store(content.data() + 16, uint32_t{2});  // leader
    store(content.data() + 20, uint32_t{3});  // node
    store(content.data() + 24, uint32_t{6});  // bytes of the cluster's name
    store(content.data() + 28, vote);
    std::memcpy(content.data() + 32, "orders", 6);
    ASSERT_TRUE(storage::replace_atomic_file(storage::posix_file_system(), directory_ / "PROMISE",
                                             {storage::four_letters("PROM"), version}, content));
  }
  std::string bytes_on_disk() const {
    std::ifstream in(directory_ / "PROMISE", std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  testing::TemporaryDirectory temporary_;
  const std::filesystem::path directory_ = temporary_.path();
};

TEST_F(PromiseFileTest, ANewNodeStartsAtEpochZeroWithALastingIncarnation) {
  const Result<Promise> fresh = file().open(77);
  ASSERT_TRUE(fresh) << fresh.error().message;
  EXPECT_EQ(*fresh, (Promise{Epoch{0}, NodeId{0}, 77, Vote::kNone, 0, 1}));
  const Result<Promise> again = file().open(78);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->incarnation, 77u);
}

TEST_F(PromiseFileTest, WhatWasWrittenIsReadBack) {
  PromiseFile first = file();
  ASSERT_TRUE(first.open(5));
  for (const Vote vote : {Vote::kNone, Vote::kProvisional, Vote::kFull}) {
    const Promise promise{Epoch{9}, NodeId{2}, 5, vote};
    ASSERT_TRUE(first.write(promise));
    const Result<Promise> again = file().open(6);
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(*again, promise);
  }
}

TEST_F(PromiseFileTest, ItsBytesAreThoseOfTheFormatsPage) {
  PromiseFile written = file();
  ASSERT_TRUE(written.open(5));
  ASSERT_TRUE(written.write(
      Promise{Epoch{0x0102030405060708}, NodeId{2}, 0x1112131415161718, Vote::kProvisional}));
  const std::string bytes = bytes_on_disk();
  const std::string header_behind_the_checksum(
      "PROM"
      "\x02\0\0\0"          // version
      "\x26\0\0\0\0\0\0\0"  // 38 bytes of content
      "\0\0\0\0\0\0\0\0",
      24);
  const std::string content(
      "\x08\x07\x06\x05\x04\x03\x02\x01"  // epoch
      "\x18\x17\x16\x15\x14\x13\x12\x11"  // incarnation
      "\x02\0\0\0"                        // leader
      "\x03\0\0\0"                        // node
      "\x06\0\0\0"                        // bytes of the cluster's name
      "\x01\0\0\0"                        // vote
      "orders",
      38);
  ASSERT_EQ(bytes.size(), 32 + content.size());
  EXPECT_EQ(bytes.substr(0, 4), "TRAF");
  EXPECT_EQ(bytes.substr(8, 24), header_behind_the_checksum);
  EXPECT_EQ(bytes.substr(32), content);
}

TEST_F(PromiseFileTest, FromVersion3OnItCountsStartsAndRemembersLives) {
  PromiseFile written = file();
  ASSERT_TRUE(written.open(5));
  const Promise promise{Epoch{9},
                        NodeId{2},
                        5,
                        Vote::kFull,
                        0x2122232425262728,
                        7,
                        {{NodeId{4}, Life{0x3132333435363738, 3, 0x4142434445464748}}},
                        {}};
  ASSERT_TRUE(written.write(promise));
  EXPECT_EQ(*file().read(), promise);
  const std::string bytes = bytes_on_disk();
  EXPECT_EQ(bytes.substr(12, 4), std::string("\x03\0\0\0", 4));
  const std::string behind_the_vote(
      "\x07\0\0\0\0\0\0\0"                // starts
      "\x28\x27\x26\x25\x24\x23\x22\x21"  // the leader's run
      "\x01\0\0\0"                        // lives that were seen
      "\0\0\0\0"                          // zero
      "orders"
      "\x04\0\0\0"                         // node
      "\x38\x37\x36\x35\x34\x33\x32\x31"   // incarnation
      "\x03\0\0\0\0\0\0\0"                 // starts
      "\x48\x47\x46\x45\x44\x43\x42\x41",  // run
      58);
  EXPECT_EQ(bytes.substr(32 + 32), behind_the_vote);
  Promise owing = promise;
  owing.owed.push_back({NodeId{1}, 77, Epoch{8}, Address{4096}});
  ASSERT_TRUE(written.write(owing));
  EXPECT_EQ(*file().read(), owing);
}

TEST_F(PromiseFileTest, FromVersion4OnItKeepsTheIdentityOfTheCluster) {
  PromiseFile written = file();
  Promise promise = written.open(5).value();
  promise.identity = {0x0102030405060708, 0x1112131415161718};
  promise.seen.emplace_back(NodeId{4}, Life{1, 2, 3});
  ASSERT_TRUE(written.write(promise));
  EXPECT_EQ(*file().read(), promise);
  const std::string bytes = bytes_on_disk();
  EXPECT_EQ(bytes.substr(12, 4), std::string("\x04\0\0\0", 4));
  EXPECT_EQ(bytes.substr(32 + 56, 16 + 6), std::string("\x08\x07\x06\x05\x04\x03\x02\x01"
                                                       "\x18\x17\x16\x15\x14\x13\x12\x11"
                                                       "orders"));
}

/// So that a node can go back to the version before until the cluster has left that.
TEST_F(PromiseFileTest, AFileThatCountsNoStartsStaysOfVersion2) {
  write_raw(2, 2);
  Promise promise = file().read().value();
  EXPECT_EQ(promise.starts, 0u);
  promise.seen.emplace_back(NodeId{4}, Life{1, 2, 3});
  ASSERT_TRUE(file().write(promise));
  EXPECT_EQ(bytes_on_disk().substr(12, 4), std::string("\x02\0\0\0", 4));
  EXPECT_TRUE(file().read()->seen.empty());
}

TEST_F(PromiseFileTest, AFileOfVersionOneHasAFullVote) {
  write_raw(1, 0);
  const Result<Promise> read = file().open(6);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, (Promise{Epoch{9}, NodeId{2}, 5, Vote::kFull}));
  ASSERT_TRUE(file().write(*read));
  EXPECT_EQ(*file().read(), *read);
}

TEST_F(PromiseFileTest, AVoteOutOfRangeIsCorruption) {
  write_raw(2, 3);
  const std::string before = bytes_on_disk();
  const Result<Promise> read = file().open(6);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, ErrorCode::kCorruption);
  EXPECT_EQ(bytes_on_disk(), before);
}

TEST_F(PromiseFileTest, ANewerVersionIsRefusedAndNothingIsWritten) {
  write_raw(5, 0);
  const std::string before = bytes_on_disk();
  const Result<Promise> read = file().open(6);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(bytes_on_disk(), before);
}

TEST_F(PromiseFileTest, AnotherNodeOrClusterIsRefused) {
  ASSERT_TRUE(file().open(5));
  const Result<Promise> node = file(4).open(6);
  ASSERT_FALSE(node);
  EXPECT_EQ(node.error().code, ErrorCode::kFailedPrecondition);
  const Result<Promise> cluster = file(3, "payments").open(6);
  ASSERT_FALSE(cluster);
  EXPECT_NE(cluster.error().message.find("orders"), std::string::npos);
}

TEST_F(PromiseFileTest, ReadingAnAbsentPromiseCreatesNothing) {
  const Result<Promise> absent = file().read();
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, ErrorCode::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(directory_ / "PROMISE"));
  ASSERT_TRUE(file().open(5));
  EXPECT_EQ(file().read()->incarnation, 5u);
  EXPECT_EQ(file(4).read().error().code, ErrorCode::kFailedPrecondition);
}

TEST_F(PromiseFileTest, ADamagedPromiseIsNeverReplacedByAFreshOne) {
  ASSERT_TRUE(file().open(5));
  {
    std::fstream damage(directory_ / "PROMISE", std::ios::in | std::ios::out | std::ios::binary);
    damage.seekp(34);
    damage.put('\x55');
  }
  for (int i = 0; i < 2; ++i) {
    const Result<Promise> read = file().open(6);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code, ErrorCode::kCorruption);
  }
}

// A change of leader must not stop a node because its disk is full.
TEST(PromiseOnAFullDisk, AnyNumberOfPromisesFindRoom) {
  testing::FaultFileSystem disk{1};
  ASSERT_TRUE(disk.make_directory("/node"));
  PromiseFile file(disk, "/node", NodeId{3}, "orders");
  ASSERT_TRUE(file.open(5));
  disk.fill();
  for (uint64_t epoch = 1; epoch <= 20; ++epoch) {
    const Promise promise{Epoch{epoch}, NodeId{2}, 5, Vote::kFull};
    const auto written = file.write(promise);
    ASSERT_TRUE(written) << written.error().message;
    ASSERT_TRUE(file.keep_room());
    disk.crash(testing::CrashPolicy::kLoseUnsynced);
    EXPECT_EQ(file.read().value(), promise);
  }
}

// A directory of before on a full disk: the node is told so, and has room kept as soon as there is.
TEST(PromiseOnAFullDisk, RoomIsKeptLaterWhereThereWasNoneAtTheStart) {
  testing::FaultFileSystem disk{1};
  ASSERT_TRUE(disk.make_directory("/node"));
  ASSERT_TRUE(PromiseFile(disk, "/node", NodeId{3}, "orders").open(5));
  ASSERT_TRUE(disk.remove(storage::reserve_of("/node/PROMISE")));
  disk.fill();
  PromiseFile file(disk, "/node", NodeId{3}, "orders");
  const auto found = file.open(6);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->incarnation, 5u);
  const auto refused = file.write(Promise{Epoch{1}, NodeId{2}, 5, Vote::kFull});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(file.read().value().epoch, Epoch{0});
  disk.set_capacity(1u << 20);
  ASSERT_TRUE(file.keep_room());
  disk.fill();
  EXPECT_TRUE(file.write(Promise{Epoch{1}, NodeId{2}, 5, Vote::kFull}));
}

}  // namespace
}  // namespace tailrace::replication
