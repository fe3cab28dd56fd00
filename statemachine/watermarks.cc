#include "statemachine/watermarks.h"

#include <algorithm>

#include "core/check.h"

namespace tailrace::statemachine {

namespace {
std::string pair_text(const char* what, Address address, const char* other, Address limit) {
  return std::string(what) + " " + std::to_string(address.value) + ", " + other + " " +
         std::to_string(limit.value);
}
}  // namespace

void Watermarks::advance_committed(Address address) {
  // One caller, so a load and a store suffice.
  if (address <= committed()) return;
  committed_.store(address.value, std::memory_order_release);
  steps_.passed(StepTimes::Step::kCommitted, address);
}

void Watermarks::advance_applied(Address address, Epoch epoch) {
  TAILRACE_CHECK(address >= applied(), pair_text("new applied", address, "applied", applied()));
  TAILRACE_CHECK(address <= applicable(),
                 pair_text("new applied", address, "min(committed, durable)", applicable()));
  TAILRACE_CHECK(epoch.value >= epoch_after_.load(std::memory_order_relaxed),
                 "new applied epoch " + std::to_string(epoch.value) + ", applied epoch " +
                     std::to_string(epoch_after_.load(std::memory_order_relaxed)));
  epoch_before_.store(epoch.value, std::memory_order_release);
  applied_.store(address.value, std::memory_order_release);
  epoch_after_.store(epoch.value, std::memory_order_release);
  steps_.passed(StepTimes::Step::kApplied, address);
}

LogPoint Watermarks::applied_point() const {
  const uint64_t after = epoch_after_.load(std::memory_order_acquire);
  const Address address = applied();
  const uint64_t before = epoch_before_.load(std::memory_order_acquire);
  if (after == before) return {Epoch{after}, address};
  // An epoch begins at this moment. What is applied stays, so the log can be asked.
  return {log_.epoch_before(address), address};
}

void Watermarks::advance_checkpointed(Address address) {
  TAILRACE_CHECK(address >= checkpointed(),
                 pair_text("new checkpointed", address, "checkpointed", checkpointed()));
  TAILRACE_CHECK(address <= applied(),
                 pair_text("new checkpointed", address, "applied", applied()));
  checkpointed_.store(address.value, std::memory_order_release);
}

Address Watermarks::applicable() const {
  return std::min(committed(), log_.durable());
}

WatermarkSnapshot Watermarks::snapshot() const {
  // From the lowest up: each is read before the one that it cannot pass, so that the order holds
  // in the snapshot although all of them move meanwhile.
  WatermarkSnapshot snapshot;
  snapshot.begin = log_.begin();
  snapshot.checkpointed = checkpointed();
  snapshot.applied = applied();
  snapshot.committed = committed();
  snapshot.durable = log_.durable();
  snapshot.tail = log_.tail();
  return snapshot;
}

}  // namespace tailrace::statemachine
