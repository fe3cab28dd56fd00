#pragma once
// The processor time of this process's threads by what they do: by the names that named_thread()
// gave them. Internal.

#include <chrono>
#include <map>
#include <string>

#include "core/clock.h"
#include "core/mutex.h"

namespace tailrace::observability {

class ThreadTimes {
 public:
  struct Times {
    std::map<std::string, double> running;      // how many there are
    std::map<std::string, double> cpu_seconds;  // of these, and of those that have ended
  };
  /// As of now, or of less than a moment ago: a scrape asks twice. Any thread.
  Times look();

 private:
  struct Thread {
    std::string name;
    double cpu_seconds = 0;
  };
  void read() TAILRACE_REQUIRES(mutex_);

  Mutex mutex_;
  std::map<int, Thread> seen_ TAILRACE_GUARDED_BY(mutex_);  // by the kernel's number
  Times times_ TAILRACE_GUARDED_BY(mutex_);
  SteadyTime looked_ TAILRACE_GUARDED_BY(mutex_){};
};

/// Name and processor time in seconds from a line of /proc/PID/task/TID/stat; "" where it is none.
/// `ticks`: of the kernel's clock a second. The kernel's own workers are "io_uring", the thread
/// that began the process is "main".
std::pair<std::string, double> parse_thread_stat(const std::string& line, double ticks,
                                                 bool is_main);

}  // namespace tailrace::observability
