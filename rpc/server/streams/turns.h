#pragma once
// Work of many askers on a few threads: the askers take turns, and of each one piece runs at a time
// while its others wait behind it in their order. So whoever asks for much waits for itself. What
// waits is bounded by whoever asks, and goes with it. Internal.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <thread>
#include <unordered_map>
#include <vector>

#include "core/mutex.h"

namespace tailrace::rpc {

class Turns {
 public:
  using Asker = uint64_t;
  using Work = std::function<void()>;

  /// `name`: of the threads; a literal.
  Turns(size_t threads, const char* name);
  ~Turns();

  /// Any thread. After stop() it is dropped.
  void add(Asker asker, Work work) TAILRACE_EXCLUDES(mutex_);
  /// Any thread: what waits of it is dropped; what runs is to see for itself.
  void drop(Asker asker) TAILRACE_EXCLUDES(mutex_);
  /// Waits for what runs; the rest is dropped. Nothing is called after it.
  void stop() TAILRACE_EXCLUDES(mutex_);

 private:
  struct Line {
    std::deque<Work> waiting;
    bool running = false;
  };
  void run() TAILRACE_EXCLUDES(mutex_);
  /// The next one's, whose line runs then.
  Work take(Asker& asker) TAILRACE_REQUIRES(mutex_);
  void ended(Asker asker) TAILRACE_REQUIRES(mutex_);

  Mutex mutex_;
  Condition changed_;
  bool stopping_ TAILRACE_GUARDED_BY(mutex_) = false;
  /// Of those that have work, waiting or running.
  std::unordered_map<Asker, Line> lines_ TAILRACE_GUARDED_BY(mutex_);
  /// Those with work that waits while none runs, each once, in the order of their turns.
  std::deque<Asker> next_ TAILRACE_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_;
};

}  // namespace tailrace::rpc
