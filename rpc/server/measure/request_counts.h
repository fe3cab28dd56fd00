#pragma once
// What one io thread counts of its requests, so that counting takes no locked instruction.
// Internal.

#include <array>
#include <atomic>
#include <cstdint>
#include <utility>

#include "core/clock.h"
#include "core/result.h"
#include "net/loop_turns.h"
#include "observability/owned_metrics.h"
#include "rpc/server/measure/request_table.h"

namespace tailrace::rpc {

/// Written by the thread that owns it, read by any.
class RequestCounts {
 public:
  /// What came of a request: 0: ok, 1 + the error's code, or kElsewhere.
  using Place = uint32_t;
  static constexpr Place kOk = 0;
  /// It was not answered here, and the client was told that another node may answer.
  static constexpr Place kElsewhere = 1 + kErrorCodes;
  static constexpr Place place_of(ErrorCode code) { return 1 + static_cast<Place>(code); }

  RequestCounts() : RequestCounts(std::make_index_sequence<kRequestKinds>()) {}

  /// `took`: from its arrival until the operating system had its answer.
  void answered(RequestKind kind, Place place, SteadyTime::duration took) {
    requests[static_cast<size_t>(kind)][place].add();
    if (place == kElsewhere) return;  // the node that answers it tells how long that took
    seconds[static_cast<size_t>(kind)].observe(std::chrono::duration<double>(took).count());
  }
  /// The system never had its answer, or that is not known: it has no time.
  void answered_unseen(RequestKind kind, Place place) {
    requests[static_cast<size_t>(kind)][place].add();
  }
  void read(ReadLevelKind level, ReadFrom from) {
    reads[static_cast<size_t>(level)][static_cast<size_t>(from)].add();
  }
  /// In the log now.
  void entered(RequestKind kind, size_t count, uint64_t bytes) {
    records[static_cast<size_t>(kind)].add(count);
    record_bytes[static_cast<size_t>(kind)].add(bytes);
  }
  void began() { move_in_flight(1); }
  void ended(int64_t count = 1) { move_in_flight(-count); }
  int64_t in_flight() const { return in_flight_.load(std::memory_order_relaxed); }

  std::array<std::array<observability::OwnedCounter, kElsewhere + 1>, kRequestKinds> requests;
  std::array<observability::OwnedHistogram, kRequestKinds> seconds;
  std::array<std::array<observability::OwnedCounter, kReadFroms>, kReadLevels> reads;
  std::array<observability::OwnedCounter, kRequestKinds> records, record_bytes;
  net::LoopTurns turns;  // of the thread's loop

 private:
  template <size_t... kKinds>
  explicit RequestCounts(std::index_sequence<kKinds...> /*kinds*/)
      : seconds{((void)kKinds, observability::OwnedHistogram(request_bounds_s()))...} {}
  /// Of it depends when a server that stops is done: counted in every program.
  void move_in_flight(int64_t change) {
    in_flight_.store(in_flight_.load(std::memory_order_relaxed) + change,
                     std::memory_order_relaxed);
  }

  std::atomic<int64_t> in_flight_{0};
};

}  // namespace tailrace::rpc
