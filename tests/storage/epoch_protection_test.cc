#include "storage/epoch_protection.h"

#include <latch>
#include <memory>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace tailrace::storage {
namespace {

class EpochProtectionTest : public ::testing::TestWithParam<EpochProtection::Fences> {};
INSTANTIATE_TEST_SUITE_P(BothFences, EpochProtectionTest,
                         ::testing::Values(EpochProtection::Fences::kInEnter,
                                           EpochProtection::Fences::kAtBump));

// An epoch is safe only when every thread that was inside at the bump has left.
TEST_P(EpochProtectionTest, IsNotSafeWhileAThreadFromBeforeIsInside) {
  EpochProtection protection(GetParam());
  std::latch inside(1);
  std::latch may_leave(1);
  std::thread reader([&] {
    const EpochProtection::Guard guard(protection);
    inside.count_down();
    may_leave.wait();
  });
  inside.wait();
  const uint64_t before = protection.bump();
  EXPECT_FALSE(protection.is_safe(before));
  may_leave.count_down();
  protection.wait_safe(before);
  EXPECT_TRUE(protection.is_safe(before));
  reader.join();
}

TEST_P(EpochProtectionTest, AThreadThatEntersAfterTheBumpDoesNotHoldItBack) {
  EpochProtection protection(GetParam());
  const uint64_t before = protection.bump();
  const EpochProtection::Guard guard(protection);
  EXPECT_TRUE(protection.is_safe(before));
}

TEST_P(EpochProtectionTest, OnlyTheOutermostLeaveLeaves) {
  EpochProtection protection(GetParam());
  protection.enter();
  protection.enter();
  const uint64_t before = protection.bump();
  protection.leave();
  EXPECT_FALSE(protection.is_safe(before));
  protection.leave();
  EXPECT_TRUE(protection.is_safe(before));
}

TEST_P(EpochProtectionTest, RefreshAdoptsTheNewEpoch) {
  EpochProtection protection(GetParam());
  protection.enter();
  const uint64_t before = protection.bump();
  EXPECT_FALSE(protection.is_safe(before));
  protection.refresh();
  EXPECT_TRUE(protection.is_safe(before));
  protection.leave();
}

TEST_P(EpochProtectionTest, AnActionRunsOnceAndNotBeforeItsEpochIsSafe) {
  EpochProtection protection(GetParam());
  int runs = 0;
  protection.enter();
  protection.bump([&] { ++runs; });
  EXPECT_EQ(runs, 0);
  protection.leave();
  EXPECT_EQ(runs, 1);
  protection.drain();
  EXPECT_EQ(runs, 1);
}

// Threads come and go; their slots are used again, also after a table at the same address is gone.
TEST_P(EpochProtectionTest, SlotsOfEndedThreadsAreUsedAgain) {
  for (int table = 0; table < 3; ++table) {
    EpochProtection protection(GetParam());
    for (size_t round = 0; round < 2 * EpochProtection::kMostThreads; ++round) {
      std::thread([&] { const EpochProtection::Guard guard(protection); }).join();
    }
  }
}

// One thread may be inside several tables at once, more than it remembers the slots of.
TEST_P(EpochProtectionTest, TablesAreApartFromOneAnother) {
  std::vector<std::unique_ptr<EpochProtection>> tables;
  for (int table = 0; table < 20; ++table) {
    tables.push_back(std::make_unique<EpochProtection>(GetParam()));
    tables.back()->enter();
  }
  for (const auto& table : tables) {
    const uint64_t before = table->bump();
    EXPECT_FALSE(table->is_safe(before));
    table->leave();
    EXPECT_TRUE(table->is_safe(before));
  }
}

// The use both engines make of it: nobody reads an object after it was reclaimed.
TEST_P(EpochProtectionTest, NothingIsReclaimedUnderAReader) {
  EpochProtection protection(GetParam());
  struct Object {
    std::atomic<bool> alive{true};
  };
  std::atomic<Object*> current{new Object};
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> dead_reads{0};
  std::vector<std::thread> readers;
  for (int reader = 0; reader < 3; ++reader) {
    readers.emplace_back([&] {
      while (!stop.load(std::memory_order_relaxed)) {
        const EpochProtection::Guard guard(protection);
        const Object* object = current.load(std::memory_order_acquire);
        if (!object->alive.load(std::memory_order_relaxed)) dead_reads.fetch_add(1);
      }
    });
  }
  std::vector<Object*> retired;
  for (int round = 0; round < 2000; ++round) {
    Object* old = current.exchange(new Object, std::memory_order_acq_rel);
    protection.wait_safe(protection.bump());
    old->alive.store(false, std::memory_order_relaxed);
    retired.push_back(old);
  }
  stop = true;
  for (std::thread& reader : readers) {
    reader.join();
  }
  EXPECT_EQ(dead_reads.load(), 0u);
  for (const Object* object : retired) {
    delete object;
  }
  delete current.load();
}

}  // namespace
}  // namespace tailrace::storage
