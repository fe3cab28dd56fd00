// Phases and sessions without a store around them: what is written is only counted.

#include "kv/checkpoint/coordinator.h"

#include <chrono>
#include <thread>

#include <gtest/gtest.h>

namespace tailrace::kv {
namespace {

using std::chrono_literals::operator""ms;

struct TestSession : SessionState {
  explicit TestSession(SessionId number) { id = number; }
};

class CoordinatorTest : public ::testing::Test {
 protected:
  CoordinatorTest() {
    coordinator.set_tail_source([this] { return tail.load(); });
  }

  /// One write as a session makes it. Returns the version written.
  uint32_t write(SessionState& session, Serial serial) {
    const storage::EpochProtection::Guard guard(protection);
    coordinator.before_write(session, serial);
    const uint32_t version = session.version.version;
    if (serial > session.last_serial()) session.last.store(serial, std::memory_order_release);
    return version;
  }
  void refresh(SessionState& session, Serial serial) {
    const storage::EpochProtection::Guard guard(protection);
    session.completed.store(serial, std::memory_order_release);
    coordinator.after_refresh(session);
  }
  /// A whole checkpoint of which nothing is written.
  std::vector<SessionPoint> cycle() {
    uint32_t version = 0;
    EXPECT_TRUE(coordinator.prepare(version));
    coordinator.cross_over();
    EXPECT_TRUE(coordinator.wait_crossed().has_value());
    auto points = coordinator.begin_flush();
    EXPECT_TRUE(points.has_value());
    coordinator.finish();
    return points.value_or(std::vector<SessionPoint>{});
  }
  WriteVersion internal() {
    const storage::EpochProtection::Guard guard(protection);
    return coordinator.internal_version();
  }

  storage::EpochProtection protection;
  CheckpointCoordinator coordinator{protection};
  std::atomic<LogAddress> tail{4096};
};

// Promise: the table is the phases of CPR: a circle, with one way back before anybody has noticed.
TEST_F(CoordinatorTest, TheTableIsACircle) {
  CheckpointPhase phase = CheckpointPhase::kRest;
  for (const CheckpointEvent event :
       {CheckpointEvent::kBegin, CheckpointEvent::kCrossOver, CheckpointEvent::kInformed,
        CheckpointEvent::kCrossed, CheckpointEvent::kFinish}) {
    const auto row = transition(phase, event);
    ASSERT_TRUE(row.has_value()) << name_of(event);
    EXPECT_EQ(static_cast<int>(row->to), (static_cast<int>(phase) + 1) % 5);
    phase = row->to;
  }
  EXPECT_EQ(phase, CheckpointPhase::kRest);
  EXPECT_EQ(transition(CheckpointPhase::kPrepare, CheckpointEvent::kAbandon)->to,
            CheckpointPhase::kRest);
  for (const CheckpointPhase late : {CheckpointPhase::kInProgress, CheckpointPhase::kWaitPending,
                                     CheckpointPhase::kWaitFlush, CheckpointPhase::kRest}) {
    EXPECT_FALSE(transition(late, CheckpointEvent::kAbandon).has_value());
  }
}

// Promise: the version advances by one a checkpoint, all phases end in REST, and a session that
// writes or refreshes afterwards is of the new version and may update everything in place again.
TEST_F(CoordinatorTest, ManyCyclesAdvanceTheVersionByOne) {
  TestSession writer{1};
  TestSession idle{2};
  ASSERT_TRUE(coordinator.open(writer));
  ASSERT_TRUE(coordinator.open(idle));
  for (uint32_t version = 1; version <= 100; ++version) {
    EXPECT_EQ(write(writer, version), version);
    refresh(writer, version);
    tail += 4096;
    const auto points = cycle();
    ASSERT_EQ(points.size(), 2u);
    EXPECT_EQ(points[0].point, version);
    EXPECT_EQ(points[1].point, 0u);
    EXPECT_EQ(coordinator.phase(), CheckpointPhase::kRest);
    EXPECT_EQ(coordinator.version(), version + 1);
    refresh(writer, version);
    EXPECT_EQ(writer.version.version, version + 1);
    EXPECT_FALSE(writer.version.only_new);
    EXPECT_EQ(writer.version.boundary, tail);
  }
  EXPECT_EQ(write(idle, 1), 101u);
  coordinator.close(writer);
  coordinator.close(idle);
  EXPECT_EQ(coordinator.open_sessions(), 0u);
}

// Promise: a checkpoint that fails before anybody crossed over leaves the version as it is.
TEST_F(CoordinatorTest, AbandonedInPrepareChangesNothing) {
  TestSession session{1};
  ASSERT_TRUE(coordinator.open(session));
  uint32_t version = 0;
  ASSERT_TRUE(coordinator.prepare(version));
  EXPECT_FALSE(coordinator.prepare(version)) << "one at a time";
  EXPECT_EQ(write(session, 1), 1u) << "nobody crosses over in PREPARE";
  coordinator.abandon();
  EXPECT_EQ(coordinator.phase(), CheckpointPhase::kRest);
  EXPECT_EQ(write(session, 2), 1u);
  EXPECT_EQ(coordinator.version(), 1u);
  coordinator.close(session);
}

// Promise: a session crosses over between two serials, never within one; who is ahead may only
// update records of its own version at or above the boundary.
TEST_F(CoordinatorTest, ASessionCrossesOverBetweenSerials) {
  TestSession session{1};
  ASSERT_TRUE(coordinator.open(session));
  EXPECT_EQ(write(session, 5), 1u);
  uint32_t version = 0;
  ASSERT_TRUE(coordinator.prepare(version));
  tail = 8192;
  EXPECT_EQ(coordinator.cross_over(), 8192u);
  EXPECT_EQ(coordinator.phase(), CheckpointPhase::kWaitPending);
  EXPECT_EQ(write(session, 5), 1u) << "in the middle of serial 5";
  EXPECT_FALSE(session.version.only_new);
  EXPECT_EQ(session.version.boundary, 8192u) << "it has to tell the records of those ahead";
  EXPECT_EQ(write(session, 6), 2u);
  EXPECT_TRUE(session.version.only_new);
  EXPECT_EQ(session.version.boundary, 8192u);
  ASSERT_TRUE(coordinator.wait_crossed().has_value());
  const auto points = coordinator.begin_flush();
  ASSERT_TRUE(points.has_value());
  EXPECT_EQ(*points->begin(), (SessionPoint{1, 5}));
  EXPECT_TRUE(internal().only_new);
  coordinator.finish();
  EXPECT_EQ(write(session, 6), 2u);
  EXPECT_FALSE(session.version.only_new);
  coordinator.close(session);
}

// Promise: writers without serials cross at once, and with the boundary that belongs to it.
TEST_F(CoordinatorTest, InternalWritersCrossAtOnce) {
  EXPECT_EQ(internal().version, 1u);
  EXPECT_FALSE(internal().only_new);
  TestSession session{1};
  ASSERT_TRUE(coordinator.open(session));
  write(session, 1);  // and in the middle of it
  uint32_t version = 0;
  ASSERT_TRUE(coordinator.prepare(version));
  EXPECT_EQ(internal().version, 1u);
  tail = 12288;
  coordinator.cross_over();
  EXPECT_EQ(internal().version, 2u);
  EXPECT_TRUE(internal().only_new);
  EXPECT_EQ(internal().boundary, 12288u);
  refresh(session, 1);
  ASSERT_TRUE(coordinator.wait_crossed().has_value());
  ASSERT_TRUE(coordinator.begin_flush().has_value());
  coordinator.finish();
  EXPECT_EQ(internal().version, 2u);
  EXPECT_FALSE(internal().only_new);
  coordinator.close(session);
}

// Promise: an internal writer's call that began before the phase changed is waited for.
TEST_F(CoordinatorTest, CallsInFlightAreWaitedFor) {
  std::atomic<bool> inside{false};
  std::atomic<bool> written{false};
  std::thread writer([&] {
    const storage::EpochProtection::Guard guard(protection);
    const WriteVersion version = coordinator.internal_version();
    inside = true;
    while (coordinator.phase() != CheckpointPhase::kInProgress) {
      std::this_thread::yield();
    }
    EXPECT_EQ(version.version, 1u);
    EXPECT_EQ(coordinator.phase(), CheckpointPhase::kInProgress);
    written = true;
  });
  while (!inside) {
    std::this_thread::yield();
  }
  uint32_t version = 0;
  ASSERT_TRUE(coordinator.prepare(version));
  coordinator.cross_over();
  EXPECT_TRUE(written);
  writer.join();
}

// Promise: while two versions are written, who wants to move the log's begin waits; afterwards, and
// when the store closes, not.
TEST_F(CoordinatorTest, WaitingForOneVersion) {
  EXPECT_TRUE(coordinator.wait_one_version().has_value());
  TestSession session{1};
  ASSERT_TRUE(coordinator.open(session));
  write(session, 1);
  uint32_t version = 0;
  ASSERT_TRUE(coordinator.prepare(version));
  EXPECT_TRUE(coordinator.wait_one_version().has_value());
  coordinator.cross_over();
  std::atomic<bool> through{false};
  std::thread waiting([&] {
    EXPECT_TRUE(coordinator.wait_one_version().has_value());
    through = true;
    EXPECT_GT(coordinator.phase(), CheckpointPhase::kWaitPending);
  });
  std::this_thread::sleep_for(20ms);
  EXPECT_FALSE(through) << "a session still writes the version before";
  refresh(session, 1);
  ASSERT_TRUE(coordinator.wait_crossed().has_value());
  ASSERT_TRUE(coordinator.begin_flush().has_value());
  waiting.join();
  coordinator.finish();

  ASSERT_TRUE(coordinator.prepare(version));
  coordinator.cross_over();
  coordinator.cancel();
  EXPECT_EQ(coordinator.wait_one_version().error().code, ErrorCode::kCancelled);
  coordinator.close(session);
}

// Promise: the context is swapped under writers in flight, and each session's point is exactly what
// it had written of the version: threads count by version what they write, the points agree.
TEST_F(CoordinatorTest, ContextSwapWithWritersInFlight) {
  constexpr int kThreads = 4;
  constexpr int kCycles = 60;
  std::atomic<bool> stop{false};
  // By session and version: the last serial written in it. Written by the session's thread.
  std::vector<std::vector<Serial>> last_of(kThreads, std::vector<Serial>(kCycles + 3, 0));
  std::vector<std::thread> threads;
  std::vector<std::unique_ptr<TestSession>> sessions;
  for (int i = 0; i < kThreads; ++i) {
    sessions.push_back(std::make_unique<TestSession>(static_cast<SessionId>(i)));
    ASSERT_TRUE(coordinator.open(*sessions.back()));
  }
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      SessionState& session = *sessions[i];
      Serial serial = 0;
      while (!stop) {
        ++serial;
        const int writes = 1 + static_cast<int>(serial % 3);
        uint32_t version = 0;
        for (int times = 0; times < writes; ++times) {
          const uint32_t now = write(session, serial);
          EXPECT_TRUE(times == 0 || now == version) << "a serial in two versions";
          version = now;
        }
        last_of[i][version] = serial;
        tail.fetch_add(32);
        if (serial % 7 == 0) refresh(session, serial);
      }
      refresh(session, serial);
    });
  }
  std::vector<std::vector<SessionPoint>> points;
  for (int times = 0; times < kCycles; ++times)
    points.push_back(cycle());
  stop = true;
  for (std::thread& thread : threads)
    thread.join();
  for (int i = 0; i < kThreads; ++i) {
    Serial before = 0;
    for (int version = 1; version <= kCycles; ++version) {
      before = std::max(before, last_of[i][version]);
      const SessionPoint& point = points[version - 1][i];
      ASSERT_EQ(point.session, static_cast<SessionId>(i));
      ASSERT_EQ(point.point, before) << "version " << version;
    }
    coordinator.close(*sessions[i]);
  }
}

// Promise: a recovered store goes on with the version after the checkpoint's and the sessions'
// points, far beyond what fits into a record's version bits.
TEST_F(CoordinatorTest, GoesOnAfterRecovery) {
  coordinator.recovered(70'000, {{3, 33}, {4, 44}}, 65536);
  TestSession session{3};
  ASSERT_TRUE(coordinator.open(session));
  EXPECT_EQ(session.last_serial(), 33u);
  EXPECT_EQ(session.version.version, 70'000u);
  EXPECT_EQ(session.version.boundary, 65536u);
  EXPECT_EQ(write(session, 34), 70'000u);
  refresh(session, 34);
  const auto points = cycle();
  ASSERT_EQ(points.size(), 2u);
  EXPECT_EQ(points[0], (SessionPoint{3, 34}));
  EXPECT_EQ(points[1], (SessionPoint{4, 44}));
  coordinator.close(session);
}

}  // namespace
}  // namespace tailrace::kv
