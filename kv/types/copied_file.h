#pragma once

#include <cstdint>
#include <string>

namespace tailrace::kv {

/// One of the files that a checkpoint's copy consists of.
struct CopiedFile {
  std::string name;  // relative to the store's directory, with '/': "log/0000000000000000.log"
  uint64_t bytes = 0;
  bool operator==(const CopiedFile&) const = default;
};

}  // namespace tailrace::kv
