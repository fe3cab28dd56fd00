#pragma once
// Events of a stream: where they are the state says, what they are the log. Plain requests and
// answers, for whatever speaks to clients; neither sockets nor a wire format are known here.
// Internal.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fasterlog/log.h"
#include "history/history.h"
#include "statemachine/state_machine.h"

namespace tailrace::rpc {

/// An answer has no more events, and about so many bytes of them; one event may be longer.
inline constexpr size_t kMostEventsOfAnswer = 4096;
inline constexpr size_t kAnswerBytes = 1u << 20;
/// And no more of the log is read for it, but for the record that comes to more: an event may lie
/// in a record that is much longer than it, or far from the next one.
inline constexpr size_t kReadBytes = 16u << 20;

struct StreamQuery {
  std::string stream;
  /// The first event of the answer; nothing: the first one that is readable, or backwards the last.
  std::optional<uint64_t> from;
  bool backwards = false;
  size_t most_events = kMostEventsOfAnswer;  // 0: only what there is of the stream
};

enum class StreamState : uint8_t { kNone = 0, kExists = 1, kDeleted = 2, kTombstoned = 3 };

struct StreamPage {
  struct Event {
    uint64_t version = 0;
    uint64_t position = 0;  // of its header in the log
    uint64_t time_ns = 0;   // unix time
    std::string bytes;      // its header and what follows, as docs/formats/txn.md has it
  };
  StreamState state = StreamState::kNone;
  uint64_t first = 0, end = 0;  // the versions that are readable: from first to before end
  statemachine::StreamPolicy policy;
  std::vector<Event> events;  // in the order that was asked for
  /// The version to go on from; nothing: there is no more in that direction (now).
  std::optional<uint64_t> next;
};

/// Where events are: the newest in the log, those that were truncated with it in history.
struct EventSources {
  fasterlog::Log& log;
  history::History* history = nullptr;  // null: nothing is kept
};

/// Waits for the disk; any thread but the applier's. kTruncated when neither the log nor history
/// has the event that was asked for: the message names the first version that is there. What `from`
/// names beyond the end is not there yet: no events. `wanted` is asked between records: kCancelled
/// once it says no.
Result<StreamPage> read_stream(const statemachine::StateMachine& machine,
                               const EventSources& sources, const StreamQuery& query,
                               const std::function<bool()>& wanted);

struct StreamsQuery {
  std::string prefix, after;  // names that begin with the one, and come behind the other
  size_t most_streams = 0;
};
struct StreamsPage {
  std::vector<statemachine::StreamList::Listed> streams;  // by their names
  bool more = false;                                      // there may be more behind the last one
};
/// Each answer costs a look at all of the store, so it may be long: a million streams are 30 of
/// them. (Of the version before this, clients asked for 1,024 at most, and servers gave no more.)
inline constexpr size_t kMostStreamsOfAnswer = 65'536;
inline constexpr size_t kListAnswerBytes = 4u << 20;

/// Reads all of the store, whatever the prefix. A stream whose events are all too old has none that
/// is readable; which of the others are too old read_stream() finds out. `wanted` is asked now and
/// then: kCancelled once it says no. Otherwise as read_stream().
Result<StreamsPage> list_streams(statemachine::StateMachine& machine, const StreamsQuery& query,
                                 const std::function<bool()>& wanted);

/// kInvalidArgument: no stream can be called so.
Result<> check_stream_name(std::string_view name);

}  // namespace tailrace::rpc
