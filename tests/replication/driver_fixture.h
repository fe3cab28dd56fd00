#pragma once
// The drivers of a small cluster; driver_cluster.h has their logs, network and clock.

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include <gtest/gtest.h>

#include "tests/replication/driver_cluster.h"

namespace tailrace::replication {

template <uint32_t kMembers>
class Drivers : public ::testing::Test {
 protected:
  Drivers() {
    for (uint32_t i = 1; i <= kMembers; ++i)
      sides.push_back(std::make_unique<Side>(i, executor, network, clock, kMembers));
  }
  ~Drivers() override {
    for (const auto& side : sides)
      side->node->stop();
    executor.posted.clear();
  }
  /// Everyone has a full vote when this is through, and node 1 leads.
  void SetUp() override {
    for (const auto& side : sides)
      ASSERT_TRUE(side->node->start());
    settle();
    for (int i = 0; i < 6; ++i)
      pass(std::chrono::milliseconds(250));
    for (const auto& side : sides)
      ASSERT_EQ(side->status()->vote, Vote::kFull);
  }
  void settle() {
    for (int i = 0; i < 12; ++i) {
      executor.run();
      for (const auto& side : sides)
        side->log->flush();
    }
    executor.run();
  }
  void pass(std::chrono::milliseconds time) {
    clock.passed += time;
    for (const auto& side : sides)
      side->node->tick();
    settle();
  }
  Side& at(uint32_t id) { return *sides[id - 1]; }
  /// Where what was asked of a node comes to.
  Node::Done into(std::optional<Result<>>& result) {
    return [&result](Result<> done) { result = std::move(done); };
  }
  Node::Confirmed into(std::optional<Result<Address>>& result) {
    return [&result](Result<Address> done) { result = std::move(done); };
  }
  void promote(uint32_t id) {
    std::optional<Result<>> done;
    at(id).node->promote(into(done));
    settle();
    ASSERT_TRUE(done && *done);
  }

  HandExecutor executor;
  HandClock clock;
  Network network{executor};
  std::vector<std::unique_ptr<Side>> sides;
};

class DriverTest : public Drivers<2> {
 protected:
  Side& leader = at(1);
  Side& follower = at(2);
};
class DriversTest : public Drivers<3> {};

}  // namespace tailrace::replication
