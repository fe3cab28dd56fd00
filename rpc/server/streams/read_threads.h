#pragma once
// Threads for reads that wait for the disk or go through much of the state: the io threads do
// neither. Connections take turns (turns.h). Internal.

#include <atomic>
#include <cstddef>
#include <utility>

#include "rpc/server/streams/turns.h"

namespace tailrace::rpc {

class ReadThreads {
 public:
  /// A connection. Any thread.
  Turns::Asker new_asker() { return ++last_asker_; }

  /// Any thread. What waits is bounded by whoever asks (Connection::held_for_limits()).
  void read(Turns::Asker asker, Turns::Work work) { readers_.add(asker, std::move(work)); }
  /// What reads all of the store: one at a time.
  void list(Turns::Asker asker, Turns::Work work) { lister_.add(asker, std::move(work)); }
  /// It has gone: what waits is dropped; what runs sees that nobody wants it. Any thread.
  void drop(Turns::Asker asker);
  /// Waits for what runs; the rest is dropped. Nothing is called after it.
  void stop();
  /// What takes long is to be given up. Any thread.
  bool stopping() const { return stopping_.load(std::memory_order_relaxed); }

 private:
  static constexpr size_t kReaders = 2;

  std::atomic<bool> stopping_{false};
  std::atomic<Turns::Asker> last_asker_{0};
  Turns readers_{kReaders, "stream reads"};
  Turns lister_{1, "stream lists"};
};

}  // namespace tailrace::rpc
