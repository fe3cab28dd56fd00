#pragma once

#include <cstddef>

namespace tailrace::statemachine {

/// Of a stream's name, as clients may give it. What older logs have with longer names is read.
inline constexpr size_t kMaxStreamBytes = 1024;

}  // namespace tailrace::statemachine
