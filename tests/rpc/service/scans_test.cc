// Server and client together, over loopback: scans, and the table of those that are open.

#include <atomic>
#include <chrono>
#include <future>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "rpc/server/scan_table.h"
#include "tests/rpc/fake_node.h"
#include "tests/rpc/service/clients.h"

namespace tailrace::rpc {
namespace {

using testing::client_of;
using testing::FakeNode;

// A scan shows every pair with the prefix once, over as many answers as it takes, of one address.
TEST(Service, AScanShowsEachPairWithThePrefixOnce) {
  FakeNode node;
  auto client = client_of({node.address()});
  std::map<std::string, std::string> expected;
  std::promise<void> all;
  std::atomic<int> left{7000};
  for (int i = 0; i < 7000; ++i) {
    const std::string key = (i % 2 == 0 ? "a" : "b") + std::to_string(i);
    const std::string value(static_cast<size_t>(i % 700), 'v');
    if (i % 2 == 0) expected[key] = value;
    client->async_put(as_bytes(key), as_bytes(value), [&](const Result<CommandAnswer>& answer) {
      EXPECT_TRUE(answer);
      if (--left == 0) all.set_value();
    });
  }
  all.get_future().wait();
  std::map<std::string, std::string> seen;
  const auto end = client->scan(as_bytes("a"), {}, [&](ByteSpan key, ByteSpan value) {
    if (seen.empty()) {
      EXPECT_TRUE(client->erase(as_bytes("a6998"))) << "later than the scan";
    }
    EXPECT_TRUE(seen.emplace(to_string(key), to_string(value)).second) << "twice";
    return true;
  });
  ASSERT_TRUE(end) << end.error().message;
  EXPECT_TRUE(end->complete);
  EXPECT_EQ(end->pairs, 3500u);
  EXPECT_GT(end->address, Address{0});
  EXPECT_EQ(seen, expected);
}

TEST(Service, AScanEndsAtItsLimitAndLetsGo) {
  FakeNode node;
  auto client = client_of({node.address()});
  for (int i = 0; i < 100; ++i)
    ASSERT_TRUE(client->put(as_bytes("k" + std::to_string(i)), as_bytes("v")));
  // More of them than may be open at a time.
  for (size_t i = 0; i < 3 * ScanTable::kMostScans; ++i) {
    uint64_t pairs = 0;
    const auto end = client->scan({}, {{}, 10}, [&](ByteSpan, ByteSpan) { return ++pairs < 11; });
    ASSERT_TRUE(end) << end.error().message;
    EXPECT_EQ(pairs, 10u);
    EXPECT_FALSE(end->complete);
  }
  EXPECT_EQ(client->scan(as_bytes("none"), {}, [](ByteSpan, ByteSpan) { return true; })->pairs, 0u);
}

// Whoever does not come back for the rest finds it gone, and is told so; the place is free again.
TEST(ScanTable, AnIdleScanIsClosed) {
  FakeNode node;
  auto client = client_of({node.address()});
  for (int i = 0; i < 20; ++i)
    ASSERT_TRUE(client->put(as_bytes("k" + std::to_string(i)), as_bytes("v")));
  ScanTable table(node.machine, 1u << 20, std::chrono::milliseconds(20), std::chrono::hours(1));
  const auto wait = [](auto start) {
    std::promise<Result<ScanTable::Slice>> done;
    start([&](Result<ScanTable::Slice> slice) { done.set_value(std::move(slice)); });
    return done.get_future().get();
  };
  std::vector<int> owners(10'000);
  size_t owner = 0;
  const auto open = [&] {
    return wait([&](auto done) { table.open(&owners.at(owner++), "k", 3, {}, done); });
  };
  std::vector<uint64_t> scans;
  for (size_t i = 0; i < ScanTable::kMostScans; ++i) {
    const auto slice = open();
    if (!slice) break;  // slow machine: it does not matter how many
    EXPECT_EQ(slice->pairs.size(), 3u);
    scans.push_back(slice->scan);
  }
  for (;;) {
    const auto slice = wait([&](auto done) { table.next(scans.front(), 9, 3, done); });
    ASSERT_FALSE(slice) << "a slice that is not the next one";
    EXPECT_EQ(slice.error().code, ErrorCode::kNotFound);
    if (open()) break;  // the others are gone as well
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

// A scan holds back room of the store: nobody has all of them, none lasts for ever, and writes that
// find no room close the oldest one.
TEST(ScanTable, AScanGivesWayToOthersToTimeAndToWrites) {
  FakeNode node;
  auto client = client_of({node.address()});
  for (int i = 0; i < 20; ++i)
    ASSERT_TRUE(client->put(as_bytes("k" + std::to_string(i)), as_bytes("v")));
  const auto wait = [](auto start) {
    std::promise<Result<ScanTable::Slice>> done;
    start([&](Result<ScanTable::Slice> slice) { done.set_value(std::move(slice)); });
    return done.get_future().get();
  };
  int one = 0, other = 0;
  ScanTable table(node.machine, 1u << 20, std::chrono::hours(1), std::chrono::hours(1));
  const auto open = [&](ScanTable& at, const void* owner) {
    return wait([&](auto done) { at.open(owner, "k", 3, {}, done); });
  };
  std::vector<uint64_t> scans;
  for (size_t i = 0; i < ScanTable::kMostScansOfOne; ++i)
    scans.push_back(open(table, &one).value().scan);
  EXPECT_EQ(open(table, &one).error().code, ErrorCode::kFailedPrecondition);
  EXPECT_TRUE(open(table, &other));
  table.give_way();
  table.give_way();
  const auto gone = wait([&](auto done) { table.next(scans[0], 1, 3, done); });
  ASSERT_FALSE(gone);
  EXPECT_NE(gone.error().message.find("writes needed"), std::string::npos) << gone.error().message;
  EXPECT_TRUE(wait([&](auto done) { table.next(scans[1], 1, 3, done); })) << "one at a time";
  const auto again = open(table, &other);
  ASSERT_FALSE(again) << "whoever begins again at once holds back the room for ever";
  EXPECT_EQ(again.error().code, ErrorCode::kResourceExhausted);

  ScanTable brief(node.machine, 1u << 20, std::chrono::milliseconds(40),
                  std::chrono::milliseconds(40));
  const uint64_t scan = open(brief, &one).value().scan;
  for (uint64_t slice = 1; wait([&](auto done) { brief.next(scan, slice, 1, done); }); ++slice) {
    ASSERT_LT(slice, 17u) << "it is read all the time, and lasts for ever";
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace
}  // namespace tailrace::rpc
