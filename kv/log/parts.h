#pragma once
// Recovery's work on the log, shared among threads: the log is cut at page boundaries, where a
// record always begins, so no part needs to know of another.

#include <atomic>
#include <cstdint>
#include <functional>

#include "core/result.h"
#include "kv/types/log_address.h"

namespace tailrace::kv {

/// Calls work(worker, part's from, part's until) for consecutive parts of [from, until), each on
/// one of at most `threads` threads; the caller is worker 0, and the only one when the range is
/// short. Returns when all have ended. Parts are begun in ascending order, and none after one has
/// failed, so the error that is returned is the lowest part's: the one that a single thread would
/// have met.
using WorkOnPart = std::function<Result<>(unsigned worker, LogAddress from, LogAddress until)>;
Result<> in_parts(unsigned threads, uint64_t page_bytes, LogAddress from, LogAddress until,
                  const WorkOnPart& work);

/// How many threads in_parts() takes for so many bytes: what one has done in a few milliseconds is
/// not worth another one.
unsigned threads_for(unsigned threads, uint64_t bytes);

/// What workers have done together. Told by the caller's thread alone, for whoever listens may
/// count on being called by one: the numbers only grow.
class SharedProgress {
 public:
  using Tell = std::function<void(uint64_t done, uint64_t total)>;
  SharedProgress(uint64_t total, Tell tell) : total_(total), tell_(std::move(tell)) {}

  void add(unsigned worker, uint64_t bytes) {
    const uint64_t done = done_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
    if (worker == 0 && tell_) tell_(done < total_ ? done : total_, total_);
  }
  /// All is done. The caller's thread.
  void end() const {
    if (tell_) tell_(total_, total_);
  }

 private:
  const uint64_t total_;
  const Tell tell_;
  std::atomic<uint64_t> done_{0};
};

}  // namespace tailrace::kv
