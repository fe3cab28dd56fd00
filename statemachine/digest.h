#pragma once
// Digests that nodes compare: of the state (free of order) and of raw log bytes.

#include "fasterlog/log.h"
#include "kv/store.h"
#include "statemachine/state_machine.h"

namespace tailrace::statemachine {

/// Only while nobody writes, or on the single writer's thread.
StateDigest digest_of(kv::Store& store, Address address);
Result<std::pair<uint64_t, uint64_t>> digest_of(fasterlog::Log& log, AddressRange range);

}  // namespace tailrace::statemachine
