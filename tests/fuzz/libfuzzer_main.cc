// One target as libFuzzer wants it; TAILRACE_FUZZ_TARGET is its function.
#include <cstddef>
#include <cstdint>

#include "observability/logging.h"
#include "tests/fuzz/targets.h"

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  tailrace::observability::set_log_level(tailrace::observability::LogLevel::kOff);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tailrace::fuzz::TAILRACE_FUZZ_TARGET({reinterpret_cast<const std::byte*>(data), size});
  return 0;
}
