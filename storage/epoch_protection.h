#pragma once
// Epoch protection after FASTER (SIGMOD 2018, section 2.4): readers and writers announce that they
// are inside; whoever wants to change something under them bumps the epoch and learns when all who
// might still see the old state have left. (Not to be confused with tailrace::Epoch, a leader's
// term.)

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "core/mutex.h"

namespace tailrace::storage {

/// One table of thread slots. Each engine owns its own. A thread takes a slot at its first enter()
/// and gives it back when it ends. At most kMostThreads threads at a time.
///
/// enter() and leave() are a few nanoseconds and take no lock; they nest. Between them a thread
/// must not block on anything that itself waits for the epoch to become safe.
class EpochProtection {
  struct Slot;

 public:
  static constexpr size_t kMostThreads = 256;

  /// Who pays for the order of "I am inside" and "what do I see". A full fence in enter() and one
  /// in leave() also end what the processor does ahead of time: the cache misses of one operation
  /// then never overlap with those of the next. With kAtBump both are plain stores, and bump()
  /// makes every running thread of the process go through a fence instead (membarrier, some 5 µs).
  /// Where the kernel has no membarrier, kAtBump is kInEnter.
  enum class Fences { kInEnter, kAtBump };

  explicit EpochProtection(Fences fences = Fences::kInEnter);
  ~EpochProtection();
  EpochProtection(const EpochProtection&) = delete;
  EpochProtection& operator=(const EpochProtection&) = delete;

  void enter() { enter(slot()); }
  void leave() { leave(slot()); }
  /// leave() and enter() in one: adopts the current epoch without stepping outside for good.
  void refresh();

  /// Starts a new epoch and returns the one before: all threads that were inside at the call have
  /// left (or refreshed) once is_safe(returned) holds.
  uint64_t bump();
  /// Starts a new epoch; `action` runs once, on some thread that calls bump, drain, or the last
  /// leave, as soon as the epoch before is safe. Actions must be short and must not throw.
  void bump(std::function<void()> action);
  bool is_safe(uint64_t epoch) const;
  /// Waits, outside any protection, until is_safe(epoch).
  void wait_safe(uint64_t epoch);
  /// Runs the actions whose epoch has become safe.
  void drain();

  /// enter() now, leave() at the end of the scope.
  class Guard {
   public:
    [[gnu::always_inline]] explicit Guard(EpochProtection& protection)
        : protection_(protection), mine_(protection.slot()) {
      protection_.enter(mine_);
    }
    [[gnu::always_inline]] ~Guard() { protection_.leave(mine_); }
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

   private:
    EpochProtection& protection_;
    Slot& mine_;  // of the thread, which has it until it ends
  };

 private:
  struct alignas(64) Slot {
    std::atomic<uint64_t> epoch{0};  // 0: outside
    std::atomic<bool> taken{false};
    uint32_t depth = 0;  // of the thread that took the slot
  };
  struct Table {  // outlives this object while a thread still holds a slot of it
    std::atomic<uint64_t> current{1};
    std::atomic<size_t> action_count{0};
    std::array<Slot, kMostThreads> slots;

    Mutex mutex;
    std::vector<std::pair<uint64_t, std::function<void()>>> actions TAILRACE_GUARDED_BY(mutex);
  };
  friend struct ThreadSlots;
  // The slots of the tables that the thread has entered lately; it goes to and fro between the
  // log's and the store's.
  struct RecentSlot {
    uint64_t identity;  // 0: none
    Slot* slot;
  };
  static constexpr size_t kRecentSlots = 8;
  static constinit inline thread_local RecentSlot recent_slots_[kRecentSlots] = {};

  // Inlined wherever they are called: a call costs as much again, and the store calls them with
  // every operation.
  [[gnu::always_inline]] Slot& slot() {
    const RecentSlot& recent = recent_slots_[identity_ % kRecentSlots];
    if (recent.identity != identity_) [[unlikely]]
      return find_slot();
    return *recent.slot;
  }
  Slot& find_slot();
  [[gnu::always_inline]] void enter(Slot& mine) {
    if (mine.depth++ > 0) return;
    if (!plain_) [[unlikely]]
      return enter_with_fence(mine);
    announce(mine, std::memory_order_relaxed);
  }
  [[gnu::always_inline]] void leave(Slot& mine) {
    if (mine.depth == 0) [[unlikely]]
      stop_for_leave();
    if (--mine.depth > 0) return;
    // Ordered with the count and with is_safe(), by this store's own fence or by the bump's: either
    // this thread sees the action, or the one that adds it sees this thread outside.
    if (plain_) [[likely]] {
      mine.epoch.store(0, std::memory_order_release);
      std::atomic_signal_fence(std::memory_order_seq_cst);
    } else {
      mine.epoch.store(0, std::memory_order_seq_cst);
    }
    if (table_->action_count.load(std::memory_order_seq_cst) > 0) [[unlikely]]
      drain();
  }
  // The second load closes the gap between reading the epoch and announcing it: either it sees a
  // bump that came between (and announces anew), or every later bump sees the announcement.
  [[gnu::always_inline]] void announce(Slot& mine, std::memory_order order) {
    uint64_t epoch = table_->current.load(std::memory_order_acquire);
    for (;;) {
      mine.epoch.store(epoch, order);
      std::atomic_signal_fence(std::memory_order_seq_cst);
      const uint64_t again = table_->current.load(std::memory_order_seq_cst);
      if (again == epoch) [[likely]]
        return;
      epoch = again;
    }
  }
  void enter_with_fence(Slot& mine);
  [[noreturn]] static void stop_for_leave();
  void fence_all_threads() const;

  const bool plain_;  // kAtBump
  const std::shared_ptr<Table> table_;
  const uint64_t identity_;  // tells this table from one that stood at the same address before
};

}  // namespace tailrace::storage
