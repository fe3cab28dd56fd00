#pragma once
// Judges whether what clients saw of streams can have happened. A stream shows its own order: the
// versions of its events. So nothing has to be searched for. Every append must stand where it was
// told, once and whole, and behind what it expected. And there must be a moment for each of them,
// between its invocation and its return and in the order of the versions, by which every read and
// every refusal has seen what it said.

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace tailrace::testing {

/// An event by its content: which append wrote it, and which of the append's events it is.
struct StreamEvent {
  uint64_t append = 0, index = 0;
  auto operator<=>(const StreamEvent&) const = default;
};

/// All events of each stream, by version: the most that anybody has read.
using StreamContents = std::map<std::string, std::vector<StreamEvent>>;

/// What a client asked of a stream, and what it was told.
struct StreamOperation {
  enum class Kind : uint8_t {
    kAppend,
    kRead,       // linearizable
    kStaleRead,  // of any node: what it saw was there when it returned
  };
  enum class Outcome : uint8_t {
    kDone,
    kRefused,  // an append that found something else than it expected, and changed nothing
    kUnknown,  // an append that happened once at any time after its invocation, or never
  };
  enum class Expected : uint8_t { kAny, kNone, kExists, kExact };

  Kind kind = Kind::kAppend;
  Outcome outcome = Outcome::kDone;
  std::string stream;
  // Of an append. Its events have the indices from `first_index` on.
  uint64_t number = 0, first_index = 0, events = 1;
  Expected expected = Expected::kAny;
  uint64_t expected_version = 0;
  uint64_t first_version = 0;  // done: where its first event is said to stand
  /// Refused, and reads: how many events the stream was said to have. None: nothing was said.
  std::optional<uint64_t> seen;
  /// Of any clock that all clients share.
  uint64_t invoked = 0, returned = 0;
};

/// The first broken sentence, if one is.
std::optional<std::string> judge_streams(const std::vector<StreamOperation>& operations,
                                         const StreamContents& contents);

/// What was answered from one place in the log; commands of several streams and keys have one.
struct PlacedAnswer {
  uint64_t position = 0, invoked = 0, returned = 0;
};
/// Whether the order of the places can be the order in which it happened.
std::optional<std::string> judge_order(std::vector<PlacedAnswer> answers);

}  // namespace tailrace::testing
