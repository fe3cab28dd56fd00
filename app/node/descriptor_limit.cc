#include "app/node/descriptor_limit.h"

#include <sys/resource.h>

namespace tailrace::app {

uint64_t raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  const rlimit raised{limit.rlim_max, limit.rlim_max};
  if (limit.rlim_cur < limit.rlim_max && ::setrlimit(RLIMIT_NOFILE, &raised) == 0)
    return limit.rlim_max;
  return limit.rlim_cur;
}

}  // namespace tailrace::app
