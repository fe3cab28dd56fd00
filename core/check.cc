#include "core/check.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>

#include <unistd.h>

#include "core/last_words.h"

namespace tailrace {

namespace {

std::atomic<LastWordsListener> last_words{nullptr};
std::atomic<bool> telling{false};
thread_local bool tells = false;

/// Returns when it is told, or nobody is there to tell.
void tell(const char* file, int line, const std::string& message) {
  const LastWordsListener listener = last_words.load();
  if (listener == nullptr || tells) return;  // what the listener itself finds broken ends here
  // Another thread tells, and ends the process when it is done.
  while (telling.exchange(true))
    ::pause();
  tells = true;
  listener(std::string(file) + ":" + std::to_string(line) + ": " + message);
}

}  // namespace

void set_last_words_listener(LastWordsListener listener) noexcept {
  last_words.store(listener);
}

void fatal(const char* file, int line, const std::string& message) noexcept {
  std::fprintf(stderr, "tailrace: fatal: %s:%d: %s\n", file, line, message.c_str());
  std::fflush(stderr);
  tell(file, line, message);
  std::abort();
}

}  // namespace tailrace
