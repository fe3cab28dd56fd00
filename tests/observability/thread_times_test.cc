#include "observability/thread_times.h"

#include <atomic>
#include <thread>

#include <gtest/gtest.h>

#include "core/thread.h"

namespace tailrace::observability {
namespace {

// Promise: a thread's line is read whatever its name holds, and what is no such line counts
// nothing.
TEST(ThreadTimes, ReadsALineOfTheKernel) {
  const std::string rest = " S 1 1 1 0 -1 4194368 25 0 0 0 150 50 0 0 20 0 1 0 100 0 0";
  using Parsed = std::pair<std::string, double>;
  EXPECT_EQ(parse_thread_stat("12 (apply)" + rest, 100, false), (Parsed{"apply", 2.0}));
  EXPECT_EQ(parse_thread_stat("12 (a) b (c)" + rest, 100, false), (Parsed{"a) b (c", 2.0}));
  EXPECT_EQ(parse_thread_stat("12 (iou-wrk-9)" + rest, 100, false).first, "io_uring");
  EXPECT_EQ(parse_thread_stat("12 (tailrace)" + rest, 100, true).first, "main");
  for (const char* line : {"", "12", "12 (apply", "12 apply) S", "12 (apply) S 1"})
    EXPECT_EQ(parse_thread_stat(line, 100, false).first, "") << line;
}

// Promise: threads are counted by what they do, and what one has taken stays counted when it ends.
TEST(ThreadTimes, KeepsWhatEndedThreadsHaveTaken) {
  ThreadTimes times;
  std::atomic<bool> end{false};
  std::thread busy = named_thread("test_busy", [&] {
    while (!end)
      ;
  });
  const auto wait = [] { std::this_thread::sleep_for(std::chrono::milliseconds(120)); };
  double taken = 0;
  for (int tries = 0; tries < 100 && taken == 0; ++tries) {
    wait();
    const auto now = times.look();
    if (now.running.contains("test_busy")) {
      EXPECT_EQ(now.running.at("test_busy"), 1);
      taken = now.cpu_seconds.at("test_busy");
    }
  }
  EXPECT_GT(taken, 0);
  end = true;
  busy.join();
  wait();
  const auto after = times.look();
  EXPECT_FALSE(after.running.contains("test_busy"));
  EXPECT_GE(after.cpu_seconds.at("test_busy"), taken);
}

}  // namespace
}  // namespace tailrace::observability
