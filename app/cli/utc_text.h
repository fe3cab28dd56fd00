#pragma once

#include <cstdint>
#include <string>

namespace tailrace::app {

/// "2026-01-31 23:59:59 UTC".
std::string utc_text(uint64_t unix_time_ns);

}  // namespace tailrace::app
