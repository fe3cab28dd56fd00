#include "net/descriptors.h"

#include <sys/resource.h>

namespace tailrace::net {

bool leaves_too_few(int descriptor, int held_back) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || descriptor < 0) return false;
  return static_cast<rlim_t>(descriptor) + static_cast<rlim_t>(held_back) >= limit.rlim_cur;
}

}  // namespace tailrace::net
