#pragma once
// A cluster is an identity, not a name: two clusters may have the same name.

#include <compare>
#include <cstdint>
#include <string>

namespace tailrace {

/// 128 random bits, drawn once in a cluster's life. Zero: not known (yet).
struct ClusterIdentity {
  uint64_t high = 0, low = 0;

  constexpr auto operator<=>(const ClusterIdentity&) const = default;
  constexpr bool known() const { return high != 0 || low != 0; }
};

/// 32 hexadecimal digits; of one that is not known nothing.
inline std::string text_of(const ClusterIdentity& identity) {
  if (!identity.known()) return {};
  std::string text;
  for (const uint64_t half : {identity.high, identity.low})
    for (int shift = 60; shift >= 0; shift -= 4)
      text += "0123456789abcdef"[(half >> shift) & 15];
  return text;
}

}  // namespace tailrace
