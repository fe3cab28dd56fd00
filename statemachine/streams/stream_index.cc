#include "statemachine/streams/stream_index.h"

#include <algorithm>
#include <array>
#include <utility>

namespace tailrace::statemachine {
namespace {

using AppendKind = AppendOutcome::Kind;
using PairState = FetchedPair::State;

// Of pages whose events have all become too old, as many are given up when a page is begun: more
// than were begun, so none stay behind.
constexpr int kMostGivenUp = 2;

StreamPresence presence_of(const std::optional<StreamHead>& head) {
  using State = StreamPresence::State;
  if (!head) return {};
  StreamPresence found;
  if (head->next > 0) found.last = head->next - 1;
  if (head->tombstoned)
    found.state = State::kTombstoned;
  else if (head->deleted)
    found.state = State::kDeleted;
  else if (head->next > 0)
    found.state = State::kExists;
  return found;
}

bool is_as_expected(ExpectedVersion expected, const StreamPresence& found) {
  using State = StreamPresence::State;
  if (found.state == State::kTombstoned) return false;
  switch (expected.kind) {
    case ExpectedVersion::Kind::kAny:
      return true;
    case ExpectedVersion::Kind::kNone:
      return found.state != State::kExists;
    case ExpectedVersion::Kind::kExists:
      return found.state == State::kExists;
    case ExpectedVersion::Kind::kExact:
      return found.last == expected.version;
  }
  return false;
}

Result<> check_batch(const StreamAppend& batch) {
  if (batch.places.empty())
    return make_error(ErrorCode::kInvalidArgument, "an append to a stream has no events");
  if (!batch.ids.empty() && batch.ids.size() != batch.places.size())
    return make_error(ErrorCode::kInvalidArgument,
                      "an append to a stream has " + std::to_string(batch.places.size()) +
                          " events and " + std::to_string(batch.ids.size()) + " ids");
  for (const EventPlace& place : batch.places)
    if (place.record_address >= EventPlace::kAddressEnd)
      return make_error(ErrorCode::kInvalidArgument,
                        "address " + std::to_string(place.record_address) +
                            " is beyond what the index of streams can hold");
  return {};
}

bool is_too_old(uint64_t time_ns, uint64_t now_ns, uint64_t max_age_ns) {
  return max_age_ns != 0 && time_ns <= now_ns && now_ns - time_ns >= max_age_ns;
}

void limit_count(StreamHead& head) {
  const uint64_t most = head.policy.max_count;
  if (most != 0 && head.next > most) head.first = std::max(head.first, head.next - most);
}

}  // namespace

Result<std::unique_ptr<StreamIndex>> StreamIndex::open(kv::Store& store, kv::Session& session) {
  std::unique_ptr<StreamIndex> index(new StreamIndex(store, session));
  std::string value;
  auto read = session.read(as_bytes(kStreamsKey), value);
  if (!read && read.error().code != ErrorCode::kNotFound)
    return tl::unexpected(std::move(read).error());
  if (read) {
    TAILRACE_ASSIGN_OR_RETURN(index->numbers_, decode_numbers(as_bytes(value)));
  }
  index->written_ = index->numbers_;
  return index;
}

Result<StreamPresence> StreamIndex::presence(std::string_view stream) {
  TAILRACE_ASSIGN_OR_RETURN(const CachedStream* const found, cache_.find(stream));
  return presence_of(found->head);
}

Result<StreamIndex::Checked> StreamIndex::check(std::string_view stream, ExpectedVersion expected) {
  TAILRACE_ASSIGN_OR_RETURN(const StreamPresence found, presence(stream));
  return Checked{is_as_expected(expected, found), found};
}

// ---- Appends.

Result<AppendOutcome> StreamIndex::preview(const StreamAppend& batch) {
  TAILRACE_RETURN_IF_ERROR(check_batch(batch));
  TAILRACE_ASSIGN_OR_RETURN(CachedStream* const stream, cache_.find(batch.stream));
  AppendOutcome outcome;
  outcome.found = presence_of(stream->head);
  TAILRACE_ASSIGN_OR_RETURN(const bool refused, is_refused(*stream, batch, outcome));
  if (refused) return outcome;
  outcome.first = stream->head ? stream->head->next : 0;
  outcome.last = outcome.first + batch.places.size() - 1;
  return outcome;
}

Result<AppendOutcome> StreamIndex::append(const StreamAppend& batch, kv::Serial at) {
  TAILRACE_RETURN_IF_ERROR(check_batch(batch));
  TAILRACE_ASSIGN_OR_RETURN(CachedStream* const stream, cache_.find(batch.stream));
  AppendOutcome outcome;
  outcome.found = presence_of(stream->head);
  TAILRACE_ASSIGN_OR_RETURN(const bool refused, is_refused(*stream, batch, outcome));
  if (refused) return outcome;
  StreamHead& head = head_of(*stream);
  const StreamHead before = head;
  outcome.first = head.next;
  outcome.last = head.next + batch.places.size() - 1;
  TAILRACE_RETURN_IF_ERROR(place(*stream, batch, at));
  TAILRACE_RETURN_IF_ERROR(remember(*stream, batch, outcome.first, at));
  if (recorder_)
    recorder_->appended(head.dense_id, batch.places.front().ordinal, batch.places.size(),
                        outcome.first);
  TAILRACE_RETURN_IF_ERROR(write(*stream, before, page_of(head.first), at));
  return outcome;
}

/// True when nothing is to be written: `outcome` says why.
Result<bool> StreamIndex::is_refused(CachedStream& stream, const StreamAppend& batch,
                                     AppendOutcome& outcome) {
  const auto refuse = [&outcome](AppendKind kind) {
    outcome.kind = kind;
    return true;
  };
  if (stream.head && stream.head->tombstoned) return refuse(AppendKind::kTombstoned);
  if (!batch.ids.empty()) {
    ByteSpan ring;
    if (stream.head && stream.head->remembers_ids) {
      TAILRACE_RETURN_IF_ERROR(cache_.load_ids(stream));
      ring = as_bytes(stream.ids.value);
    }
    const IdMatch match = matcher_.match(ring, batch.ids);
    outcome.index = match.index;
    if (match.kind == IdMatch::Kind::kRepeated) return refuse(AppendKind::kRepeatedId);
    if (match.kind == IdMatch::Kind::kPartial) return refuse(AppendKind::kPartialMatch);
    if (match.kind == IdMatch::Kind::kReplayed) {
      outcome.first = match.first;
      outcome.last = match.first + batch.places.size() - 1;
      return refuse(AppendKind::kReplayed);
    }
  }
  if (!is_as_expected(batch.expected, outcome.found)) return refuse(AppendKind::kWrongVersion);
  const StreamVersion next = stream.head ? stream.head->next : 0;
  if (batch.places.size() > kVersionEnd - next) return refuse(AppendKind::kFull);
  return false;
}

/// Made if there is none.
StreamHead& StreamIndex::head_of(CachedStream& stream) {
  if (!stream.head) {
    stream.head.emplace();
    stream.head->dense_id = numbers_.next_dense_id++;
  }
  return *stream.head;
}

Result<> StreamIndex::place(CachedStream& stream, const StreamAppend& batch, kv::Serial at) {
  StreamHead& head = *stream.head;
  const uint64_t time_ns = std::max(head.last_time_ns, batch.time_ns);
  if (is_too_old(head.last_time_ns, time_ns, head.policy.max_age_ns)) head.first = head.next;
  const StreamVersion inline_begin = head.inline_begin(), placed = head.next;
  head.next += batch.places.size();
  head.deleted = false;
  head.last_place = batch.places.back();
  head.last_time_ns = time_ns;
  limit_count(head);
  // What is unreadable already reaches no page.
  const StreamVersion kept = std::max(inline_begin, head.first);
  if (head.next - kept > StreamHead::kMostInline) {
    TAILRACE_RETURN_IF_ERROR(write_pages(stream, kept, inline_begin, batch.places, at));
    head.inline_count = 0;
    if (page_of(kept) != page_of(head.next)) return give_up_old_pages(stream);
    return {};
  }
  size_t count = 0;
  for (StreamVersion version = kept; version < head.next; ++version)
    head.inlined[count++] =
        version < placed ? head.inlined[version - inline_begin] : batch.places[version - placed];
  head.inline_count = count;
  return {};
}

/// All from `from` on: first those in the head, which begin with `inline_begin`, then `places`.
Result<> StreamIndex::write_pages(CachedStream& stream, StreamVersion from,
                                  StreamVersion inline_begin, std::span<const EventPlace> places,
                                  kv::Serial at) {
  const StreamHead& head = *stream.head;
  const StreamVersion placed = head.next - places.size();
  for (StreamVersion version = from; version < head.next;) {
    TAILRACE_ASSIGN_OR_RETURN(std::string* const page, page_for(stream, version));
    const StreamVersion end = std::min(head.next, (page_of(version) + 1) * kPageEvents);
    for (; version < end; ++version)
      set_place_on(
          *page, version,
          version < placed ? head.inlined[version - inline_begin] : places[version - placed]);
    set_time_of_page(*page, head.last_time_ns);
    TAILRACE_RETURN_IF_ERROR(session_.upsert(as_bytes(stream.page.key), as_bytes(*page), at));
  }
  return {};
}

/// The page where events from `from` on are to be written; none was yet.
Result<std::string*> StreamIndex::page_for(CachedStream& stream, StreamVersion from) {
  FetchedPair& page = stream.page;
  if (from % kPageEvents != 0) {
    TAILRACE_RETURN_IF_ERROR(cache_.load_page(stream, page_of(from)));
    if (page.state == PairState::kFound) TAILRACE_RETURN_IF_ERROR(check_page(as_bytes(page.value)));
  } else {
    stream.page_number = page_of(from);
    page_key(stream.head->dense_id, stream.page_number, page.key);
    page.state = PairState::kAbsent;
  }
  if (page.state == PairState::kAbsent) page.value.assign(kPageBytes, '\0');
  page.state = PairState::kFound;
  return &page.value;
}

/// By max_age, page by page; what is younger on a page is the readers' to leave out.
Result<> StreamIndex::give_up_old_pages(CachedStream& stream) {
  StreamHead& head = *stream.head;
  if (head.policy.max_age_ns == 0) return {};
  std::string key;
  for (int i = 0; i < kMostGivenUp && page_of(head.first) < page_of(head.next); ++i) {
    page_key(head.dense_id, page_of(head.first), key);
    auto read = session_.read(as_bytes(key), value_);
    // It has no events but those that were unreadable before they came to it.
    if (!read && read.error().code == ErrorCode::kNotFound) return {};
    TAILRACE_RETURN_IF_ERROR(read);
    TAILRACE_RETURN_IF_ERROR(check_page(as_bytes(value_)));
    if (!is_too_old(time_of_page(as_bytes(value_)), head.last_time_ns, head.policy.max_age_ns))
      return {};
    head.first = (page_of(head.first) + 1) * kPageEvents;
  }
  return {};
}

Result<> StreamIndex::remember(CachedStream& stream, const StreamAppend& batch, StreamVersion first,
                               kv::Serial at) {
  if (batch.ids.empty()) return {};
  StreamHead& head = *stream.head;
  if (!head.remembers_ids) stream.ids.value.clear();
  if (!remember_ids(stream.ids.value, batch.ids, first, head.policy.dedupe)) return {};
  head.remembers_ids = true;
  stream.ids.state = PairState::kFound;
  ids_key(head.dense_id, stream.ids.key);
  return session_.upsert(as_bytes(stream.ids.key), as_bytes(stream.ids.value), at);
}

/// The head, once all that it speaks of is there; then what it does not speak of any more goes:
/// readers that miss a page find out from the head that it is gone. Pages below `dropped_to` go.
Result<> StreamIndex::write(CachedStream& stream, const StreamHead& before, uint64_t dropped_to,
                            kv::Serial at) {
  if (recorder_ && stream.head->first != before.first)
    recorder_->unreadable_below(stream.head->dense_id, stream.head->first);
  encode_head(*stream.head, value_);
  TAILRACE_RETURN_IF_ERROR(session_.upsert(as_bytes(stream.stored_head.key), as_bytes(value_), at));
  // Behind the last event on a page no page was ever written.
  const StreamVersion paged = before.inline_begin();
  const uint64_t end = paged == 0 ? 0 : page_of(paged - 1) + 1;
  const DroppedPages dropped{before.dense_id, page_of(before.first), std::min(dropped_to, end)};
  TAILRACE_RETURN_IF_ERROR(remover_.drop(dropped, at));
  TAILRACE_RETURN_IF_ERROR(remover_.go_on(at));
  if (numbers_ == written_) return {};
  written_ = numbers_;
  return session_.upsert(as_bytes(kStreamsKey), as_bytes(encode_numbers(numbers_)), at);
}

// ---- Policies, and ends.

Result<StreamPresence> StreamIndex::set_policy(std::string_view name, const PolicyChange& change,
                                               kv::Serial at) {
  if (change.dedupe.value_or(0) > kMostDedupe)
    return make_error(ErrorCode::kInvalidArgument,
                      "a stream remembers the ids of " + std::to_string(kMostDedupe) +
                          " events at most, not of " + std::to_string(*change.dedupe));
  TAILRACE_ASSIGN_OR_RETURN(CachedStream* const stream, cache_.find(name));
  const StreamPresence found = presence_of(stream->head);
  if (found.state == StreamPresence::State::kTombstoned) return found;
  StreamHead& head = head_of(*stream);
  const StreamHead before = head;
  StreamPolicy& policy = head.policy;
  policy.max_count = change.max_count.value_or(policy.max_count);
  policy.max_age_ns = change.max_age_ns.value_or(policy.max_age_ns);
  policy.dedupe = change.dedupe.value_or(policy.dedupe);
  head.first = std::max(head.first, std::min(head.next, change.truncate_before.value_or(0)));
  limit_count(head);
  if (policy.dedupe < before.policy.dedupe) TAILRACE_RETURN_IF_ERROR(limit_remembered(*stream, at));
  TAILRACE_RETURN_IF_ERROR(write(*stream, before, page_of(head.first), at));
  return found;
}

Result<> StreamIndex::limit_remembered(CachedStream& stream, kv::Serial at) {
  StreamHead& head = *stream.head;
  if (!head.remembers_ids) return {};
  TAILRACE_RETURN_IF_ERROR(cache_.load_ids(stream));
  limit_ids(stream.ids.value, head.policy.dedupe);
  if (!stream.ids.value.empty())
    return session_.upsert(as_bytes(stream.ids.key), as_bytes(stream.ids.value), at);
  head.remembers_ids = false;
  TAILRACE_RETURN_IF_ERROR(session_.erase(as_bytes(stream.ids.key), at));
  return {};
}

Result<StreamPresence> StreamIndex::remove(std::string_view name, kv::Serial at) {
  TAILRACE_ASSIGN_OR_RETURN(CachedStream* const stream, cache_.find(name));
  const StreamPresence found = presence_of(stream->head);
  if (found.state != StreamPresence::State::kExists) return found;
  StreamHead& head = *stream->head;
  const StreamHead before = head;
  head.first = head.next;
  head.deleted = true;
  head.inline_count = 0;
  // The page where the numbers go on stays: it will be written again.
  TAILRACE_RETURN_IF_ERROR(write(*stream, before, page_of(head.next), at));
  return found;
}

Result<StreamPresence> StreamIndex::tombstone(std::string_view name, kv::Serial at) {
  TAILRACE_ASSIGN_OR_RETURN(CachedStream* const stream, cache_.find(name));
  const StreamPresence found = presence_of(stream->head);
  if (found.state == StreamPresence::State::kTombstoned) return found;
  StreamHead& head = head_of(*stream);
  const StreamHead before = head;
  head.first = head.next;
  head.deleted = false;
  head.tombstoned = true;
  head.inline_count = 0;
  head.policy = {};
  if (std::exchange(head.remembers_ids, false)) {
    ids_key(head.dense_id, stream->ids.key);
    TAILRACE_RETURN_IF_ERROR(session_.erase(as_bytes(stream->ids.key), at));
    stream->ids.state = PairState::kUnknown;
  }
  TAILRACE_RETURN_IF_ERROR(write(*stream, before, UINT64_MAX, at));
  return found;
}

// ---- Cost.

uint64_t most_store_bytes_of_append(size_t stream_bytes, size_t events, bool with_ids) {
  // Of a record in the store beside key and value: header, lengths, alignment.
  constexpr uint64_t kRecord = 64;
  constexpr uint64_t kMostHead = 128, kPageKeyBytes = 13;
  // The pages and lists of pages that a call removes leave an empty record each, and a list and the
  // numbers are written.
  constexpr uint64_t kRemoved = (2 * PageRemover::kAtOnce + 4) * kRecord;
  const uint64_t pages = (events + StreamHead::kMostInline) / kPageEvents + 2;
  uint64_t bytes = kRecord + 1 + stream_bytes + kMostHead + kRemoved;
  if (events > 0) bytes += pages * (kRecord + kPageKeyBytes + kPageBytes);
  if (with_ids) bytes += kRecord + 9 + ring_bytes(kMostDedupe);
  return bytes;
}

}  // namespace tailrace::statemachine
