#pragma once
// The read-modify-write of the loads: adds 1 to a number of eight bytes.

#include <cstdint>
#include <string>

#include "core/bytes.h"
#include "kv/types/operation.h"

namespace tailrace::app {

struct AddOne {
  static kv::Modification change(MutableByteSpan value) {
    store(value.data(), load<uint64_t>(value.data()) + 1);
    return kv::Modification::kWrite;
  }
  kv::Modification operator()(const ByteSpan* present, std::string& next) const {
    const uint64_t sum = (present != nullptr ? load<uint64_t>(present->data()) : 0) + 1;
    next.assign(reinterpret_cast<const char*>(&sum), sizeof sum);
    return kv::Modification::kWrite;
  }
};

}  // namespace tailrace::app
