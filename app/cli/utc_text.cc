#include "app/cli/utc_text.h"

#include <ctime>

namespace tailrace::app {

std::string utc_text(uint64_t unix_time_ns) {
  const auto seconds = static_cast<std::time_t>(unix_time_ns / 1'000'000'000);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[64];
  return {text, std::strftime(text, sizeof text, "%F %T UTC", &parts)};
}

}  // namespace tailrace::app
