#pragma once
// Time behind a small interface, so that everything which waits can be tested without waiting.

#include <chrono>
#include <cstdint>

namespace tailrace {

using Nanoseconds = std::chrono::nanoseconds;
/// A point of the steady clock; deadlines are of this type.
using SteadyTime = std::chrono::steady_clock::time_point;

/// May be called from any thread.
class Clock {
 public:
  virtual ~Clock() = default;
  /// Monotonic; for deadlines, latencies and intervals.
  virtual SteadyTime now() const = 0;
  /// Nanoseconds since 1970 UTC; may jump. Never a basis for safety.
  virtual uint64_t unix_time_ns() const = 0;
};

/// The operating system's clocks. One object without state, shared by everyone.
const Clock& system_clock();

}  // namespace tailrace
