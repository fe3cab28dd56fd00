#pragma once
// How many files this process may have open, and how they are shared out.

#include <cstdint>

namespace tailrace::app {

/// Raises the soft limit of open files to the hard one, and returns what the limit is then.
uint64_t raise_descriptor_limit();

/// Of `limit` descriptors the client connections may have so many: the rest is the log's, the
/// store's and the peers', who must never go short because of clients.
constexpr uint64_t connections_within(uint64_t limit) {
  return limit / 2;
}
/// And those that have no place yet so many.
constexpr uint64_t newcomers_within(uint64_t limit) {
  return limit / 8;
}

}  // namespace tailrace::app
