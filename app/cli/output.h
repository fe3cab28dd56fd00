#pragma once
// All that verbs write goes through here: nothing of it throws.
//
//   standard output  A write that fails (a full disk, a closed pipe) is kept: output_fails() says
//   so at once,
//                    flush_output() with what the system said, and main() makes exit code 4 of it.
//   standard error   A write that fails changes nothing: what a verb has to say besides may get
//   lost.
//
// One thread at a time.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "core/result.h"

namespace tailrace::app {

/// For verbs that print much: from here on standard output is written in large pieces, unless it is
/// a terminal. A write that fails is noticed as late as its piece is written. To be called before
/// anything is printed.
void gather_output();
/// Writes bytes as they are to standard output; they may stay in its buffer.
void write_out(std::string_view bytes);
/// Writes to standard error.
void write_error(std::string_view bytes);

template <typename... Arguments>
void print_out(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  write_out(fmt::format(format, std::forward<Arguments>(arguments)...));
}

template <typename... Arguments>
void print_error(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  write_error(fmt::format(format, std::forward<Arguments>(arguments)...));
}

/// Whether a write to standard output has failed: the verb may end, all else would be lost too.
bool output_fails();

/// Flushes standard output. kIo or kResourceExhausted when this or an earlier write failed.
Result<> flush_output();

/// Writes a value to standard output as it is, followed by a newline when that is a terminal, and
/// flushes it.
Result<> print_value(std::string_view value);

/// For people: "512 bytes", "1.5 KiB", "52.8 GiB".
std::string bytes_text(uint64_t bytes);

}  // namespace tailrace::app
