#pragma once
// What a person sees while a load on a service runs.

#include <cstdint>
#include <functional>
#include <string>

#include <unistd.h>

#include "app/cli/output.h"

namespace tailrace::app {

/// For run_load(): a bar on standard error, if that is a terminal.
inline std::function<void(double, uint64_t)> load_progress() {
  return [terminal = ::isatty(STDERR_FILENO) == 1](double share, uint64_t operations) {
    if (!terminal) return;
    const int filled = static_cast<int>(share * 40);
    print_error("\r[{:<40}] {} requests", std::string(static_cast<size_t>(filled), '#'),
                operations);
    if (share >= 1) print_error("\r\033[K");
  };
}

}  // namespace tailrace::app
