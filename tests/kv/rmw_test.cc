// No read-modify-write is ever lost, wherever the record is. Run under the thread sanitizer as
// well.

#include <atomic>
#include <thread>

#include "core/random.h"
#include "tests/kv/kv_support.h"
#include "tests/support/temporary_directory.h"

namespace tailrace::kv {
namespace {

constexpr uint64_t kAddingThreads = 4;

struct SumSetting {
  const char* name;
  uint64_t keys = 1;
  int rounds = 1;                // of each thread over all keys
  size_t most_growth_bytes = 0;  // beyond the eight of the sum
  uint64_t filling_bytes = 0;    // written to another key after each addition
  bool tiny = false;
  double mutable_fraction = 0.9;
  bool freezes = false;  // fold-overs make everything read-only again and again
  bool compacts = false;
  bool changes = false;    // where the sum stands, if it may be
  bool also_made = false;  // by half of the threads, which replace what the others change
};

/// Adds one to a sum of eight bytes, in both ways that a function may have.
struct AddOne {
  uint64_t changed = 0, made = 0;
  Modification change(MutableByteSpan value) {
    ++changed;
    store(value.data(), load<uint64_t>(value.data()) + 1);
    return Modification::kWrite;
  }
  Modification operator()(const ByteSpan* present, std::string& next) {
    ++made;
    const uint64_t sum = (present == nullptr ? 0 : load<uint64_t>(present->data())) + 1;
    next.assign(reinterpret_cast<const char*>(&sum), 8);
    return Modification::kWrite;
  }
};

/// Each thread adds to every key as often as any other; none may be missing in the end.
void add_and_count(const SumSetting& setting) {
  SCOPED_TRACE(setting.name);
  const testing::TemporaryDirectory directory;
  StoreOptions options =
      setting.tiny ? tiny_options(directory.path()) : small_options(directory.path());
  options.mutable_fraction = setting.mutable_fraction;
  options.compaction.least_log_bytes = 1u << 19;
  auto store = open_or_die(storage::posix_file_system(), options);
  ASSERT_NE(store, nullptr);
  std::atomic<uint64_t> running{kAddingThreads};
  std::vector<std::thread> threads;
  for (uint64_t thread = 0; thread < kAddingThreads; ++thread) {
    threads.emplace_back([&, thread] {
      auto session = session_or_die(*store, thread + 1);
      Random random(thread);
      Serial serial = 0;
      const std::string filling(setting.filling_bytes, 'f');
      for (int round = 0; round < setting.rounds; ++round) {
        for (uint64_t i = 0; i < setting.keys; ++i) {
          const std::string key = "sum" + std::to_string((i * 7 + thread * 3) % setting.keys);
          const size_t growth = random.below(setting.most_growth_bytes + 1);
          const auto add = [&](const ByteSpan* present, std::string& next) {
            uint64_t sum = present == nullptr ? 0 : load<uint64_t>(present->data());
            next.assign(8 + growth, '.');
            ++sum;
            std::memcpy(next.data(), &sum, 8);
            return Modification::kWrite;
          };
          AddOne add_one;
          const bool changes = setting.changes && !(setting.also_made && thread % 2 == 0);
          const auto done = changes ? session->rmw(as_bytes(key), add_one, ++serial)
                                    : session->rmw(as_bytes(key), add, ++serial);
          ASSERT_TRUE(done.has_value()) << done.error().message;
          if (setting.filling_bytes == 0) continue;
          const auto filled = session->upsert(
              as_bytes("filling" + std::to_string(thread) + "." + std::to_string(i % 200)),
              as_bytes(filling), ++serial);
          ASSERT_TRUE(filled.has_value()) << filled.error().message;
        }
      }
      --running;
    });
  }
  while (running > 0 && (setting.freezes || setting.compacts)) {
    if (setting.freezes) {
      ASSERT_TRUE(checkpoint(*store).has_value());
    }
    if (setting.compacts) {
      const auto extent = store->log_extent();
      const auto compacted =
          store->compact(extent.begin + (extent.read_only - extent.begin) * 3 / 4);
      ASSERT_TRUE(compacted.has_value()) << compacted.error().message;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(300));
  }
  for (auto& thread : threads)
    thread.join();
  std::string value;
  for (uint64_t key = 0; key < setting.keys; ++key) {
    const auto read = store->read(as_bytes("sum" + std::to_string(key)), value);
    ASSERT_TRUE(read.has_value()) << read.error().message;
    EXPECT_EQ(load<uint64_t>(as_bytes(value).data()),
              kAddingThreads * static_cast<uint64_t>(setting.rounds))
        << "of key " << key;
  }
}

TEST(StoreRmw, InPlace) {
  add_and_count({.name = "in place", .keys = 3, .rounds = 5000});
}

TEST(StoreRmw, ByChangingWhatStandsThere) {
  add_and_count({.name = "changing", .keys = 3, .rounds = 5000, .changes = true});
}

// A number is changed before its record is locked: neither a longer value in the record's place,
// nor one made in it, gets lost or is lost on it.
TEST(StoreRmw, ByChangingWhatOthersMakeAnew) {
  add_and_count({.name = "changing and made",
                 .keys = 2,
                 .rounds = 5000,
                 .most_growth_bytes = 2,
                 .changes = true,
                 .also_made = true});
  add_and_count({.name = "changing and freezing",
                 .keys = 2,
                 .rounds = 5000,
                 .most_growth_bytes = 2,
                 .freezes = true,
                 .changes = true,
                 .also_made = true});
}

TEST(StoreRmw, ByChangingWhereThatMayBeAndByCopyElsewhere) {
  add_and_count({.name = "changing, freezing and compacting",
                 .keys = 100,
                 .rounds = 30,
                 .filling_bytes = 500,
                 .tiny = true,
                 .freezes = true,
                 .compacts = true,
                 .changes = true});
}

// Promise: a function that can change the value in its place is asked that way where the key has a
// short one in the mutable region, and the other way everywhere else; its decision holds.
TEST(StoreRmw, AChangeIsAskedForWhereItCanBeHad) {
  const testing::TemporaryDirectory directory;
  auto store = open_or_die(storage::posix_file_system(), small_options(directory.path()));
  auto session = session_or_die(*store, 1);
  Serial serial = 0;
  AddOne add;
  std::string value;
  const auto sum_of = [&](const std::string& key) {
    EXPECT_TRUE(session->read(as_bytes(key), value));
    return load<uint64_t>(as_bytes(value).data());
  };
  ASSERT_TRUE(session->rmw(as_bytes("n"), add, ++serial));
  EXPECT_EQ(add.made, 1u) << "there was nothing to change";
  ASSERT_TRUE(session->rmw(as_bytes("n"), add, ++serial));
  EXPECT_EQ(add.changed, 1u);
  EXPECT_EQ(sum_of("n"), 2u);

  session->refresh(serial);
  ASSERT_TRUE(checkpoint(*store).has_value());
  ASSERT_TRUE(session->rmw(as_bytes("n"), add, ++serial));
  EXPECT_EQ(add.made, 2u) << "what the checkpoint holds stays as it is";
  EXPECT_EQ(sum_of("n"), 3u);

  const std::string large(65, '\0');
  ASSERT_TRUE(session->upsert(as_bytes("large"), as_bytes(large), ++serial));
  ASSERT_TRUE(session->rmw(as_bytes("large"), add, ++serial));
  EXPECT_EQ(add.made, 3u);
  EXPECT_EQ(sum_of("large"), 1u);

  struct Undecided {
    Modification decision;
    Modification change(MutableByteSpan value) const {
      std::fill(value.begin(), value.end(), std::byte{0xff});
      return decision;
    }
    Modification operator()(const ByteSpan*, std::string& next) const {
      next = "made";
      return decision;
    }
  };
  const Undecided keeps{Modification::kKeep}, erases{Modification::kErase};
  EXPECT_EQ(session->rmw(as_bytes("n"), keeps, ++serial).value(), Modification::kKeep);
  EXPECT_EQ(sum_of("n"), 3u) << "what it did to its copy is gone";
  EXPECT_EQ(session->rmw(as_bytes("n"), erases, ++serial).value(), Modification::kErase);
  EXPECT_FALSE(session->read(as_bytes("n"), value));
}

// Promise: a store that has recovered is as fast as one that has not: what a checkpoint left undone
// concerns the records that stood at its end, and no later one. (The short way shows in who is
// asked for the change.)
TEST(StoreRmw, AfterARecoveryTheShortWayIsOpenAgain) {
  const testing::TemporaryDirectory directory;
  for (int life = 0; life < 5; ++life) {
    SCOPED_TRACE("life " + std::to_string(life));
    auto store = open_or_die(storage::posix_file_system(), small_options(directory.path()));
    auto session = session_or_die(*store, 1);
    Serial serial = session->last_serial();
    AddOne add;
    for (int i = 0; i < 10; ++i)
      ASSERT_TRUE(session->rmw(as_bytes("n"), add, ++serial));
    EXPECT_EQ(add.made, 1u) << "absent, or in what the checkpoint holds";
    EXPECT_EQ(add.changed, 9u);
    session->refresh(serial);
    // Other keys at the end, and some of the next version, which recovery undoes.
    auto taken = begin_checkpoint(*store);
    for (int i = 0; i < 100; ++i)
      ASSERT_TRUE(session->upsert(as_bytes("k" + std::to_string(i)), as_bytes("v"), ++serial));
    session->refresh(serial);
    ASSERT_TRUE(taken.get().has_value());
    std::string value;
    ASSERT_TRUE(session->read(as_bytes("n"), value));
    EXPECT_EQ(load<uint64_t>(as_bytes(value).data()), 10u * (static_cast<uint64_t>(life) + 1));
  }
}

TEST(StoreRmw, ByCopyWhereTheyDoNotFit) {
  add_and_count({.name = "growing", .keys = 3, .rounds = 3000, .most_growth_bytes = 40});
}

// The mutable region is a page: what is added to soon lies in the fuzzy or the read-only region.
TEST(StoreRmw, AroundTheReadOnlyMark) {
  add_and_count({.name = "read-only",
                 .keys = 20,
                 .rounds = 150,
                 .most_growth_bytes = 8,
                 .filling_bytes = 300,
                 .tiny = true,
                 .mutable_fraction = 0.05});
}

TEST(StoreRmw, WhileEverythingBecomesReadOnly) {
  add_and_count({.name = "freezing", .keys = 5, .rounds = 3000, .freezes = true});
}

TEST(StoreRmw, OnDisk) {
  add_and_count({.name = "disk",
                 .keys = 300,
                 .rounds = 6,
                 .most_growth_bytes = 100,
                 .filling_bytes = 700,
                 .tiny = true});
}

TEST(StoreRmw, BesideCompactionAndCheckpoints) {
  add_and_count({.name = "compaction",
                 .keys = 100,
                 .rounds = 15,
                 .most_growth_bytes = 100,
                 .filling_bytes = 500,
                 .tiny = true,
                 .freezes = true,
                 .compacts = true});
}

// Promise: the function's decisions are carried out in every region, and a deleted key is absent to
// the next one.
TEST(StoreRmw, DecisionsHoldInEveryRegion) {
  const testing::TemporaryDirectory directory;
  auto store = open_or_die(storage::posix_file_system(), tiny_options(directory.path()));
  auto session = session_or_die(*store, 1);
  Serial serial = 0;
  const auto to_disk = [&] {
    for (int number = 0; number < 300; ++number) {
      ASSERT_TRUE(session->upsert(as_bytes("filling" + std::to_string(number)),
                                  as_bytes(std::string(1000, 'f')), ++serial));
    }
  };
  const auto to_read_only = [&] {
    session->refresh(serial);
    ASSERT_TRUE(checkpoint(*store).has_value());
  };
  const auto stays = [] {};
  const std::vector<std::function<void()>> moves{stays, to_read_only, to_disk};
  for (size_t move = 0; move < moves.size(); ++move) {
    SCOPED_TRACE("move " + std::to_string(move));
    const std::string key = "key" + std::to_string(move);
    bool was_present = false;
    const auto decide = [&](Modification decision) {
      return session->rmw(
          as_bytes(key),
          [&](const ByteSpan* present, std::string& next) {
            was_present = present != nullptr;
            next = present == nullptr ? "new" : to_string(*present) + "+";
            return decision;
          },
          ++serial);
    };
    std::string value;
    EXPECT_EQ(decide(Modification::kKeep).value(), Modification::kKeep);
    EXPECT_FALSE(session->read(as_bytes(key), value));
    EXPECT_EQ(decide(Modification::kWrite).value(), Modification::kWrite);
    moves[move]();
    EXPECT_EQ(decide(Modification::kKeep).value(), Modification::kKeep);
    EXPECT_TRUE(was_present);
    EXPECT_TRUE(session->read(as_bytes(key), value));
    EXPECT_EQ(value, "new");
    moves[move]();
    EXPECT_EQ(decide(Modification::kWrite).value(), Modification::kWrite);
    EXPECT_TRUE(session->read(as_bytes(key), value));
    EXPECT_EQ(value, "new+");
    moves[move]();
    EXPECT_EQ(decide(Modification::kErase).value(), Modification::kErase);
    EXPECT_FALSE(session->read(as_bytes(key), value));
    moves[move]();
    EXPECT_EQ(decide(Modification::kKeep).value(), Modification::kKeep);
    EXPECT_FALSE(was_present);
    EXPECT_FALSE(session->erase(as_bytes(key), ++serial).value());
    EXPECT_FALSE(
        session->compare_and_swap(as_bytes(key), as_bytes(""), as_bytes("x"), ++serial).value());
    EXPECT_TRUE(session->insert_if_absent(as_bytes(key), as_bytes("back"), ++serial).value());
  }
}

}  // namespace
}  // namespace tailrace::kv
