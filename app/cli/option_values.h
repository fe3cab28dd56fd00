#pragma once
// Values of options and arguments: whole numbers, seconds, times to live and addresses. Each is
// checked where it is parsed, in full: decimal, all of it, within its limits. (The parser's own
// conversions take 010 as 8, 2^64 as the greatest number there is and "nan" as within any range.)

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/address.h"
#include "core/result.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace tailrace::app {

/// The greatest address that is taken: no log comes near it, and sums with it do not overflow.
inline constexpr Address kMostAddress{uint64_t{1} << 62};

/// kInvalidArgument unless the text is a decimal number of at most 64 bits.
Result<uint64_t> parse_whole_number(std::string_view text);
/// Milliseconds, or a time with a unit: 100, 100ms, 2s, "2 s", 1m. Nothing if it is neither.
std::optional<uint64_t> parse_milliseconds(std::string_view text);
/// kInvalidArgument, naming `option`, unless the text is a decimal number from 1 to kMostAddress.
/// `words`: what else may stand there, for the message: "'begin' or 'end'"; or nothing.
Result<Address> parse_address(std::string_view text, std::string_view option,
                              std::string_view words);

/// kInvalidArgument when --from is beyond --to.
Result<> check_order(Address from, Address to);

/// Have the option take a whole number within limits.
CLI::Option* whole_number(CLI::Option* option, uint64_t least, uint64_t most);
/// The same for bytes, with a unit or without: 4096, 64KiB, 256MiB, 1GiB.
CLI::Option* byte_size(CLI::Option* option, uint64_t most);
/// The same for seconds with a fraction, or a time with a unit: 0.5, 2, 500ms, 2s, "2 s", 1m.
CLI::Option* seconds_or_time(CLI::Option* option, double least, double most);
/// The same for seconds with a fraction alone.
CLI::Option* seconds(CLI::Option* option, double least, double most);
/// The same for a rate: operations a second, with a fraction.
CLI::Option* per_second(CLI::Option* option, double least, double most);
/// Has the option take HOST:PORT.
CLI::Option* host_port(CLI::Option* option);
/// The same for an address that others are to be told (core/host_port.h).
CLI::Option* reachable_host_port(CLI::Option* option);
/// Adds --ttl, in milliseconds.
CLI::Option* add_time_to_live(CLI::App& verb, uint64_t& milliseconds);

}  // namespace tailrace::app
