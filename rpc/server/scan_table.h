#pragma once
// The scans that clients have open on this server. Internal.
//
// They belong to the server, not to a connection. All work on them is done by one thread of their
// own, a slice at a time, so that neither an io thread nor another scan waits for long. A scan
// holds back the store's compaction: so one that nobody has asked on for a while is closed, one
// that lasts too long as well, and the oldest one when the store has no room left for writes.

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <asio/steady_timer.hpp>
#include <asio/thread_pool.hpp>

#include "core/random.h"
#include "statemachine/state_machine.h"

namespace tailrace::rpc {

/// Which state an answer shows.
struct ShownState {
  statemachine::LogPoint point;  // what stands below it is in the state
  /// What was acknowledged to anyone so long before `at` is in it; 2^64-1: not known.
  uint64_t bound_ms = 0;
  SteadyTime at;
};

class ScanTable {
 public:
  struct Slice {
    uint64_t scan = 0;  // 0: there is no more
    ShownState shown;
    std::vector<std::pair<std::string, std::string>> pairs;
  };
  using Done = std::function<void(Result<Slice>)>;

  static constexpr size_t kMostScans = 32;
  static constexpr size_t kMostScansOfOne = 8;
  static constexpr std::chrono::seconds kLeastTime{10};
  static constexpr size_t kSliceBytes = 1u << 20;  // of keys and values, about

  ScanTable(statemachine::StateMachine& machine, size_t max_value_bytes,
            std::chrono::milliseconds idle_timeout, std::chrono::milliseconds lifetime);
  ~ScanTable();

  /// Any thread; `done` is called on the table's own. While kMostScans are open another one is
  /// closed for it: the oldest of the owner that has most, if that has at least two more than this
  /// one; else the oldest of all, if it is open for kLeastTime. kResourceExhausted where there is
  /// no such scan, and while that owner has kMostScansOfOne. `shown`: the state when it was asked
  /// for. The scan's is that or newer, and says its own point.
  void open(const void* owner, std::string prefix, size_t most_pairs, ShownState shown, Done done);
  /// Slices are counted from 0, which open() has answered: a slice is handed out once. No pairs at
  /// most: closes the scan. kNotFound when it is not open (any more), or another slice is next.
  void next(uint64_t scan, uint64_t slice, size_t most_pairs, Done done);
  /// The store needs the room of what scans hold back: the one that was opened first is closed, and
  /// no other for a second. Any thread.
  void give_way();
  /// Nothing is called after it.
  void stop();
  /// How many are open. Any thread.
  size_t count() const { return open_.load(std::memory_order_relaxed); }

 private:
  struct Entry {
    std::unique_ptr<statemachine::StateScan> scan;
    ShownState shown;
    uint64_t next_slice = 0;
    SteadyTime opened, used;
    const void* owner = nullptr;
  };
  // On the table's thread.
  Result<Slice> open_now(const void* owner, const std::string& prefix, size_t most_pairs,
                         const ShownState& shown);
  /// Why that scan, or that slice of it, is not to be had.
  Error not_open(uint64_t scan) const;
  void note_closed(uint64_t scan);
  size_t count_of(const void* owner) const;
  bool make_place(const void* owner);
  void close_for_others(uint64_t scan);
  Result<Slice> next_now(uint64_t scan, uint64_t slice, size_t most_pairs);
  Result<Slice> take(uint64_t id, Entry& entry, size_t most_pairs);
  void arm_sweep();

  statemachine::StateMachine& machine_;
  const size_t pairs_at_once_;
  const std::chrono::milliseconds idle_timeout_, lifetime_;
  asio::thread_pool thread_{1};
  // Of the thread only.
  std::map<uint64_t, Entry> scans_;
  std::atomic<size_t> open_{0};  // scans_.size()
  std::deque<uint64_t> closed_;  // the last ones that had to give way, or were too old
  SteadyTime gave_way_{};
  Random ids_;
  asio::steady_timer sweep_;
  bool sweeping_ = false, stopping_ = false;
};

}  // namespace tailrace::rpc
