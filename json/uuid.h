#pragma once
// Ids of 16 bytes as people write them (RFC 9562): 32 hexadecimal digits, of either case, with
// dashes at their four places or without. Any thread.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tailrace {

using Uuid = std::array<std::byte, 16>;

/// Nothing when it is none.
std::optional<Uuid> parse_uuid(std::string_view text);
/// In lower case, with dashes.
std::string uuid_text(const Uuid& uuid);
/// A new one of version 7 from milliseconds of unix time and 74 random bits.
Uuid new_uuid(uint64_t unix_time_ms, uint64_t random_high, uint64_t random_low);

}  // namespace tailrace
