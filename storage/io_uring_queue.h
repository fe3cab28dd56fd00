#pragma once

#include <memory>

#include "storage/file_system.h"

namespace tailrace::storage {

/// A queue on io_uring for PosixFile objects. kUnsupported where the kernel has none or forbids it.
Result<std::unique_ptr<IoQueue>> make_io_uring_queue(size_t depth);

}  // namespace tailrace::storage
