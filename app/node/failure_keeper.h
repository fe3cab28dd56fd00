#pragma once
// Keeps why this node fails, for its next lives: in a file (last_failure_file.h), in the metrics,
// and in the log of the next start. Broken invariants are told to it by core/last_words.h.
//
// The disk of the file may be the one that has failed, and a write to it may hang. So it is written
// on a thread of its own, which nobody waits for longer than a moment. Internal.

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "app/node/last_failure_file.h"
#include "core/clock.h"
#include "core/mutex.h"
#include "observability/metrics.h"

namespace tailrace::app {

/// Any thread may call, but start() and the destructor, which the starting thread calls.
class FailureKeeper {
 public:
  /// How long the end of a node is delayed at most by a disk that hangs.
  static constexpr std::chrono::milliseconds kMostWait{500};

  FailureKeeper(storage::FileSystem& file_system, const storage::Path& directory,
                const Clock& clock = system_clock());
  ~FailureKeeper();
  FailureKeeper(const FailureKeeper&) = delete;
  FailureKeeper& operator=(const FailureKeeper&) = delete;

  /// Says what the file has, which is no more than a warning if it does not check; writes nothing.
  /// From now on a broken invariant is kept as well. One at a time in a process.
  void start();
  /// Keeps room in the directory, as far as the disk has it.
  void reserve();
  /// The first failure that ends a node is kept, and before that one of the store: what fails then
  /// follows from it. Returns at once.
  void keep(FailureReason reason, const std::string& message);
  /// Until what was to be kept is on the disk, or for so long. False: it is not there yet.
  bool wait(std::chrono::milliseconds most = kMostWait);
  /// Of this life or one before; nothing: none is known.
  std::optional<LastFailure> last() const;
  void register_metrics(observability::MetricRegistry& registry);

 private:
  struct State;  // the writing threads have it too
  /// Whose directory broken invariants are kept in.
  struct Listening {
    Mutex mutex;
    std::shared_ptr<State> state TAILRACE_GUARDED_BY(mutex);
  };
  static Listening& listening();
  static void on_last_words(std::string_view message) noexcept;

  std::shared_ptr<State> state_;
  observability::MetricRegistry::Registration metrics_;  // last: goes first
};

}  // namespace tailrace::app
