#pragma once
// How many values one io thread has read from the disk at a time: each is in memory until its
// answer is made, however long it is. Internal.

#include <cstddef>
#include <deque>
#include <functional>

namespace tailrace::rpc {

/// One thread.
class ColdReads {
 public:
  /// Begins to read; false when nobody waits for it any more.
  using Start = std::function<bool()>;

  explicit ColdReads(size_t most) : most_(most) {}

  void begin(Start start) {
    waiting_.push_back(std::move(start));
    start_waiting();
  }
  /// One that was begun has its answer.
  void ended() {
    --running_;
    start_waiting();
  }

 private:
  void start_waiting() {
    while (running_ < most_ && !waiting_.empty()) {
      const Start start = std::move(waiting_.front());
      waiting_.pop_front();
      if (start()) ++running_;
    }
  }

  const size_t most_;
  size_t running_ = 0;
  std::deque<Start> waiting_;
};

}  // namespace tailrace::rpc
