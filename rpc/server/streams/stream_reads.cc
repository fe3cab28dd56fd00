#include "rpc/server/streams/stream_reads.h"

#include <algorithm>
#include <string_view>

#include <fmt/format.h>

#include "rpc/server/streams/page_filler.h"
#include "statemachine/streams/stream_reader.h"

namespace tailrace::rpc {
namespace {

using statemachine::Direction;
using statemachine::StreamEntries;
using statemachine::StreamHead;

StreamState state_of(const StreamHead& head) {
  if (head.tombstoned) return StreamState::kTombstoned;
  if (head.deleted) return StreamState::kDeleted;
  return head.next > 0 ? StreamState::kExists : StreamState::kNone;
}

class StreamQueryRun {
 public:
  StreamQueryRun(const statemachine::StateMachine& machine, const EventSources& sources,
                 const StreamQuery& query, const std::function<bool()>& wanted)
      : machine_(machine), sources_(sources), query_(query), wanted_(wanted) {}

  Result<StreamPage> run() {
    const Direction direction = query_.backwards ? Direction::kBackwards : Direction::kForwards;
    const uint64_t from = query_.from.value_or(query_.backwards ? UINT64_MAX : 0);
    const size_t most = std::min(query_.most_events, kMostEventsOfAnswer);
    TAILRACE_ASSIGN_OR_RETURN(auto found,
                              machine_.stream_entries(query_.stream, from, most, direction));
    StreamPage page;
    if (!found.head) return page;
    page.state = state_of(*found.head);
    page.end = found.head->next;
    page.policy = found.head->policy;
    TAILRACE_ASSIGN_OR_RETURN(page.first, first_of_age(*found.head));
    drop_old(found.entries, page.first);
    // Forwards the first one may be above those that were looked at.
    if (most > 0 && found.entries.empty() && !query_.backwards && from < page.first &&
        page.first < page.end) {
      TAILRACE_ASSIGN_OR_RETURN(
          found, machine_.stream_entries(query_.stream, page.first, most, direction));
    }
    if (found.entries.empty()) return page;
    const auto filled = fill_page(sources_, query_, found.entries, page, wanted_);
    if (!filled && filled.error().code == ErrorCode::kTruncated) {
      // What was readable when it was looked up may be so no more, and then be in no file.
      TAILRACE_ASSIGN_OR_RETURN(const auto now, machine_.stream_head(query_.stream));
      const uint64_t asked = found.entries.front().version;
      if (now && asked < now->first && attempts_++ < kMostAttempts) return run();
      return truncated(asked, page.end);
    }
    TAILRACE_RETURN_IF_ERROR(filled);
    note_next(page);
    return page;
  }

 private:
  /// By the policy's age; the times stand in the records, and do not descend.
  Result<uint64_t> first_of_age(const StreamHead& head) {
    const uint64_t now_ns = machine_.log_time_ns();
    const uint64_t first = statemachine::first_readable(head, now_ns);
    const uint64_t max_age_ns = head.policy.max_age_ns;
    if (max_age_ns == 0 || first == head.next || now_ns < max_age_ns) return first;
    uint64_t low = first, high = head.next;
    while (low < high) {
      // The first one is asked for first: as a rule it is young enough.
      const uint64_t middle = low == first ? first : low + (high - low) / 2;
      TAILRACE_ASSIGN_OR_RETURN(const bool old, is_old(middle, now_ns - max_age_ns));
      if (old)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  }

  Result<bool> is_old(uint64_t version, uint64_t oldest_ns) {
    if (!wanted_()) return not_wanted();
    TAILRACE_ASSIGN_OR_RETURN(
        const auto found, machine_.stream_entries(query_.stream, version, 1, Direction::kForwards));
    if (found.entries.empty() || found.entries.front().version != version) return true;
    TAILRACE_ASSIGN_OR_RETURN(const uint64_t time_ns,
                              time_of_event(sources_, query_.stream, found.entries.front()));
    return time_ns <= oldest_ns;
  }

  static void drop_old(std::vector<StreamEntries::Entry>& entries, uint64_t first) {
    std::erase_if(entries, [&](const StreamEntries::Entry& one) { return one.version < first; });
  }

  void note_next(StreamPage& page) const {
    if (page.events.empty()) return;
    const uint64_t last = page.events.back().version;
    if (query_.backwards) {
      if (last > page.first) page.next = last - 1;
    } else if (last + 1 < page.end) {
      page.next = last + 1;
    }
  }

  /// The stream's places ascend with its versions: the first that is still there is found by
  /// halving.
  Result<StreamPage> truncated(uint64_t version, uint64_t end) {
    const Address begin = sources_.log.begin();
    uint64_t low = query_.backwards ? version + 1 : version, high = end;
    while (low < high) {
      const uint64_t middle = low + (high - low) / 2;
      TAILRACE_ASSIGN_OR_RETURN(const auto found, machine_.stream_entries(query_.stream, middle, 1,
                                                                          Direction::kForwards));
      const Address record{found.entries.empty() ? 0 : found.entries.front().place.record_address};
      if (record >= begin || (sources_.history && sources_.history->covers(record)))
        high = middle;
      else
        low = middle + 1;
    }
    const std::string rest =
        low < end ? fmt::format("the first that can be read is {}: read from there", low)
                  : fmt::format("none of its events can be read; the next one will be {}", end);
    const std::string_view keep = sources_.history
                                      ? "its event file is not on this node"
                                      : "history.keep: events keeps what the log truncates";
    return make_error(ErrorCode::kTruncated,
                      fmt::format("event {} of stream '{}' was truncated with the log before "
                                  "address {}; {}. {}",
                                  version, query_.stream, begin.value, rest, keep));
  }

  const statemachine::StateMachine& machine_;
  static constexpr int kMostAttempts = 3;

  const EventSources& sources_;
  const StreamQuery& query_;
  const std::function<bool()>& wanted_;
  int attempts_ = 0;
};

}  // namespace

Result<StreamPage> read_stream(const statemachine::StateMachine& machine,
                               const EventSources& sources, const StreamQuery& query,
                               const std::function<bool()>& wanted) {
  return StreamQueryRun(machine, sources, query, wanted).run();
}

}  // namespace tailrace::rpc
