#pragma once

#include <memory>

#include "storage/file_system.h"

namespace tailrace::storage {

/// A queue that does each request when wait() is called, by ordinary system calls: for kernels and
/// containers without io_uring. Correct, not fast.
Result<std::unique_ptr<IoQueue>> make_posix_queue();

}  // namespace tailrace::storage
