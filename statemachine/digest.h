#pragma once
// Digests that nodes compare: of the state (free of order) and of raw log bytes.

#include <functional>
#include <vector>

#include "fasterlog/log.h"
#include "kv/store.h"
#include "statemachine/state_machine.h"

namespace tailrace::statemachine {

/// The sum over all pairs of a state, in any order. What has expired by `log_time_ns` does not
/// count, whether or not it is still in the store.
class PairSum {
 public:
  explicit PairSum(uint64_t log_time_ns) : log_time_ns_(log_time_ns) {}
  void add(ByteSpan key, ByteSpan value);
  StateDigest digest(Address address) const { return {address, high_, low_, pairs_}; }

 private:
  const uint64_t log_time_ns_;
  uint64_t high_ = 0, low_ = 0, pairs_ = 0;
  std::vector<std::byte> pair_;
};

/// Only while nobody writes, or on the single writer's thread.
Result<StateDigest> digest_of(kv::Store& store, Address address, uint64_t log_time_ns);
/// `go_on` is asked every few MiB.
Result<std::pair<uint64_t, uint64_t>> digest_of(fasterlog::Log& log, AddressRange range,
                                                const std::function<bool()>& go_on);

}  // namespace tailrace::statemachine
