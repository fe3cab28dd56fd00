#pragma once
// Polls on a thread of its own, so that a server that does not answer never keeps the screen from
// answering a key.

#include <chrono>
#include <memory>
#include <thread>

#include "app/top/poller.h"
#include "core/mutex.h"

namespace tailrace::app::top {

class Live {
 public:
  Live(Poller poller, std::chrono::nanoseconds interval);
  /// Waits for a poll that is under way.
  ~Live();
  Live(const Live&) = delete;
  Live& operator=(const Live&) = delete;

  /// Can be read while there is a snapshot that take() has not returned.
  int descriptor() const { return event_; }
  /// The newest; null: none is new.
  std::shared_ptr<const Snapshot> take();

 private:
  void run();

  Poller poller_;  // the thread's
  const std::chrono::nanoseconds interval_;
  int event_ = -1;
  Mutex mutex_;
  Condition changed_;
  bool stopping_ TAILRACE_GUARDED_BY(mutex_) = false;
  std::shared_ptr<const Snapshot> newest_ TAILRACE_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace tailrace::app::top
