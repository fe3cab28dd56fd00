#include "statemachine/streams/stream_reader.h"

#include <algorithm>
#include <utility>

namespace tailrace::statemachine {
namespace {

/// Events at or before it are too old; nothing: none is.
std::optional<uint64_t> oldest_of(const StreamHead& head, uint64_t log_time_ns) {
  const uint64_t max_age_ns = head.policy.max_age_ns;
  if (max_age_ns == 0 || log_time_ns < max_age_ns) return std::nullopt;
  return log_time_ns - max_age_ns;
}

bool is_less(const StreamList::Listed& left, const StreamList::Listed& right) {
  return left.name < right.name;
}

size_t listed_bytes(std::string_view name) {
  return StreamListLimits::kListedBytes + name.size();
}

tl::unexpected<Error> lost_page(std::string_view stream, StreamVersion version) {
  return damaged_stream("event " + std::to_string(version) + " of the stream '" +
                        std::string(stream) + "' is on no page: its entry");
}

}  // namespace

StreamVersion first_readable(const StreamHead& head, uint64_t log_time_ns) {
  const auto oldest_ns = oldest_of(head, log_time_ns);
  return oldest_ns && head.last_time_ns <= *oldest_ns ? head.next : head.first;
}

template <typename Source>
Result<std::optional<StreamHead>> StreamReader<Source>::head(std::string_view stream) {
  head_key(stream, key_);
  auto read = source_.read(as_bytes(key_), value_);
  if (!read && read.error().code == ErrorCode::kNotFound) return std::nullopt;
  TAILRACE_RETURN_IF_ERROR(read);
  TAILRACE_ASSIGN_OR_RETURN(StreamHead decoded, decode_head(as_bytes(value_)));
  loaded_.reset();  // it may have got more events since
  return decoded;
}

template <typename Source>
Result<bool> StreamReader<Source>::load_page(const StreamHead& head, uint64_t page) {
  const std::pair wanted{head.dense_id, page};
  if (loaded_ == wanted) return true;
  loaded_.reset();
  page_key(head.dense_id, page, key_);
  auto read = source_.read(as_bytes(key_), page_);
  if (!read && read.error().code == ErrorCode::kNotFound) return false;
  TAILRACE_RETURN_IF_ERROR(read);
  TAILRACE_RETURN_IF_ERROR(check_page(as_bytes(page_)));
  loaded_ = wanted;
  return true;
}

template <typename Source>
Result<std::optional<EventPlace>> StreamReader<Source>::place_of(std::optional<StreamHead>& seen,
                                                                 std::string_view stream,
                                                                 StreamVersion version) {
  if (version >= seen->inline_begin()) return seen->inlined[version - seen->inline_begin()];
  TAILRACE_ASSIGN_OR_RETURN(const bool there, load_page(*seen, page_of(version)));
  if (there) {
    const EventPlace place = place_on(as_bytes(page_), version);
    if (place == EventPlace{}) return lost_page(stream, version);
    return place;
  }
  // A page goes once the head says that nothing on it is readable.
  TAILRACE_ASSIGN_OR_RETURN(seen, head(stream));
  if (!seen || version >= seen->first) return lost_page(stream, version);
  return std::nullopt;
}

template <typename Source>
Result<StreamEntries> StreamReader<Source>::entries(std::string_view stream, StreamVersion from,
                                                    size_t most, Direction direction) {
  StreamEntries found;
  TAILRACE_ASSIGN_OR_RETURN(found.head, head(stream));
  if (!found.head) return found;
  const bool forwards = direction == Direction::kForwards;
  const StreamVersion next = found.head->next;
  if (next == 0) return found;
  StreamVersion version = forwards ? std::max(from, found.head->first) : std::min(from, next - 1);
  while (found.entries.size() < most && version >= found.head->first && version < next) {
    TAILRACE_ASSIGN_OR_RETURN(const auto place, place_of(found.head, stream, version));
    if (!place) {
      // It became unreadable, and all before it. Those that were found already may stay.
      if (!forwards || !found.entries.empty()) break;
      version = found.head->first;
      continue;
    }
    found.entries.push_back({version, *place});
    if (!forwards && version == 0) break;
    version = forwards ? version + 1 : version - 1;
  }
  return found;
}

/// Events before it are on pages that were written last at or before `oldest_ns`.
template <typename Source>
Result<StreamVersion> StreamReader<Source>::first_on_young_page(const StreamHead& head,
                                                                uint64_t oldest_ns) {
  const StreamVersion paged = head.inline_begin();
  uint64_t low = page_of(head.first), high = paged <= head.first ? low : page_of(paged - 1) + 1;
  while (low < high) {
    const uint64_t middle = low + (high - low) / 2;
    TAILRACE_ASSIGN_OR_RETURN(const bool there, load_page(head, middle));
    // Gone: the index itself has dropped it meanwhile.
    if (!there || time_of_page(as_bytes(page_)) <= oldest_ns)
      low = middle + 1;
    else
      high = middle;
  }
  return std::clamp(low * kPageEvents, head.first, std::max(head.first, paged));
}

template <typename Source>
Result<StreamVersion> StreamReader<Source>::first_of_age(std::string_view stream,
                                                         uint64_t log_time_ns,
                                                         const TimeOf& time_of) {
  TAILRACE_ASSIGN_OR_RETURN(std::optional<StreamHead> seen, head(stream));
  if (!seen) return StreamVersion{0};
  const auto oldest_ns = oldest_of(*seen, log_time_ns);
  if (!oldest_ns || first_readable(*seen, log_time_ns) == seen->next)
    return first_readable(*seen, log_time_ns);
  TAILRACE_ASSIGN_OR_RETURN(StreamVersion low, first_on_young_page(*seen, *oldest_ns));
  const StreamVersion next = seen->next;
  // The last event is young enough. Steps that double find one that is, then halves the first.
  StreamVersion high = next - 1;
  const auto is_old = [&](StreamVersion version) -> Result<bool> {
    TAILRACE_ASSIGN_OR_RETURN(const auto place, place_of(seen, stream, version));
    if (!place) return true;
    TAILRACE_ASSIGN_OR_RETURN(const uint64_t time_ns, time_of(*place));
    return time_ns <= *oldest_ns;
  };
  for (uint64_t step = 1; low < high; step *= 2) {
    const StreamVersion version = std::min(high, low + step - 1);
    if (version == high) break;
    TAILRACE_ASSIGN_OR_RETURN(const bool old, is_old(version));
    if (!old) {
      high = version;
      break;
    }
    low = version + 1;
  }
  while (low < high) {
    const StreamVersion middle = low + (high - low) / 2;
    TAILRACE_ASSIGN_OR_RETURN(const bool old, is_old(middle));
    if (old)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

template class StreamReader<kv::Store>;
template class StreamReader<kv::Session>;

// ---- Lists.

Result<std::unique_ptr<StreamList>> StreamList::start(kv::Store& store, std::string_view prefix,
                                                      std::string_view after,
                                                      StreamListLimits limits) {
  std::string prefix_key;
  head_key(prefix, prefix_key);
  std::unique_ptr<StreamList> list(new StreamList(after, limits));
  // What is not wanted is not looked up: of a million streams that is all but a page of them.
  const auto wanted = [&list = *list](ByteSpan key, ByteSpan) {
    return list.is_wanted(as_text(key).substr(1));
  };
  TAILRACE_ASSIGN_OR_RETURN(list->scan_, store.start_scan(as_bytes(prefix_key), wanted));
  return list;
}

Result<bool> StreamList::next(uint64_t most_log_bytes) {
  Result<> result;
  const auto visit = [&](ByteSpan key, ByteSpan value) {
    if (result) result = note(as_text(key).substr(1), value);
  };
  TAILRACE_ASSIGN_OR_RETURN(const bool more, scan_->next(SIZE_MAX, most_log_bytes, visit));
  TAILRACE_RETURN_IF_ERROR(result);
  return more;
}

Result<> StreamList::note(std::string_view name, ByteSpan value) {
  if (!is_wanted(name)) return {};
  TAILRACE_ASSIGN_OR_RETURN(const StreamHead head, decode_head(value));
  if (!head.exists()) return {};
  found_.push_back({std::string(name), head});
  std::push_heap(found_.begin(), found_.end(), is_less);
  bytes_ += listed_bytes(name);
  while (found_.size() > limits_.streams || (bytes_ > limits_.bytes && found_.size() > 1))
    leave_out_last();
  return {};
}

void StreamList::leave_out_last() {
  std::pop_heap(found_.begin(), found_.end(), is_less);
  bytes_ -= listed_bytes(found_.back().name);
  bound_ = std::move(found_.back().name);
  found_.pop_back();
}

std::vector<StreamList::Listed> StreamList::take() {
  std::sort_heap(found_.begin(), found_.end(), is_less);
  return std::move(found_);
}

}  // namespace tailrace::statemachine
