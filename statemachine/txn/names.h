#pragma once
// How long names may be: of keys, and of streams.

#include <cstddef>

namespace tailrace::statemachine {

inline constexpr size_t kMaxKeyBytes = 65535;
/// Of a stream's name, as clients may give it. What older logs have with longer names is read.
inline constexpr size_t kMaxStreamBytes = 1024;

}  // namespace tailrace::statemachine
