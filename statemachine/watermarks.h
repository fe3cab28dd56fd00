#pragma once
// A node's watermarks, and the one place that moves those above the log and asserts their order:
//
//     begin <= checkpointed <= applied <= min(committed, durable),   durable <= tail
//
// `committed` may pass `durable` on one node: others formed the quorum.

#include <atomic>

#include "core/address.h"
#include "fasterlog/log.h"
#include "statemachine/step_times.h"

namespace tailrace::statemachine {

struct WatermarkSnapshot {
  Address begin, checkpointed, applied, committed, durable, tail;
};

/// A place in the log that says what stands below it: the record that ends there is of that epoch.
/// (An address alone does not: what no majority had may be cut off, and another leader's records
/// stand there then.)
struct LogPoint {
  Epoch epoch;
  Address address;
  bool operator==(const LogPoint&) const = default;
};

/// Each advance_* has one caller (named there); reads from any thread.
class Watermarks {
 public:
  explicit Watermarks(const fasterlog::Log& log) : log_(log) {}

  Address committed() const { return Address{committed_.load(std::memory_order_acquire)}; }
  Address applied() const { return Address{applied_.load(std::memory_order_acquire)}; }
  /// applied() and the epoch of the record that ends there; 0 when the log does not know.
  LogPoint applied_point() const;
  Address checkpointed() const { return Address{checkpointed_.load(std::memory_order_acquire)}; }

  /// The replication driver. Lower values are ignored (an old message): committed never retreats.
  void advance_committed(Address address);
  /// The applier, after the records below are in the store; `epoch` is that of the last of them.
  /// Neither may retreat.
  void advance_applied(Address address, Epoch epoch);
  /// The checkpointer, after the manifest is published.
  void advance_checkpointed(Address address);

  /// Told of each move of committed and applied, after it. Of durable whoever listens to the log.
  StepTimes& steps() { return steps_; }

  /// min(committed, durable): how far the applier may go.
  Address applicable() const;
  WatermarkSnapshot snapshot() const;

 private:
  const fasterlog::Log& log_;
  std::atomic<uint64_t> committed_{0};
  std::atomic<uint64_t> applied_{0};
  /// Of applied_: the one is stored before it, the other after it. While they are equal, this is
  /// it.
  std::atomic<uint64_t> epoch_before_{0}, epoch_after_{0};
  std::atomic<uint64_t> checkpointed_{0};
  StepTimes steps_;
};

}  // namespace tailrace::statemachine
