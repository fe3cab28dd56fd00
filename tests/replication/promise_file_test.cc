#include "replication/promise_file.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "tests/support/temporary_directory.h"

namespace tailrace::replication {
namespace {

class PromiseFileTest : public ::testing::Test {
 protected:
  PromiseFile file(uint32_t node = 3, const std::string& cluster = "orders") {
    return PromiseFile(storage::posix_file_system(), directory_, NodeId{node}, cluster);
  }
  testing::TemporaryDirectory temporary_;
  const std::filesystem::path directory_ = temporary_.path();
};

TEST_F(PromiseFileTest, ANewNodeStartsAtEpochZeroWithALastingIncarnation) {
  const Result<Promise> fresh = file().open(77);
  ASSERT_TRUE(fresh) << fresh.error().message;
  EXPECT_EQ(*fresh, (Promise{Epoch{0}, NodeId{0}, 77}));
  const Result<Promise> again = file().open(78);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->incarnation, 77u);
}

TEST_F(PromiseFileTest, WhatWasWrittenIsReadBack) {
  PromiseFile first = file();
  ASSERT_TRUE(first.open(5));
  const Promise promise{Epoch{9}, NodeId{2}, 5};
  ASSERT_TRUE(first.write(promise));
  const Result<Promise> again = file().open(6);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(*again, promise);
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

}  // namespace
}  // namespace tailrace::replication
