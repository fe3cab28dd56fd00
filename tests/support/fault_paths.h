#pragma once
// How the fault disk writes the names of its files. Internal.

#include <string>

#include "storage/file_system.h"

namespace tailrace::testing {

inline std::string normal(const storage::Path& path) {
  return path.lexically_normal().string();
}
inline std::string parent_of(const std::string& path) {
  return storage::Path(path).parent_path().string();
}

}  // namespace tailrace::testing
