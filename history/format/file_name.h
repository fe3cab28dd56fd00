#pragma once
// Names of event files. All that a catalogue needs to know of a file stands there, so that it opens
// none of ten thousand:
//
//   <from>-<to>.<revision>.<digest>.<bytes>.events
//
// in hexadecimal; from and to of 16 digits, so that names sort by range, the revision of 8, the
// digest of 32, the bytes of 16. Internal.

#include <optional>
#include <string>
#include <string_view>

#include "history/format/event_entry.h"

namespace tailrace::history {

inline constexpr std::string_view kEventFileSuffix = ".events";
/// What is being written or has come, under a name of its own, and is no file yet.
inline constexpr std::string_view kTemporarySuffix = ".tmp";
/// What was found damaged, until there is a sound file of its range.
inline constexpr std::string_view kDamagedSuffix = ".damaged";

std::string name_of(const EventFileInfo& info);
/// Nothing: not such a name. What it says is possible: the range is not empty.
std::optional<EventFileInfo> parse_file_name(std::string_view name);
/// "0123…", 32 digits.
std::string text_of(const ContentDigest& digest);

}  // namespace tailrace::history
