#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include <gtest/gtest.h>

#include "kv/engine/hashed_key.h"
#include "kv/index/hash_index.h"
#include "storage/epoch_protection.h"

namespace tailrace::kv {
namespace {

std::unique_ptr<HashIndex> make_index(
    uint64_t buckets, storage::EpochProtection& protection,
    std::function<LogAddress()> begin = [] { return LogAddress{0}; }) {
  return std::move(
      *HashIndex::create(HashIndex::new_shape(buckets), false, protection, std::move(begin)));
}

// Promise: the short way and the general one look for a key in the same place.
TEST(HashIndex, TheHashOfANumberIsTheHashOfItsBytes) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 1000; ++i) {
    const uint64_t number = i == 0 ? 0 : random();
    const ByteSpan bytes(reinterpret_cast<const std::byte*>(&number), sizeof number);
    EXPECT_EQ(hashed(bytes).hash, hash_of(bytes));
  }
}

// Promise: threads that insert the same tags at the same time end up with one entry each, in the
// buckets and in their overflow.
TEST(HashIndex, ConcurrentInsertsOfATagMakeOneEntry) {
  constexpr uint64_t kTags = 600;
  constexpr uint64_t kThreads = 2;
  const auto hash_of = [](uint64_t number) { return number << 1 | (number & 1); };
  storage::EpochProtection protection;
  for (int round = 0; round < 30; ++round) {
    auto index = make_index(2, protection);
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
    ASSERT_EQ(index->entry_count(), kTags);
  }
}

// Promise: the same when the threads take different places for the tag, since one of them has seen
// begin move and the other has not.
TEST(HashIndex, ConcurrentInsertsIntoDifferentPlacesMakeOneEntry) {
  constexpr uint64_t kThreads = 2;
  constexpr uint64_t kIndexes = 80;
  constexpr uint64_t kHash = 5000;  // all of it is the tag, as there is one bucket
  storage::EpochProtection protection;
  std::vector<std::unique_ptr<HashIndex>> indexes;
  for (uint64_t number = 0; number < kIndexes; ++number) {
    indexes.push_back(make_index(1, protection));
    for (uint64_t tag = 0; tag < 7; ++tag) {
      ASSERT_TRUE(HashIndex::replace(indexes.back()->find_or_create(tag, 0), 64));
    }
    // Long to search, so that both do it at the same time.
    for (uint64_t tag = 7; tag < 1000; ++tag) {
      ASSERT_TRUE(HashIndex::replace(indexes.back()->find_or_create(tag, 0), 4096));
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
  storage::EpochProtection protection;
  auto index = make_index(1, protection);
  std::vector<HashIndex::Found> old;
  for (uint64_t tag = 0; tag < 7; ++tag) {
    old.push_back(index->find_or_create(tag, 0));
    ASSERT_TRUE(HashIndex::replace(old.back(), 64));
  }
  for (uint64_t tag = 0; tag < 7; ++tag)
    old[tag] = index->find(tag);
  for (uint64_t tag = 100; tag < 107; ++tag) {
    const auto found = index->find_or_create(tag, 1024);
    ASSERT_TRUE(HashIndex::replace(found, 2048));
  }
  EXPECT_EQ(index->overflow_bucket_count(), 0u);
  EXPECT_EQ(index->entry_count(), 7u);
  for (const auto& entry : old)
    EXPECT_FALSE(HashIndex::replace(entry, 4096));
  EXPECT_EQ(index->find(0).slot, nullptr);
}

// Records as the index sees them: a hash and the next older one. Addresses ascend.
class FakeLog {
 public:
  static constexpr uint64_t kStride = 16;
  struct Item {
    uint64_t key = 0;
    uint64_t value = 0;
    LogAddress previous = 0;
  };
  explicit FakeLog(size_t most) : items_(most) {}

  // Of the bits that choose buckets and tags all but nine are the same: several keys share a chain.
  static uint64_t hash_of(uint64_t key) {
    const uint64_t mixed = key * 0x9e3779b97f4a7c15ull;
    return (mixed >> 20 & 0x1ff) | mixed >> 32 << 16;
  }
  LogAddress append(const Item& item) {
    const uint64_t number = used_.fetch_add(1) + 1;
    items_.at(number) = item;
    return number * kStride;
  }
  Item& at(LogAddress address) { return items_[address / kStride]; }
  LogAddress tail() const { return (used_.load() + 1) * kStride; }

  std::function<LogAddress()> begin_source() {
    return [this] { return begin.load(); };
  }
  /// The key's newest record, or 0.
  LogAddress newest(const HashIndex& index, uint64_t key) {
    const auto found = index.find(hash_of(key));
    if (found.slot == nullptr) return 0;
    LogAddress address = HashIndex::address_of(found.entry);
    while (address >= std::max<LogAddress>(begin, 1) && at(address).key != key)
      address = at(address).previous;
    return address >= begin ? address : 0;
  }
  /// One more than the value of the key's newest record.
  void increment(HashIndex& index, uint64_t key) {
    for (;;) {
      const auto found = index.find_or_create(hash_of(key), begin);
      ASSERT_NE(found.slot, nullptr);
      const LogAddress first = HashIndex::address_of(found.entry);
      LogAddress address = first;
      while (address >= std::max<LogAddress>(begin, 1) && at(address).key != key)
        address = at(address).previous;
      const uint64_t value = address >= std::max<LogAddress>(begin, 1) ? at(address).value : 0;
      if (HashIndex::replace(found, append({key, value + 1, first}))) return;
    }
  }

  std::atomic<LogAddress> begin{0};

 private:
  std::vector<Item> items_;
  std::atomic<uint64_t> used_{0};
};

// Promise: while the index grows several times nothing is lost and nothing is there twice: not an
// update of any thread (a lost chain or a second entry for the tag would lose some), and readers
// never see a key go back.
TEST(HashIndexGrowth, ConcurrentUpdatesLoseNothing) {
  constexpr uint64_t kKeys = 2000;
  constexpr uint64_t kThreads = 3;
  constexpr uint64_t kUpdates = 8000;
  storage::EpochProtection protection;
  FakeLog log(kThreads * kUpdates * 3);
  // Growth is slow, so that much happens while a bucket is frozen, and while some are moved.
  auto index = make_index(4, protection, []() -> LogAddress {
    std::this_thread::yield();
    return 0;
  });
  std::vector<std::atomic<uint64_t>> expected(kKeys);
  std::atomic<uint64_t> done{0};
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> while_growing{0};
  std::vector<std::thread> threads;
  for (uint64_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      std::mt19937_64 random(thread + 77);
      for (uint64_t number = 0; number < kUpdates; ++number) {
        const uint64_t key = random() % kKeys;
        const storage::EpochProtection::Guard guard(protection);
        log.increment(*index, key);
        ++expected[key];
        done.fetch_add(1, std::memory_order_relaxed);
      }
    });
  }
  threads.emplace_back([&] {
    std::mt19937_64 random(5);
    while (!stop) {
      const uint64_t key = random() % kKeys;
      const storage::EpochProtection::Guard guard(protection);
      const uint64_t before = expected[key].load();
      const LogAddress address = log.newest(*index, key);
      const uint64_t value = address == 0 ? 0 : log.at(address).value;
      if (index->growing()) ++while_growing;
      ASSERT_GE(value, before) << "key " << key << " went back";
    }
  });
  // The sizes double as the updates go on, whoever is faster.
  for (uint64_t step = 0; step < 7; ++step) {
    while (done.load() < kUpdates * kThreads * (step + 1) / 10)
      std::this_thread::yield();
    ASSERT_TRUE(index->grow());
  }
  for (size_t thread = 0; thread < kThreads; ++thread)
    threads[thread].join();
  stop = true;
  threads.back().join();
  ASSERT_EQ(index->bucket_count(), 4u << 7);
  EXPECT_GT(while_growing, 0u);
  ASSERT_FALSE(index->growing());
  const storage::EpochProtection::Guard guard(protection);
  for (uint64_t key = 0; key < kKeys; ++key) {
    if (expected[key] == 0) continue;
    const LogAddress address = log.newest(*index, key);
    ASSERT_NE(address, 0u) << "key " << key << " is gone";
    ASSERT_EQ(log.at(address).value, expected[key]) << "key " << key;
  }
  uint64_t chains_seen = 0;
  for (uint64_t bucket = 0; bucket < index->bucket_count(); ++bucket) {
    std::vector<LogAddress> chains;
    index->chains_of(bucket, chains);
    chains_seen += chains.size();
    std::set<uint64_t> tags;
    for (const LogAddress chain : chains) {
      const uint64_t hash = FakeLog::hash_of(log.at(chain).key);
      ASSERT_TRUE(tags.insert(hash >> 2 & 0x3fff).second) << "a tag has two entries";
      ASSERT_EQ(hash & (index->bucket_count() - 1), bucket);
    }
  }
  ASSERT_EQ(index->entry_count(), chains_seen);
}

// Promise: a key that is in the index is found by every search while the index grows, and one that
// is not there is not.
TEST(HashIndexGrowth, ReadersFindAllAllTheTime) {
  constexpr uint64_t kKeys = 3000;
  storage::EpochProtection protection;
  FakeLog log(kKeys * 2);
  auto index = make_index(1, protection, log.begin_source());
  for (uint64_t key = 0; key < kKeys; ++key) {
    const storage::EpochProtection::Guard guard(protection);
    log.increment(*index, key);
  }
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (uint64_t thread = 0; thread < 2; ++thread) {
    readers.emplace_back([&, thread] {
      std::mt19937_64 random(thread);
      while (!stop) {
        const uint64_t key = random() % (kKeys * 2);
        const storage::EpochProtection::Guard guard(protection);
        const LogAddress address = log.newest(*index, key);
        ASSERT_EQ(address != 0, key < kKeys) << key;
        const LogAddress peeked = index->peek(FakeLog::hash_of(key));
        ASSERT_LT(peeked, log.tail());
      }
    });
  }
  for (int step = 0; step < 12; ++step) {
    ASSERT_TRUE(index->grow());
  }
  stop = true;
  for (auto& reader : readers)
    reader.join();
  ASSERT_EQ(index->bucket_count(), 1u << 12);
}

// Promise: growth leaves behind what is below begin, and a chain moves whole to the bucket that its
// tag names, wherever its records are: nothing is there twice, however often the index grows.
TEST(HashIndexGrowth, ChainsMoveWholeToTheBucketOfTheirTag) {
  storage::EpochProtection protection;
  FakeLog log(100);
  auto index = make_index(1, protection, log.begin_source());
  const auto add = [&](uint64_t hash) {
    const auto found = index->find_or_create(hash, 0);
    const LogAddress address = log.append({hash, 0, HashIndex::address_of(found.entry)});
    EXPECT_TRUE(HashIndex::replace(found, address));
    return address;
  };
  const auto chain_of = [&](uint64_t hash) {
    const auto found = index->find(hash);
    return found.slot == nullptr ? 0 : HashIndex::address_of(found.entry);
  };
  add(6);
  log.begin = log.tail();
  const LogAddress even = add(2);
  const LogAddress odd = add(3);
  add(5);
  const LogAddress shared = add(5 | 1ull << 14);  // another key with the same tag
  for (int doubling = 0; doubling < 14; ++doubling) {
    ASSERT_TRUE(index->grow());
    EXPECT_EQ(chain_of(6), 0u);
    EXPECT_EQ(chain_of(2), even);
    EXPECT_EQ(chain_of(3), odd);
    EXPECT_EQ(chain_of(5), shared);
    EXPECT_EQ(index->entry_count(), 3u);
  }
  const auto more = index->grow();
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().code, ErrorCode::kFailedPrecondition);
  EXPECT_EQ(index->bucket_count(), 1u << 14);
}

// Promise: a table with long chains of overflow buckets grows without losing what is in them, also
// what is hung on while it grows.
TEST(HashIndexGrowth, OverflowBucketsAreMoved) {
  constexpr uint64_t kTags = 6000;
  storage::EpochProtection protection;
  FakeLog log(kTags + 1);
  auto index = make_index(2, protection);
  const auto hash_of = [](uint64_t number) { return number << 1 | (number & 1); };
  const auto add = [&](uint64_t number) {
    for (;;) {
      const storage::EpochProtection::Guard guard(protection);
      const auto found = index->find_or_create(hash_of(number), 0);
      ASSERT_NE(found.slot, nullptr);
      ASSERT_EQ(HashIndex::address_of(found.entry), 0u);
      if (HashIndex::replace(found, (number + 1) * FakeLog::kStride)) return;
    }
  };
  for (uint64_t number = 0; number < kTags; ++number) {
    log.append({hash_of(number), 0, 0});
  }
  for (uint64_t number = 0; number < kTags / 2; ++number) {
    add(number);
  }
  std::thread writer([&] {
    for (uint64_t number = kTags / 2; number < kTags; ++number) {
      add(number);
    }
  });
  for (int step = 0; step < 3; ++step) {
    ASSERT_TRUE(index->grow());
  }
  writer.join();
  ASSERT_TRUE(index->grow());
  const storage::EpochProtection::Guard guard(protection);
  for (uint64_t number = 0; number < kTags; ++number) {
    const auto found = index->find(hash_of(number));
    ASSERT_NE(found.slot, nullptr) << number;
    ASSERT_EQ(HashIndex::address_of(found.entry), (number + 1) * FakeLog::kStride);
  }
  EXPECT_EQ(index->entry_count(), kTags);
}

struct Image {
  std::vector<std::byte> bytes;
  uint64_t buckets = 0;

  static Image of(const HashIndex& index) {
    Image image;
    image.buckets = index.bucket_count();
    EXPECT_TRUE(index.write_image([&](ByteSpan piece) -> Result<> {
      image.bytes.insert(image.bytes.end(), piece.begin(), piece.end());
      return {};
    }));
    return image;
  }
  Result<> load(HashIndex& index) const {
    size_t at = 0;
    return index.load_image(bytes.size() / 64 - buckets, [&](MutableByteSpan into) -> Result<> {
      EXPECT_LE(at + into.size(), bytes.size());
      std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(at), into.size(), into.begin());
      at += into.size();
      return {};
    });
  }
};

// Promise: an image taken while threads write holds every entry that was there before, at the
// address it had then or a later one, and is itself an index: no entry of it is tentative or there
// twice.
TEST(HashIndex, AnImageHoldsAllThatWasThereBefore) {
  constexpr uint64_t kKeys = 20000;
  storage::EpochProtection protection;
  FakeLog log(2000000);
  auto index = make_index(64, protection, log.begin_source());
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> most_key{kKeys};
  for (uint64_t key = 0; key < kKeys; ++key) {
    log.increment(*index, key);
  }
  std::vector<std::thread> writers;
  for (uint64_t thread = 0; thread < 2; ++thread) {
    writers.emplace_back([&, thread] {
      std::mt19937_64 random(thread);
      for (uint64_t number = 0; number < 100000 && !stop; ++number) {
        const storage::EpochProtection::Guard guard(protection);
        // New keys make new entries and overflow buckets.
        log.increment(*index, number % 4 == 0 ? most_key++ : random() % kKeys);
      }
    });
  }
  for (int round = 0; round < 5; ++round) {
    const uint64_t keys = kKeys;
    std::map<uint64_t, LogAddress> before;
    for (uint64_t key = 0; key < keys; key += 7) {
      const storage::EpochProtection::Guard guard(protection);
      before[FakeLog::hash_of(key)] =
          HashIndex::address_of(index->find(FakeLog::hash_of(key)).entry);
    }
    const Image image = Image::of(*index);
    storage::EpochProtection other_protection;
    auto copy = make_index(image.buckets, other_protection, log.begin_source());
    ASSERT_TRUE(image.load(*copy));
    for (const auto& [hash, address] : before) {
      const auto found = copy->find(hash);
      ASSERT_NE(found.slot, nullptr);
      ASSERT_GE(HashIndex::address_of(found.entry), address);
    }
    uint64_t chains_seen = 0;
    std::vector<LogAddress> chains;
    for (uint64_t bucket = 0; bucket < copy->bucket_count(); ++bucket) {
      copy->chains_of(bucket, chains);
      chains_seen += chains.size();
    }
    // An entry that has just been made may have no chain yet.
    ASSERT_LE(chains_seen, copy->entry_count());
    ASSERT_LE(copy->entry_count() - chains_seen, writers.size());
    // It goes on as any index does.
    log.increment(*copy, 3);
    ASSERT_TRUE(copy->grow());
    ASSERT_NE(log.newest(*copy, 3), 0u);
  }
  stop = true;
  for (auto& writer : writers)
    writer.join();
}

// Promise: an image whose links lead nowhere, or twice to one bucket, is refused.
TEST(HashIndex, DamagedImagesAreRefused) {
  storage::EpochProtection protection;
  auto index = make_index(2, protection);
  for (uint64_t tag = 0; tag < 100; ++tag) {
    ASSERT_TRUE(HashIndex::replace(index->find_or_create(tag << 1 | (tag & 1), 0), 64));
  }
  const Image image = Image::of(*index);
  for (const uint64_t link : {uint64_t{1}, uint64_t{2}, uint64_t{1000}}) {
    Image damaged = image;
    store(damaged.bytes.data() + 56, link);
    auto copy = make_index(2, protection);
    const auto loaded = damaged.load(*copy);
    const uint64_t right = load<uint64_t>(image.bytes.data() + 56);
    ASSERT_EQ(loaded.has_value(), link == right);
    if (!loaded) {
      EXPECT_EQ(loaded.error().code, ErrorCode::kCorruption);
    }
  }
}

}  // namespace
}  // namespace tailrace::kv
