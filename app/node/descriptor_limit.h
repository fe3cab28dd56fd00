#pragma once
// How many files this process may have open, and how they are shared out.

#include <cstdint>

namespace tailrace::app {

/// Raises the soft limit of open files to the hard one, and returns what the limit is then.
uint64_t raise_descriptor_limit();

/// The shares of `limit`. What is left over is the log's, the store's and the other nodes', who
/// must never go short because of strangers; and the shares together stay below what the accept
/// loops leave free (net/descriptors.h), so that none of them keeps the others out.
struct DescriptorShares {
  explicit constexpr DescriptorShares(uint64_t limit)
      : clients(limit / 8 * 3), newcomers(limit / 8), probes(limit / 16) {}
  uint64_t clients;    // with a place
  uint64_t newcomers;  // without one yet
  uint64_t probes;     // of the metrics port
};

}  // namespace tailrace::app
