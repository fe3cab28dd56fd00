#include "core/clock.h"

#include <ctime>

#include "core/check.h"

namespace tailrace {

namespace {

class SystemClock final : public Clock {
 public:
  SteadyTime now() const override { return std::chrono::steady_clock::now(); }
  Nanoseconds elapsed() const override {
    timespec time{};
    TAILRACE_CHECK(clock_gettime(CLOCK_BOOTTIME, &time) == 0, "CLOCK_BOOTTIME cannot be read");
    return std::chrono::seconds(time.tv_sec) + Nanoseconds(time.tv_nsec);
  }
  uint64_t unix_time_ns() const override {
    const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
    return static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(since_epoch).count());
  }
};

}  // namespace

const Clock& system_clock() {
  static const SystemClock clock;
  return clock;
}

}  // namespace tailrace
