// Scans of the state: exactly the pairs of one address, while commands go on.

#include <thread>

#include <gtest/gtest.h>

#include "core/mutex.h"
#include "harness.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::statemachine {
namespace {

Result<Pairs> scan_all(StateScan& scan) {
  Pairs pairs;
  for (;;) {
    auto more = scan.next(7, 1u << 20, [&](ByteSpan key, ByteSpan value) {
      EXPECT_TRUE(pairs.emplace(to_string(key), to_string(value)).second) << "shown twice";
    });
    if (!more) return tl::unexpected(more.error());
    if (!*more) return pairs;
  }
}

TEST(StateScan, ShowsTheStateOfItsAddressWhileCommandsGoOn) {
  testing::FaultFileSystem disk{1};
  auto opened = Node::open(disk, {});
  ASSERT_TRUE(opened) << opened.error().message;
  Node& node = **opened;
  // Every command and where it ends, so that the state at any address can be said.
  Mutex mutex;
  std::vector<std::pair<Address, OwnedCommand>> history;
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    Random random(5);
    for (int i = 0; !stop.load() && i < 20'000; ++i) {
      const std::string key = (random.chance(1, 2) ? "a" : "b") + std::to_string(random.below(50));
      const OwnedCommand command = random.chance(1, 4) ? erase(key) : put(key, std::to_string(i));
      const MutexLock lock(mutex);
      const auto range = append(node.log(), command);
      ASSERT_TRUE(range) << range.error().message;
      history.emplace_back(range->end, command);
      if (i % 50 == 0) {
        ASSERT_TRUE(node.settle());
      }
    }
  });
  for (int round = 0; round < (kSanitized ? 4 : 12); ++round) {
    const std::string prefix = round % 3 == 0 ? "" : round % 3 == 1 ? "a" : "b1";
    auto scan = node.machine().start_scan(as_bytes(prefix));
    ASSERT_TRUE(scan) << scan.error().message;
    const auto seen = scan_all(**scan);
    ASSERT_TRUE(seen) << seen.error().message;
    Model model;
    const MutexLock lock(mutex);
    for (const auto& [end, command] : history) {
      if (end <= (*scan)->address()) model.apply(command);
    }
    Pairs expected = model.pairs();
    std::erase_if(expected, [&](const auto& pair) { return !pair.first.starts_with(prefix); });
    EXPECT_EQ(*seen, expected) << "at address " << (*scan)->address().value;
  }
  stop.store(true);
  writer.join();
  ASSERT_TRUE(node.settle());
}

TEST(StateScan, DoesNotShowWhatHasExpired) {
  testing::FaultFileSystem disk{1};
  ManualClock clock;
  Node::Options options;
  options.clock = &clock;
  auto opened = Node::open(disk, options);
  ASSERT_TRUE(opened) << opened.error().message;
  Node& node = **opened;
  const uint64_t soon_ns = clock.unix_time_ns() + 10'000'000'000;
  ASSERT_TRUE(node.run(expiring(soon_ns, put("gone", "v"))));
  ASSERT_TRUE(node.run(put("stays", "v")));
  ASSERT_TRUE(node.settle());
  auto before = node.machine().start_scan({});
  ASSERT_TRUE(before) << before.error().message;
  clock.advance(std::chrono::seconds(20));
  ASSERT_TRUE(node.run(event("tick", "")));
  ASSERT_TRUE(node.settle());
  auto after = node.machine().start_scan({});
  ASSERT_TRUE(after) << after.error().message;
  EXPECT_EQ(scan_all(**after).value(), (Pairs{{"stays", "v"}}));
  EXPECT_EQ(scan_all(**before).value(), (Pairs{{"gone", "v"}, {"stays", "v"}}))
      << "it is of its own address, whatever came later";
}

}  // namespace
}  // namespace tailrace::statemachine
