#pragma once
// An event as it stands in an event file, and what is known of a file from its name alone.

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "core/address.h"
#include "core/bytes.h"
#include "statemachine/txn/txn.h"

namespace tailrace::history {

/// Versions in one stream ascend with positions in the log. Views; whoever gives one says how long
/// they are valid.
struct EventEntry {
  std::string_view stream;  // 1 to kMostNameBytes bytes
  uint64_t version = 0;     // in its stream
  Address position;         // the log address of its header
  Address record_address;   // of the record that has it
  Epoch epoch;              // the record's
  uint64_t time_ns = 0;     // unix time
  std::string_view type;    // empty: none
  std::optional<statemachine::EventIdBytes> id;
  std::span<const std::string_view> tags;
  ByteSpan metadata;
  statemachine::ContentType content_type = statemachine::ContentType::kBytes;
  ByteSpan data;
};

inline constexpr size_t kMostNameBytes = 1024;  // of a stream; types and tags are shorter

/// No event of the stream below the version is readable any more. Floors never go back.
struct StreamFloor {
  std::string_view stream;  // 1 to kMostNameBytes bytes
  uint64_t version = 0;     // not 0
  bool operator==(const StreamFloor&) const = default;
};

/// By what events are found, beside their position. The numbers are those of the format.
enum class IndexKind : uint8_t {
  kStream = 1,
  kCategory = 2,  // the stream's name up to its first '-', or all of it if it has none
  kType = 3,
  kTag = 4,
  kLast = kTag
};

/// Empty only for a name that begins with '-': such a stream is in no category.
constexpr std::string_view category_of(std::string_view stream) {
  return stream.substr(0, stream.find('-'));
}

enum class Order : uint8_t { kForwards, kBackwards };

/// XXH3-128 of what a file holds, whatever it was compressed with: nodes compare it.
struct ContentDigest {
  uint64_t high = 0, low = 0;
  auto operator<=>(const ContentDigest&) const = default;
};

/// What a file's name says. Two files with the same range, revision and digest hold the same
/// events; their bytes may differ.
struct EventFileInfo {
  AddressRange range;     // of the log: events alive whose records begin there are in the file
  uint32_t revision = 0;  // how many events were left out since the file was first written
  ContentDigest digest;
  uint64_t bytes = 0;  // on disk
  bool operator==(const EventFileInfo&) const = default;
};

}  // namespace tailrace::history
