#pragma once
// A node's watermarks, and the one place that moves those above the log and asserts their order:
//
//     begin <= checkpointed <= applied <= min(committed, durable),   durable <= tail
//
// `committed` may pass `durable` on one node: others formed the quorum.

#include <atomic>

#include "core/address.h"
#include "fasterlog/log.h"

namespace tailrace::statemachine {

struct WatermarkSnapshot {
  Address begin, checkpointed, applied, committed, durable, tail;
};

/// Each advance_* has one caller (named there); reads from any thread.
class Watermarks {
 public:
  explicit Watermarks(const fasterlog::Log& log) : log_(log) {}

  Address committed() const { return Address{committed_.load(std::memory_order_acquire)}; }
  Address applied() const { return Address{applied_.load(std::memory_order_acquire)}; }
  Address checkpointed() const { return Address{checkpointed_.load(std::memory_order_acquire)}; }

  /// The replication driver. Lower values are ignored (an old message): committed never retreats.
  void advance_committed(Address address);
  /// The applier, after the records below are in the store. Must not retreat.
  void advance_applied(Address address);
  /// The checkpointer, after the manifest is published.
  void advance_checkpointed(Address address);

  /// min(committed, durable): how far the applier may go.
  Address applicable() const;
  WatermarkSnapshot snapshot() const;

 private:
  const fasterlog::Log& log_;
  std::atomic<uint64_t> committed_{0};
  std::atomic<uint64_t> applied_{0};
  std::atomic<uint64_t> checkpointed_{0};
};

}  // namespace tailrace::statemachine
