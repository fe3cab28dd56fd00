#pragma once
// The table of a node's configuration keys. Reading the file, ranges, the hint of the nearest key
// and docs/reference/configuration.md come from it. Keys of members and of the coordinator are read
// by code of their own, and documented here; a test compares the two. Private to config/, and to
// the test that writes the page.

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/node_config.h"

namespace tailrace::config {

class YamlReader;

inline constexpr uint64_t kKiB = uint64_t{1} << 10;

/// Where a value goes; its type says how it is written in the file.
using Target =
    std::variant<bool*, uint32_t*, uint64_t*, double*, std::string*, std::vector<std::string>*,
                 std::chrono::milliseconds*, std::chrono::seconds*, uint8_t*>;

enum class Form : uint8_t {
  kText,
  kTexts,        // a list
  kFlag,         // true or false
  kNumber,       // a whole number
  kFraction,     // above 0, at most 1
  kSize,         // bytes, or with KiB, MiB, GiB
  kPowerOfTwo,   // a size that is one
  kTime,         // with ms, s, m, h
  kTimeOrNever,  // the same; 0 is no time but "never", whatever `least` says
  kAddress,      // HOST:PORT to listen on
  kChoice,       // one of `words`, the first of which stands for `least`
};

struct Key {
  std::string_view section;  // "" is the top
  std::string_view name;
  Form form;
  uint64_t least, most;    // of numbers, sizes (bytes) and times (ms)
  std::string_view words;  // of a choice, with a blank between them
  /// Nothing: its section's own code reads it, and this row documents it.
  Target (*target)(NodeConfig& config);
  std::string_view otherwise;  // what happens without it, where a default value would not say that
  std::string_view sentence;
};

std::span<const Key> keys();

/// With the greatest unit that divides it: "5 m".
std::string time_text(uint64_t ms);

/// Reads all keys of a section that have a target.
void read_section(YamlReader& reader, std::string_view section, NodeConfig& config);

/// The page, from the table and from the defaults of `NodeConfig`.
std::string reference_page();

}  // namespace tailrace::config
