#pragma once
// The two stores that take turns, as the program that measures them sees them. A store of each kind
// stands in a file of its own, because each is compiled with flags of its own. Nothing here names a
// type of either.

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

namespace beside {

/// What both are made with. Keys and values have eight bytes, and all of them stay in memory.
struct Shape {
  uint64_t keys = 0;
  uint64_t index_buckets = 0;  // of 64 bytes
  std::string directory;       // where a store that wants files has them
};

/// What one thread does in one turn: operations on the draws from `at` on, round and round.
struct Stretch {
  const uint64_t* draws = nullptr;  // a key each, and `write` where it is to be written
  uint64_t mask = 0;                // their number, a power of two, minus one
  uint64_t write = 0;
  bool rmw = false;    // a write adds 1; else it puts a number
  uint32_t batch = 1;  // operations of one call, where the store has batches
  uint32_t thread = 0;
  const std::atomic<bool>* stop = nullptr;
  /// Told every 64 operations, or every batch. In: where to begin.
  std::atomic<uint64_t>* at = nullptr;
};

/// So many operations lie between two looks at `stop`.
constexpr uint64_t kBetweenLooks = 64;

/// Any thread calls; each call is a session of its own. An operation that does not succeed at once,
/// in memory, is an exception: it would not be what is compared.
class Side {
 public:
  virtual ~Side() = default;
  /// Puts a zero for each of the keys.
  virtual void load(const uint64_t* keys, uint64_t count, uint32_t thread) = 0;
  virtual void run(const Stretch& stretch) = 0;
  /// For checking that both have done what was asked; while nobody writes.
  virtual uint64_t sum_of_values(const uint64_t* keys, uint64_t count) = 0;
};

std::unique_ptr<Side> open_faster(const Shape& shape);
std::unique_ptr<Side> open_tailrace(const Shape& shape);

}  // namespace beside
