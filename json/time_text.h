#pragma once
// Times as people write them. Any thread.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tailrace {

/// The longest time that is taken: a hundred years. Log time and that are far below 2^64 ns.
inline constexpr uint64_t kMostDurationDays = 36500;

/// Milliseconds of a whole number with its unit, with a blank between them or without: 250ms, 30s,
/// "5 m", 1h, 7d. Nothing if it is none, has no unit, or is longer than kMostDurationDays.
std::optional<uint64_t> parse_duration_ms(std::string_view text);
/// Unix time in ns of a time by RFC 3339: 2026-12-01T00:00:00Z, 2026-12-01T01:00:00.5+01:00.
/// Nothing if it is none, before 1970, or beyond 64 bits.
std::optional<uint64_t> parse_rfc3339_ns(std::string_view text);
/// The same the other way, in UTC: with as many digits of the second as there are, up to nine.
std::string rfc3339_text(uint64_t unix_time_ns);

}  // namespace tailrace
