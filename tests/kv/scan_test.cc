// Scans beside writers, compaction and growth.

#include <algorithm>
#include <atomic>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "kv/store.h"
#include "tests/kv/walk_support.h"
#include "tests/support/fault_file_system.h"
#include "tests/support/temporary_directory.h"

namespace tailrace::kv {
namespace {

class ScanTest : public ::testing::Test {
 protected:
  testing::TemporaryDirectory directory_;
};

Pairs drain(Scan& scan, size_t most_pairs = 100, uint64_t most_log_bytes = 1u << 20) {
  Pairs pairs;
  for (bool more = true; more;) {
    auto result = scan.next(most_pairs, most_log_bytes, [&](ByteSpan key, ByteSpan value) {
      EXPECT_TRUE(pairs.emplace(to_string(key), to_string(value)).second)
          << as_text(key) << " came twice";
    });
    EXPECT_TRUE(result.has_value()) << result.error().message;
    more = result.value_or(false);
  }
  return pairs;
}

Serial point_in(const Scan& scan, SessionId id) {
  for (const SessionPoint& point : scan.points()) {
    if (point.session == id) return point.point;
  }
  return 0;
}

// Promise: a scan shows exactly what each session had written up to its point, however much is
// written, moved, checkpointed and grown while it runs.
TEST_F(ScanTest, EqualsTheModelAtItsPointBesideWriters) {
  constexpr uint64_t kWriters = 2;
  constexpr uint64_t kKeys = 1200;
  constexpr int kScans = 6;
  StoreOptions options = tiny_store(directory_.path());
  options.compaction.automatic = true;
  options.compaction.least_log_bytes = 1;
  options.compaction.target_utilisation = 0.9;
  auto store = open(options);
  struct Step {
    std::string key;
    std::optional<std::string> value;
  };
  std::vector<Step> histories[kWriters];
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (uint64_t writer = 0; writer < kWriters; ++writer) {
    threads.emplace_back([&, writer] {
      auto session = std::move(*store->start_session(writer + 1));
      std::mt19937_64 random(writer + 40);
      Pairs model;
      for (Serial serial = 1; !stop && serial <= 20000; ++serial) {
        const uint64_t number = random() % 3 == 0 ? random() % kKeys : random() % (kKeys / 10);
        const std::string key = std::to_string(writer) + "/" + std::to_string(number);
        write_something(*session, random, key, serial, model);
        const auto now = model.find(key);
        histories[writer].push_back(
            {key, now == model.end() ? std::nullopt : std::optional(now->second)});
      }
      while (!stop) {
        session->refresh(session->last_serial());
        std::this_thread::yield();
      }
    });
  }
  std::vector<std::pair<std::vector<SessionPoint>, Pairs>> scans;
  for (int round = 0; round < kScans; ++round) {
    auto scan = store->start_scan();
    ASSERT_TRUE(scan.has_value()) << scan.error().message;
    std::vector<SessionPoint> points;
    for (SessionId id = 1; id <= kWriters; ++id)
      points.push_back({id, point_in(**scan, id)});
    if (round == 2) {
      ASSERT_TRUE(store->grow_index().has_value());
    }
    if (round % 2 == 1) {
      ASSERT_TRUE(take_checkpoint(
          *store, round == 1 ? CheckpointKind::kSnapshot : CheckpointKind::kFoldOver));
    }
    scans.emplace_back(std::move(points), drain(**scan));
    EXPECT_EQ((*scan)->fraction(), 1.0);
  }
  stop = true;
  for (auto& thread : threads)
    thread.join();
  for (const auto& [points, pairs] : scans) {
    Pairs expected;
    for (const SessionPoint& point : points) {
      const auto& history = histories[point.session - 1];
      ASSERT_LE(point.point, history.size());
      for (Serial serial = 1; serial <= point.point; ++serial) {
        const Step& step = history[serial - 1];
        if (step.value) {
          expected[step.key] = *step.value;
        } else {
          expected.erase(step.key);
        }
      }
    }
    EXPECT_EQ(pairs.size(), expected.size());
    EXPECT_TRUE(pairs == expected);
  }
}

// Promise: a scan goes on where it stopped, by pairs or by bytes of the log, and holds what it
// shows until it ends: the log begins no later meanwhile, and there are no more scans than allowed.
TEST_F(ScanTest, GoesOnInPiecesAndHoldsItsLog) {
  auto store = open(tiny_store(directory_.path()));
  Pairs model;
  auto session = std::move(*store->start_session(1));
  std::mt19937_64 random(1);
  Serial serial = 0;
  for (int number = 0; number < 6000; ++number) {
    write_something(*session, random, std::to_string(random() % 800), ++serial, model);
  }
  session->refresh(serial);
  std::vector<std::unique_ptr<Scan>> scans;
  for (size_t number = 0; number < Store::kMostScans; ++number) {
    auto scan = store->start_scan();
    ASSERT_TRUE(scan.has_value()) << scan.error().message;
    EXPECT_EQ(point_in(**scan, 1), serial);
    scans.push_back(std::move(*scan));
  }
  EXPECT_EQ(store->start_scan().error().code, ErrorCode::kResourceExhausted);
  const LogAddress begin = store->log_extent().begin;
  const Pairs before = model;
  for (int number = 0; number < 3000; ++number) {
    write_something(*session, random, std::to_string(random() % 800), ++serial, model);
  }
  session->refresh(serial);
  EXPECT_EQ(store->compact(store->log_extent().read_only).value_or(0), begin);
  EXPECT_EQ(drain(*scans[0], 1, 1u << 30), before);
  EXPECT_EQ(drain(*scans[1], 1000, 1), before);
  EXPECT_EQ(drain(*scans[2], SIZE_MAX, UINT64_MAX), before);
  EXPECT_LT(scans[3]->fraction(), 0.01);
  scans.clear();
  EXPECT_GT(store->compact(store->log_extent().read_only).value_or(0), begin);
  EXPECT_EQ(all_pairs(*store), model);
  auto last = store->start_scan();
  ASSERT_TRUE(last.has_value());
  EXPECT_EQ(drain(**last), model);
}

/// A store that is larger than its memory, with keys of a few prefixes.
class PrefixScanTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = Store::open(disk_, tiny_store("/kv"));
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    store_ = std::move(*opened);
    session_ = std::move(*store_->start_session(1));
    std::mt19937_64 random(3);
    for (Serial serial = 1; serial <= 8000; ++serial) {
      const char* kinds[] = {"a", "ab", "b", ""};
      const std::string key = kinds[random() % 4] + std::to_string(random() % 300);
      write_something(*session_, random, key, serial, model_);
    }
    session_->refresh(8000);
  }
  Pairs pairs_with(const std::string& prefix) const {
    Pairs pairs = model_;
    std::erase_if(pairs, [&](const auto& pair) { return !pair.first.starts_with(prefix); });
    return pairs;
  }

  testing::FaultFileSystem disk_{1};
  std::unique_ptr<Store> store_;
  std::unique_ptr<Session> session_;
  Pairs model_;
};

// Promise: a scan with a prefix shows the pairs whose keys begin with it and counts no others, and
// does not follow the chains of others on disk.
TEST_F(PrefixScanTest, ShowsAPrefixAlone) {
  const auto reads_of = [&](const std::string& prefix) {
    const uint64_t before = disk_.reads();
    auto scan = store_->start_scan(as_bytes(prefix));
    EXPECT_TRUE(scan.has_value()) << scan.error().message;
    if (!scan) return uint64_t{0};
    EXPECT_TRUE(drain(**scan) == pairs_with(prefix)) << "prefix '" << prefix << "'";
    return disk_.reads() - before;
  };
  const uint64_t all = reads_of("");
  for (const std::string prefix : {"a", "ab", "b1", "7"})
    reads_of(prefix);
  EXPECT_LT(reads_of("none"), all / 2);

  auto scan = store_->start_scan(as_bytes("ab"));
  ASSERT_TRUE(scan.has_value());
  size_t visited = 0;
  const auto more = (*scan)->next(1, UINT64_MAX, [&](ByteSpan, ByteSpan) { ++visited; });
  EXPECT_TRUE(more.value_or(false));
  EXPECT_EQ(visited, 1u) << "pairs without the prefix were counted";
}

// Promise: of what a filter does not want nothing is looked up on the disk; what it wants is each
// key's newest value, and it is asked about every pair there is, told beside which part is done.
TEST_F(PrefixScanTest, LooksUpWhatAFilterWantsAlone) {
  const auto reads_of = [&](const std::string& prefix) {
    const uint64_t before = disk_.reads();
    Pairs shown, asked;
    double told = -1;
    const auto done = store_->for_each(
        [&](ByteSpan key, ByteSpan value) {
          asked[to_string(key)] = to_string(value);
          return as_text(key).starts_with(prefix);
        },
        [&](ByteSpan key, ByteSpan value) {
          EXPECT_TRUE(shown.emplace(to_string(key), to_string(value)).second) << "twice";
        },
        [&](double part) {
          EXPECT_GE(part, told);
          told = part;
        });
    EXPECT_TRUE(done.has_value()) << done.error().message;
    EXPECT_EQ(told, 1.0);
    for (const auto& [key, value] : model_)
      EXPECT_EQ(asked[key], value) << "the newest comes last";
    EXPECT_TRUE(shown == pairs_with(prefix)) << "prefix '" << prefix << "'";
    return disk_.reads() - before;
  };
  const uint64_t all = reads_of("");
  reads_of("a");
  EXPECT_LT(reads_of("none"), all / 2);
}

// Promise: the same of a scan; and its filter may come to reject more, as a list that has found
// enough does.
TEST_F(PrefixScanTest, AFilterMayCloseWhileItRuns) {
  const auto read = [&](const Scan::Filter& wanted, const std::function<void(ByteSpan)>& visit) {
    const uint64_t before = disk_.reads();
    auto scan = store_->start_scan(as_bytes("a"), wanted);
    EXPECT_TRUE(scan.has_value()) << scan.error().message;
    bool more = scan.has_value();
    while (more) {
      const auto next = (*scan)->next(SIZE_MAX, 4096, [&](ByteSpan key, ByteSpan) { visit(key); });
      EXPECT_TRUE(next.has_value()) << next.error().message;
      more = next.value_or(false);
    }
    return disk_.reads() - before;
  };
  // The least five keys of the prefix, as a list finds them.
  std::set<std::string> least;
  const auto is_wanted = [&](ByteSpan key, ByteSpan) {
    return least.size() < 5 || as_text(key) < *least.rbegin();
  };
  const auto note = [&](ByteSpan key) {
    least.insert(to_string(key));
    if (least.size() > 5) least.erase(std::prev(least.end()));
  };
  const uint64_t of_few = read(is_wanted, note);
  std::set<std::string> expected;
  for (const auto& [key, value] : pairs_with("a"))
    expected.insert(key);
  expected.erase(std::next(expected.begin(), 5), expected.end());
  EXPECT_EQ(least, expected);
  size_t shown = 0;
  const uint64_t of_all = read(nullptr, [&](ByteSpan) { ++shown; });
  EXPECT_EQ(shown, pairs_with("a").size());
  EXPECT_LE(of_few, of_all);
  read([](ByteSpan, ByteSpan) { return false; }, [](ByteSpan) { ADD_FAILURE() << "not wanted"; });
}

// Promise: an empty store has nothing to show.
TEST_F(ScanTest, OfNothing) {
  auto store = open(tiny_store(directory_.path()));
  auto scan = store->start_scan();
  ASSERT_TRUE(scan.has_value()) << scan.error().message;
  EXPECT_TRUE(drain(**scan).empty());
  EXPECT_EQ((*scan)->fraction(), 1.0);
  EXPECT_TRUE(all_pairs(*store).empty());
}

}  // namespace
}  // namespace tailrace::kv
