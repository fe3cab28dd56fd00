#pragma once
// Up to where event files are to be without dead events: what the newest scavenge command has said.
// A pair of the state, under kScavengeKey (docs/formats/streams.md).

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "core/address.h"
#include "core/bytes.h"

namespace tailrace::statemachine {

inline constexpr std::string_view kScavengeKey = "mscavenge";

struct ScavengePoint {
  uint64_t count = 0;  // of commands; 0: there was none, and the rest says nothing
  Address to;          // the end of the newest one's record
  uint64_t log_time_ns = 0;
  bool operator==(const ScavengePoint&) const = default;
};

inline constexpr size_t kScavengePointBytes = 24;

inline std::array<std::byte, kScavengePointBytes> encode(const ScavengePoint& point) {
  std::array<std::byte, kScavengePointBytes> bytes;
  store(bytes.data(), point.count);
  store(bytes.data() + 8, point.to.value);
  store(bytes.data() + 16, point.log_time_ns);
  return bytes;
}

/// Nothing: it is none.
inline std::optional<ScavengePoint> decode_scavenge_point(ByteSpan value) {
  if (value.size() != kScavengePointBytes) return std::nullopt;
  return ScavengePoint{load<uint64_t>(value.data()), Address{load<uint64_t>(value.data() + 8)},
                       load<uint64_t>(value.data() + 16)};
}

}  // namespace tailrace::statemachine
