// What drivers do with bytes of the log, and with disks that fail or fill.

#include <chrono>
#include <string>

#include <gtest/gtest.h>

#include "tests/replication/driver_fixture.h"

namespace tailrace::replication {
namespace {

using std::chrono::milliseconds;

TEST_F(DriverTest, TheFollowerHoldsTheLeadersBytesAndTheMajorityCommitsThem) {
  EXPECT_TRUE(leader.status()->serving);
  ASSERT_TRUE(leader.enqueue("hello"));
  executor.run();
  EXPECT_LT(leader.watermarks->committed(), leader.log->tail());
  settle();
  EXPECT_EQ(follower.log->bytes(), leader.log->bytes());
  EXPECT_EQ(leader.watermarks->committed(), leader.log->tail());
  EXPECT_EQ(follower.watermarks->committed(), leader.log->tail());
  EXPECT_GT(follower.state_machine.notified, 0);
}

TEST_F(DriverTest, TheFollowerHasBytesWhileTheLeaderStillFlushesThem) {
  const auto range = at(1).log->try_enqueue(fasterlog::RecordKind::kData, as_bytes("both at once"));
  ASSERT_TRUE(range);
  at(1).log->begin_flush();
  executor.run();
  EXPECT_LT(at(1).log->durable(), range->end);
  EXPECT_EQ(at(2).log->tail(), range->end);
  at(2).log->flush();
  executor.run();
  EXPECT_LT(at(1).watermarks->committed(), range->end) << "one of two has it";
  at(1).log->flush();
  executor.run();
  EXPECT_EQ(at(1).watermarks->committed(), range->end);
  EXPECT_EQ(at(2).log->bytes(), at(1).log->bytes());
}

// The log is read once for all who want the same of it, until the next tick; and not once more what
// was read before.
TEST_F(DriversTest, FollowersThatAreEquallyFarAreSentTheSameBytes) {
  for (const std::string text : {"one", "two"}) {
    ASSERT_TRUE(at(1).log->try_enqueue(fasterlog::RecordKind::kData, as_bytes(text)));
    at(1).log->begin_flush();
    executor.posted.front()();
    executor.posted.pop_front();
    ASSERT_NE(at(1).transport.newest[NodeId{2}], nullptr);
    EXPECT_EQ(at(1).transport.newest[NodeId{2}], at(1).transport.newest[NodeId{3}]);
    settle();
    EXPECT_EQ(at(2).log->bytes(), at(1).log->bytes());
    EXPECT_EQ(at(3).log->bytes(), at(1).log->bytes());
  }
}

// A large batch is read once, too, though the followers' windows leave room for unequal amounts.
TEST_F(DriversTest, ABatchBeyondWhatTheWindowLeavesIsReadOnceForAll) {
  at(1).window_bytes = 64u << 10;
  at(1).make();
  ASSERT_TRUE(at(1).node->start());
  settle();
  for (int i = 0; i < 6; ++i)
    pass(std::chrono::milliseconds(250));
  at(3).log->room = 0;  // it acknowledges nothing
  const std::string small(20u << 10, 's'), large(100u << 10, 'l');
  ASSERT_TRUE(at(1).enqueue(small));
  at(1).log->flush();
  executor.run();
  at(2).log->flush();
  executor.run();
  ASSERT_TRUE(at(1).enqueue(large));
  at(1).log->begin_flush();
  executor.posted.front()();
  executor.posted.pop_front();
  ASSERT_NE(at(1).transport.newest[NodeId{2}], nullptr);
  EXPECT_EQ(at(1).transport.newest[NodeId{2}], at(1).transport.newest[NodeId{3}]);
  at(3).log->room = SIZE_MAX;
  settle();
  pass(std::chrono::milliseconds(250));
  EXPECT_EQ(at(2).log->bytes(), at(1).log->bytes());
  EXPECT_EQ(at(3).log->bytes(), at(1).log->bytes());
}

TEST_F(DriverTest, ManyMovesOfDurablePostOneEvent) {
  for (int i = 0; i < 10; ++i)
    leader.log->flush();
  EXPECT_EQ(executor.posted.size(), 1u);
}

TEST_F(DriverTest, BytesThatTheLogHasNoRoomForWaitUntilDurableMoves) {
  follower.log->room = 30;
  const Address before = follower.log->tail();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(leader.enqueue("12345678"));
    leader.log->flush();
    executor.run();
  }
  EXPECT_EQ(follower.log->tail(), before + 24);
  settle();
  EXPECT_EQ(follower.log->bytes(), leader.log->bytes());
}

TEST_F(DriverTest, AFailedDiskIsFatalAndEndsServing) {
  std::string fatal;
  leader.node->set_fatal_listener([&](const Error& error) { fatal = error.message; });
  leader.log->break_disk();
  executor.run();
  EXPECT_EQ(fatal, "fdatasync: no");
  EXPECT_FALSE(leader.status()->serving);
}

// Who asks a leader hears that its store would refuse a put before one is refused; a store that
// waits for compaction refuses none. At its budget the node can still be asked to delete, so this
// is no problem of the node.
TEST(LoneDriver, SaysThatItsStoreHasNoRoomBeforeAPutIsRefused) {
  for (const uint64_t budget : {uint64_t{0}, uint64_t{1} << 30}) {
    HandExecutor executor;
    HandClock clock;
    Network network(executor);
    Side alone(1, executor, network, clock, 1);
    alone.store_options.disk_bytes = budget;
    alone.make();
    ASSERT_TRUE(alone.node->start());
    const auto tick = [&] {
      for (int i = 0; i < 4; ++i) {
        executor.run();
        alone.log->flush();
      }
      executor.run();
      clock.passed += milliseconds(250);
      alone.node->tick();
    };
    for (int i = 0; i < 6; ++i)
      tick();
    ASSERT_TRUE(alone.status()->serving);
    const auto told = [&] {
      tick();
      EXPECT_TRUE((budget == 0 ? alone.status()->store_full : alone.status()->problem).empty());
      return budget == 0 ? alone.status()->problem : alone.status()->store_full;
    };
    // The largest put fills a page of the log.
    alone.state_machine.most_log_bytes = fasterlog::LogOptions().page_bytes;
    EXPECT_EQ(told(), "");
    --alone.state_machine.most_log_bytes;
    EXPECT_EQ(told(), "the largest put would be refused: no room for it");
    alone.state_machine.refuses = ErrorCode::kWouldBlock;
    EXPECT_EQ(told(), "");
    alone.node->stop();
    executor.posted.clear();
  }
}

}  // namespace
}  // namespace tailrace::replication
