#pragma once
// Digests that nodes compare: of the state (free of order) and of raw log bytes.

#include "fasterlog/log.h"
#include "kv/store.h"
#include "statemachine/state_machine.h"

namespace tailrace::statemachine {

/// Only while nobody writes, or on the single writer's thread. What has expired by `log_time_ns`
/// does not count, whether or not it is still in the store.
Result<StateDigest> digest_of(kv::Store& store, Address address, uint64_t log_time_ns);
Result<std::pair<uint64_t, uint64_t>> digest_of(fasterlog::Log& log, AddressRange range);

}  // namespace tailrace::statemachine
