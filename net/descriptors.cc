#include "net/descriptors.h"

#include <algorithm>

#include <sys/resource.h>

namespace tailrace::net {

bool leaves_too_few(int descriptor, bool of_nodes) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || descriptor < 0) return false;
  const rlim_t held_back = std::clamp<rlim_t>(limit.rlim_cur / 4, 64, 1024);
  return static_cast<rlim_t>(descriptor) + (of_nodes ? held_back / 4 * 3 : held_back) >=
         limit.rlim_cur;
}

}  // namespace tailrace::net
