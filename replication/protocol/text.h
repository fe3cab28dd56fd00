#pragma once

// How the core's reasons name addresses and nodes.

#include <string>

#include "core/address.h"

namespace tailrace::replication {

inline std::string text(Address address) {
  return std::to_string(address.value);
}
inline std::string text(NodeId node) {
  return std::to_string(node.value);
}

}  // namespace tailrace::replication
