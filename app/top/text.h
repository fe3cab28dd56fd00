#pragma once
// Text of a fixed width, for columns.

#include <cstdint>
#include <string>
#include <string_view>

#include "app/top/rates.h"

namespace tailrace::app::top {

/// Printable ASCII only, one character for each of the text's: what servers say goes to a terminal,
/// which must not take it for commands.
std::string plain(std::string_view text);

/// At most five characters, in units of 1024: "512B", "1.5K", "52G".
std::string short_bytes(uint64_t bytes);
/// At most five characters, in units of 1000: "0", "1.5", "340", "12k".
std::string short_count(double count);
/// "85 us", "1.2 ms", "3.4 s".
std::string short_time(double seconds);
/// "45s", "12m", "4h", "3d": since a start.
std::string short_age(double seconds);

/// "and 1 more node", "and 3 more nodes".
std::string and_more(size_t count, std::string_view what);

/// "-" where nothing is known.
std::string bytes_or_dash(const Number& bytes);
std::string rate_of_bytes_or_dash(const Figure& bytes);
std::string count_or_dash(const Figure& count);
std::string number_or_dash(const Number& number);

}  // namespace tailrace::app::top
