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
  /// Monotonic; for deadlines, latencies and intervals. Stands still while the machine is
  /// suspended.
  virtual SteadyTime now() const = 0;
  /// Monotonic, and goes on while the machine is suspended: for what is true of the world
  /// meanwhile, such as how old something is. From an unknown beginning, the same for the whole
  /// machine.
  virtual Nanoseconds elapsed() const { return now().time_since_epoch(); }
  /// Nanoseconds since 1970 UTC; may jump. Never a basis for safety.
  virtual uint64_t unix_time_ns() const = 0;
};

/// The operating system's clocks. One object without state, shared by everyone.
const Clock& system_clock();

}  // namespace tailrace
