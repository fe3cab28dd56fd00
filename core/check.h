#pragma once
// Broken invariants stop the process: continuing would spread the damage to other copies.

#include <string>

namespace tailrace {

/// Prints "tailrace: fatal: FILE:LINE: MESSAGE" to standard error and aborts.
[[noreturn]] void fatal(const char* file, int line, const std::string& message) noexcept;

}  // namespace tailrace

#define TAILRACE_FATAL(message) ::tailrace::fatal(__FILE__, __LINE__, (message))

/// Always on, in release builds too. `message` is evaluated only on failure.
#define TAILRACE_CHECK(condition, message)                                          \
  do {                                                                              \
    if (!(condition)) [[unlikely]]                                                  \
      ::tailrace::fatal(__FILE__, __LINE__,                                         \
                        std::string("check failed: " #condition ": ") + (message)); \
  } while (false)
