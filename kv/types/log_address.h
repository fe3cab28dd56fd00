#pragma once

#include <cstdint>

namespace tailrace::kv {

/// A byte offset in the store's hybrid log, a multiple of 16 where a record begins; 0 is no record.
using LogAddress = uint64_t;

}  // namespace tailrace::kv
