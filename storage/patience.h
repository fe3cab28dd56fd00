#pragma once
// What the system lacks only for a moment: descriptors, memory of the kernel. It says nothing about
// the disk, so nobody may take it for a failed one. A call that failed for it has done nothing and
// is made again.

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>

namespace tailrace::storage {

/// After so long it is an error like any other.
inline constexpr std::chrono::seconds kPatience{10};

constexpr bool is_short_for_now(int error_number) {
  return error_number == EMFILE || error_number == ENFILE || error_number == ENOMEM ||
         error_number == ENOBUFS || error_number == EAGAIN || error_number == EINTR;
}

/// Makes the call again while it returns less than 0 and errno says that something is short.
/// `call` must have no effect when it fails so. Not for a sync: there any error is final.
template <typename Call>
auto with_patience(const Call& call) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  auto pause = std::chrono::milliseconds(1);
  for (;;) {
    const auto result = call();
    if (result >= 0 || !is_short_for_now(errno) || std::chrono::steady_clock::now() >= until)
      return result;
    if (errno == EINTR) continue;
    std::this_thread::sleep_for(pause);
    pause = std::min(2 * pause, std::chrono::milliseconds(100));
  }
}

}  // namespace tailrace::storage
