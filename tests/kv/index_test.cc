#include <algorithm>
#include <atomic>
#include <set>
#include <thread>

#include <gtest/gtest.h>

#include "kv/hash_index.h"

namespace tailrace::kv {
namespace {

// Promise: threads that insert the same tags at the same time end up with one entry each, in the
// buckets and in their overflow.
TEST(HashIndex, ConcurrentInsertsOfATagMakeOneEntry) {
  constexpr uint64_t kTags = 600;
  constexpr uint64_t kThreads = 2;
  const auto hash_of = [](uint64_t number) { return number << 50 | (number & 1); };
  for (int round = 0; round < 30; ++round) {
    auto index = std::move(*HashIndex::create(2, false));
    std::atomic<uint64_t> arrived{0};
    std::vector<std::thread> threads;
    for (uint64_t thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&] {
        for (uint64_t number = 0; number < kTags; ++number) {
          // All begin with a tag at the same time.
          ++arrived;
          for (int spins = 0; arrived < (number + 1) * kThreads; ++spins) {
            if (spins > 1000) std::this_thread::yield();
          }
          for (;;) {
            const auto found = index->find_or_create(hash_of(number), 0);
            ASSERT_NE(found.slot, nullptr);
            if (HashIndex::replace(found, HashIndex::address_of(found.entry) + 8)) break;
          }
        }
      });
    }
    for (auto& thread : threads)
      thread.join();
    std::set<const void*> slots;
    for (uint64_t number = 0; number < kTags; ++number) {
      const auto found = index->find(hash_of(number));
      ASSERT_NE(found.slot, nullptr);
      ASSERT_EQ(HashIndex::address_of(found.entry), kThreads * 8)
          << "an increment went to a second entry";
      ASSERT_TRUE(slots.insert(found.slot).second);
    }
    std::vector<LogAddress> chains;
    index->chains_of(0, chains);
    ASSERT_EQ(chains.size(), kTags / 2);
  }
}

// Promise: the same when the threads take different places for the tag, since one of them has seen
// begin move and the other has not.
TEST(HashIndex, ConcurrentInsertsIntoDifferentPlacesMakeOneEntry) {
  constexpr uint64_t kThreads = 2;
  constexpr uint64_t kIndexes = 80;
  constexpr uint64_t kHash = 5000ull << 50;
  std::vector<std::unique_ptr<HashIndex>> indexes;
  for (uint64_t number = 0; number < kIndexes; ++number) {
    indexes.push_back(std::move(*HashIndex::create(1, false)));
    for (uint64_t tag = 0; tag < 7; ++tag) {
      ASSERT_TRUE(HashIndex::replace(indexes.back()->find_or_create(tag << 50, 0), 64));
    }
    // Long to search, so that both do it at the same time.
    for (uint64_t tag = 7; tag < 1000; ++tag) {
      ASSERT_TRUE(HashIndex::replace(indexes.back()->find_or_create(tag << 50, 0), 4096));
    }
  }
  std::atomic<uint64_t> arrived{0};
  std::vector<std::thread> threads;
  for (uint64_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (uint64_t number = 0; number < kIndexes; ++number) {
        HashIndex& index = *indexes[number];
        ++arrived;
        for (int spins = 0; arrived < (number + 1) * kThreads; ++spins) {
          if (spins > 1000) std::this_thread::yield();
        }
        for (;;) {
          const auto found = index.find_or_create(kHash, thread == 0 ? 0 : 1024);
          ASSERT_NE(found.slot, nullptr);
          const LogAddress address = std::max<LogAddress>(HashIndex::address_of(found.entry), 4096);
          if (HashIndex::replace(found, address + 8)) break;
        }
      }
    });
  }
  for (auto& thread : threads)
    thread.join();
  for (const auto& index : indexes) {
    const auto found = index->find(kHash);
    ASSERT_NE(found.slot, nullptr);
    ASSERT_EQ(HashIndex::address_of(found.entry), 4096 + kThreads * 8) << "there are two entries";
  }
}

// Promise: an entry whose chain lies below begin gives its place away, and whoever still holds it
// finds it changed.
TEST(HashIndex, StaleEntriesAreTakenOver) {
  auto index = std::move(*HashIndex::create(1, false));
  std::vector<HashIndex::Found> old;
  for (uint64_t tag = 0; tag < 7; ++tag) {
    old.push_back(index->find_or_create(tag << 50, 0));
    ASSERT_TRUE(HashIndex::replace(old.back(), 64));
  }
  for (uint64_t tag = 0; tag < 7; ++tag)
    old[tag] = index->find(tag << 50);
  for (uint64_t tag = 100; tag < 107; ++tag) {
    const auto found = index->find_or_create(tag << 50, 1024);
    ASSERT_TRUE(HashIndex::replace(found, 2048));
  }
  EXPECT_EQ(index->overflow_bucket_count(), 0u);
  for (const auto& entry : old)
    EXPECT_FALSE(HashIndex::replace(entry, 4096));
  EXPECT_EQ(index->find(0).slot, nullptr);
}

}  // namespace
}  // namespace tailrace::kv
