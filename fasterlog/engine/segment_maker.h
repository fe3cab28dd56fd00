#pragma once
// Makes segments ahead of the flusher, on a thread of its own: allocating a file and syncing it and
// its directory takes milliseconds, in which no batch would become durable.

#include <functional>
#include <optional>
#include <thread>

#include "core/mutex.h"
#include "fasterlog/format/segment_files.h"

namespace tailrace::fasterlog {

struct LogCore;

class SegmentMaker {
 public:
  struct Listener {
    std::function<void()> changed;      // there is a new segment, or none is to be had
    std::function<void(Error)> failed;  // a write or fsync failed: final
  };
  /// The listener is called on the maker's thread.
  SegmentMaker(LogCore& core, Listener listener);
  ~SegmentMaker();
  SegmentMaker(const SegmentMaker&) = delete;
  SegmentMaker& operator=(const SegmentMaker&) = delete;

  /// All below has files; the thread is not running. Makes segments up to `first_end` on the
  /// caller's thread, then goes on in its own. An error is a failed write or fsync.
  Result<> start(Address end, Address first_end);
  void stop();

  /// Segments are wanted up to there. The flusher's thread.
  void want(Address end);
  /// All below has files.
  Address end() const { return Address{end_.load(std::memory_order_acquire)}; }
  /// The disk has no room for the next one; tried again from time to time.
  bool disk_is_full() const { return full_.load(std::memory_order_acquire); }

 private:
  void run();
  Result<bool> make_next();

  LogCore& core_;
  const Listener listener_;
  std::atomic<uint64_t> end_{0};
  std::atomic<uint64_t> wanted_{0};
  std::atomic<bool> full_{false};
  Mutex mutex_;
  Condition wake_;
  bool stopping_ TAILRACE_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace tailrace::fasterlog
