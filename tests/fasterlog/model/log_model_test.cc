// Random operations on a log, and on a plain model of it; crashes, faults and reopens in between.
// TAILRACE_SEED=N replays one seed's choices, TAILRACE_SEEDS=N tries so many.

#include <cstdio>
#include <cstdlib>

#include "observability/logging.h"
#include "tests/fasterlog/model/log_model_run.h"

namespace tailrace::fasterlog {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(NDEBUG)
constexpr uint64_t kSeeds = 150;
#else
constexpr uint64_t kSeeds = 1200;
#endif

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

TEST(LogModel, HoldsWhatItPromisedWhateverHappens) {
  observability::set_log_level(observability::LogLevel::kOff);
  const bool one = std::getenv("TAILRACE_SEED") != nullptr;
  const uint64_t first = from_environment("TAILRACE_SEED", 1);
  const uint64_t count = one ? 1 : from_environment("TAILRACE_SEEDS", kSeeds);
  for (uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE("replay with TAILRACE_SEED=" + std::to_string(seed));
    ModelRun(seed).run();
    if (HasFailure()) {
      std::printf("replay with TAILRACE_SEED=%llu\n", static_cast<unsigned long long>(seed));
      break;
    }
  }
  observability::set_log_level(observability::LogLevel::kInfo);
}

}  // namespace
}  // namespace tailrace::fasterlog
