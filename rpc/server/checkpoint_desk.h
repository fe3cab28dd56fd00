#pragma once
// The checkpoints that clients ask for: one at a time, and not without end, for each writes much of
// the state to the disk. Internal.
//
// Who asks before one begins is answered by it. Once one has ended the next begins no sooner than
// it took, and than a second: requests that come meanwhile wait, and share it. So who asks alone is
// served at once.

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "core/address.h"
#include "core/clock.h"
#include "core/mutex.h"
#include "core/result.h"

namespace tailrace::rpc {

class CheckpointDesk {
 public:
  using Done = std::function<void(const Result<Address>&)>;
  /// Takes a checkpoint and calls `done` once, on any thread.
  using Take = std::function<void(std::function<void(Result<Address>)> done)>;

  explicit CheckpointDesk(Take take,
                          std::chrono::milliseconds least_pause = std::chrono::seconds(1));
  ~CheckpointDesk();

  /// Any thread. `done` is called on another one. None is taken for those who have gone (`wanted`).
  void ask(std::weak_ptr<void> wanted, Done done);
  /// Nothing is called after it.
  void stop();

 private:
  struct Asker {
    std::weak_ptr<void> wanted;
    Done done;
  };
  /// Outlives the desk while a checkpoint is under way.
  struct State {
    Mutex mutex;
    Condition changed;
    std::vector<Asker> waiting TAILRACE_GUARDED_BY(mutex);
    /// Of the one that was begun.
    std::optional<Result<Address>> outcome TAILRACE_GUARDED_BY(mutex);
    bool stopping TAILRACE_GUARDED_BY(mutex) = false;
  };
  void run();
  /// Those who still want the next one; empty: the desk stops.
  std::vector<Asker> next_askers(SteadyTime not_before);

  const Take take_;
  const std::chrono::nanoseconds least_pause_;
  const std::shared_ptr<State> state_ = std::make_shared<State>();
  std::thread thread_;
};

}  // namespace tailrace::rpc
