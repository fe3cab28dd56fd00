#pragma once
// Looks at the state between two stretches that are applied: nothing is half done there, and what
// is applied has an address. The applier does them on its own thread, so each is short. Internal.

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <utility>

#include "core/mutex.h"
#include "core/result.h"
#include "statemachine/watermarks.h"

namespace tailrace::statemachine {

class StretchVisits {
 public:
  /// Gets the point up to which all is applied; or why there will be none.
  using Visit = std::function<void(Result<LogPoint>)>;

  using Id = uint64_t;

  /// Any thread. Called at once, on this thread, when it is closed.
  Id add(Visit visit) TAILRACE_EXCLUDES(mutex_);
  /// Any thread: who has added it does not wait any more. It is not called, unless it has been or
  /// is being called, and what it holds is given back.
  void forget(Id id) TAILRACE_EXCLUDES(mutex_);
  /// The applier's thread: does some, so that stretches have their turn too.
  void run(const Watermarks& watermarks) {
    if (waiting_.load(std::memory_order_acquire) != 0) run_some(watermarks.applied_point());
  }
  /// Whether some wait. Any thread.
  bool any() const { return waiting_.load(std::memory_order_acquire) != 0; }
  /// Those that wait, and those to come, get the error.
  void close(const Error& error) TAILRACE_EXCLUDES(mutex_);

 private:
  void run_some(LogPoint at) TAILRACE_EXCLUDES(mutex_);

  Mutex mutex_;
  std::atomic<size_t> waiting_{0};  // changes with the lock held
  std::deque<std::pair<Id, Visit>> visits_ TAILRACE_GUARDED_BY(mutex_);
  Id last_ TAILRACE_GUARDED_BY(mutex_) = 0;
  std::optional<Error> closed_ TAILRACE_GUARDED_BY(mutex_);
};

}  // namespace tailrace::statemachine
