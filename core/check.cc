#include "core/check.h"

#include <cstdio>
#include <cstdlib>

namespace tailrace {

void fatal(const char* file, int line, const std::string& message) noexcept {
  std::fprintf(stderr, "tailrace: fatal: %s:%d: %s\n", file, line, message.c_str());
  std::fflush(stderr);
  std::abort();
}

}  // namespace tailrace
