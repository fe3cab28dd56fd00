#include "core/thread.h"

#include <string>

#include <pthread.h>

namespace tailrace {

void name_thread(const char* name) {
  constexpr size_t kMost = 15;
  const std::string cut = std::string(name).substr(0, kMost);
  // A name is a convenience: nothing depends on it.
  (void)::pthread_setname_np(::pthread_self(), cut.c_str());
}

}  // namespace tailrace
