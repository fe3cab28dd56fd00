#pragma once
// By which way requests go to the disk.

#include <cstdint>
#include <optional>
#include <string>

#include "storage/file_system.h"

namespace tailrace::storage {

enum class IoChoice : uint8_t {
  kAuto,     // io_uring, or ordinary system calls where there is none
  kIoUring,  // io_uring, or the error that says why there is none
  kPosix,    // ordinary system calls, one after the other
};

/// The operating system's files, with that kind of queue. One object without state for each choice.
FileSystem& posix_file_system(IoChoice choice);

/// Why there is no io_uring here, and what to do about it; nothing when there is one.
std::optional<std::string> io_uring_obstacle();

}  // namespace tailrace::storage
