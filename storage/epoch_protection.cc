#include "storage/epoch_protection.h"

#include <thread>
#include <utility>

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/check.h"

namespace tailrace::storage {

/// The calling thread's slots, one a table it has entered; given back when the thread ends.
struct ThreadSlots {
  struct Entry {
    std::weak_ptr<EpochProtection::Table> table;
    EpochProtection::Table* key;
    EpochProtection::Slot* slot;
  };
  std::vector<Entry> entries;

  ~ThreadSlots() {
    for (Entry& entry : entries) {
      if (const auto table = entry.table.lock()) {
        entry.slot->taken.store(false, std::memory_order_release);
      }
    }
  }

  EpochProtection::Slot* find(const std::shared_ptr<EpochProtection::Table>& table) {
    // An entry of a table that is gone may carry the address of a new one.
    std::erase_if(entries, [](const Entry& entry) { return entry.table.expired(); });
    for (Entry& entry : entries) {
      if (entry.key == table.get()) return entry.slot;
    }
    for (EpochProtection::Slot& slot : table->slots) {
      bool taken = false;
      if (!slot.taken.load(std::memory_order_relaxed) &&
          slot.taken.compare_exchange_strong(taken, true, std::memory_order_acquire)) {
        slot.depth = 0;
        entries.push_back(Entry{table, table.get(), &slot});
        return &slot;
      }
    }
    TAILRACE_FATAL("more than " + std::to_string(EpochProtection::kMostThreads) +
                   " threads use one epoch table at a time");
  }
};

namespace {
thread_local ThreadSlots thread_slots;
// Each table is told from every other by a number, never by its address, which may be used again.
std::atomic<uint64_t> next_identity{1};
}  // namespace

namespace {
// Once a process; the registration lasts as long as it.
bool register_membarrier() {
  static const bool registered =
      syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
  return registered;
}
}  // namespace

EpochProtection::EpochProtection(Fences fences)
    : plain_(fences == Fences::kAtBump && register_membarrier()),
      table_(std::make_shared<Table>()),
      identity_(next_identity.fetch_add(1, std::memory_order_relaxed)) {}

EpochProtection::~EpochProtection() {
  for (auto& [epoch, action] : table_->actions) {
    action();
  }
}

EpochProtection::Slot& EpochProtection::find_slot() {
  RecentSlot& recent = recent_slots_[identity_ % kRecentSlots];
  recent = {identity_, thread_slots.find(table_)};
  return *recent.slot;
}

// Whoever bumps has changed something before. A thread that enters at the same time has either
// announced its epoch when the fence comes, and is waited for; or it loads the epoch after the
// fence, sees the new one, and all that was changed before.
void EpochProtection::fence_all_threads() const {
  if (!plain_) return;
  TAILRACE_CHECK(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0,
                 "membarrier fails although the process has registered for it");
}

void EpochProtection::stop_for_leave() {
  TAILRACE_FATAL("leave without enter");
}

void EpochProtection::enter_with_fence(Slot& mine) {
  announce(mine, std::memory_order_seq_cst);
}

void EpochProtection::refresh() {
  Slot& mine = slot();
  TAILRACE_CHECK(mine.depth > 0, "refresh without enter");
  if (mine.depth > 1) return;
  mine.depth = 0;
  mine.epoch.store(0, std::memory_order_release);
  enter();
  if (table_->action_count.load(std::memory_order_seq_cst) > 0) drain();
}

uint64_t EpochProtection::bump() {
  const uint64_t before = table_->current.fetch_add(1, std::memory_order_seq_cst);
  fence_all_threads();
  if (table_->action_count.load(std::memory_order_relaxed) > 0) drain();
  return before;
}

void EpochProtection::bump(std::function<void()> action) {
  const uint64_t before = table_->current.fetch_add(1, std::memory_order_seq_cst);
  {
    const MutexLock lock(table_->mutex);
    table_->actions.emplace_back(before, std::move(action));
    table_->action_count.store(table_->actions.size(), std::memory_order_seq_cst);
  }
  fence_all_threads();
  drain();
}

bool EpochProtection::is_safe(uint64_t epoch) const {
  for (const Slot& slot : table_->slots) {
    const uint64_t announced = slot.epoch.load(std::memory_order_seq_cst);
    if (announced != 0 && announced <= epoch) return false;
  }
  return true;
}

void EpochProtection::wait_safe(uint64_t epoch) {
  for (uint32_t round = 0; !is_safe(epoch); ++round) {
    if (round > 64) std::this_thread::yield();
  }
}

void EpochProtection::drain() {
  std::vector<std::function<void()>> ready;
  {
    const MutexLock lock(table_->mutex);
    std::erase_if(table_->actions, [&](auto& entry) {
      if (!is_safe(entry.first)) return false;
      ready.push_back(std::move(entry.second));
      return true;
    });
    table_->action_count.store(table_->actions.size(), std::memory_order_seq_cst);
  }
  for (const auto& action : ready) {
    action();
  }
}

}  // namespace tailrace::storage
