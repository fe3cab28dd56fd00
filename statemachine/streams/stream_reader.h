#pragma once
// Reads the index of streams, beside its writer. An answer is that of one moment for each stream:
// what was appended since the head was read is not in it, and what became unreadable since may be.
//
// Which events are too old (StreamPolicy::max_age_ns) the index does not know: their times are in
// their records. It drops whole pages of such events as the stream goes on, and all of it when its
// last event was too old at an append. Whatever else is too old the reader leaves out, who has the
// records and their times at hand: first_of_age() finds where to begin. So an append costs the same
// with or without an age, and a stream to which nobody appends becomes empty all the same.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "kv/store.h"
#include "statemachine/streams/stream_records.h"

namespace tailrace::statemachine {

/// The first version that may be readable at a log time. By max_count and truncate_before exactly,
/// by max_age when all is too old; else first_of_age() knows.
StreamVersion first_readable(const StreamHead& head, uint64_t log_time_ns);

enum class Direction : uint8_t { kForwards, kBackwards };

struct StreamEntries {
  struct Entry {
    StreamVersion version = 0;
    EventPlace place;
    bool operator==(const Entry&) const = default;
  };
  /// Ascending versions forwards, descending backwards, without a gap.
  std::vector<Entry> entries;
  /// As it was when the last of them was read; nothing: the stream was never heard of.
  std::optional<StreamHead> head;
};

/// `Source` is kv::Store: any thread, any number of readers on as many threads; or kv::Session: the
/// thread of the session. One thread a reader. Waits for the disk where a record is there.
template <typename Source>
class StreamReader {
 public:
  explicit StreamReader(Source& source) : source_(source) {}

  /// Nothing: it was never heard of.
  Result<std::optional<StreamHead>> head(std::string_view stream);
  /// Up to `most` events from version `from` on, or from it down. What is unreadable is left out:
  /// forwards it begins no earlier than with the first readable one, backwards no later than with
  /// the last.
  Result<StreamEntries> entries(std::string_view stream, StreamVersion from, size_t most,
                                Direction direction);
  /// The first version whose event is younger than max_age at that log time, or the stream's next.
  /// `time_of` says when an event was, in unix ns; it is asked for about a dozen events at most,
  /// plus two for each doubling of those that came with one append.
  using TimeOf = std::function<Result<uint64_t>(EventPlace)>;
  Result<StreamVersion> first_of_age(std::string_view stream, uint64_t log_time_ns,
                                     const TimeOf& time_of);

 private:
  /// False when it is gone, or was never written.
  Result<bool> load_page(const StreamHead& head, uint64_t page);
  /// Of a version that the head says is readable. Reads the head anew if its page is gone
  /// meanwhile: then the version may be readable no more, and there is no place.
  Result<std::optional<EventPlace>> place_of(std::optional<StreamHead>& head,
                                             std::string_view stream, StreamVersion version);
  Result<StreamVersion> first_on_young_page(const StreamHead& head, uint64_t oldest_ns);

  Source& source_;
  std::string key_, value_, page_;
  std::optional<std::pair<uint64_t, uint64_t>> loaded_;  // dense id and number of page_
};

extern template class StreamReader<kv::Store>;
extern template class StreamReader<kv::Session>;

/// How much a list may have: so many streams, and so many bytes, each stream with
/// kListedBytes beside its name; one is always let in.
struct StreamListLimits {
  static constexpr size_t kListedBytes = 80;
  size_t streams = SIZE_MAX;
  size_t bytes = SIZE_MAX;
};

/// Streams that exist and whose names begin with a prefix, in the order of their names, as of one
/// moment. The store knows no order of keys: each list reads all of its log, whatever the prefix,
/// in pieces, and keeps no more than it was asked for. So whoever lists many streams asks for many
/// at a time. One thread; not the applier's, for which the
/// scan waits (kv::Store::start_scan). End it: while it exists the store reclaims nothing.
class StreamList {
 public:
  struct Listed {
    std::string name;
    StreamHead head;
  };
  /// The first of those behind `after`, within the limits.
  static Result<std::unique_ptr<StreamList>> start(kv::Store& store, std::string_view prefix,
                                                   std::string_view after, StreamListLimits limits);
  /// Looks at so many bytes of the store's log. False when that was the end.
  Result<bool> next(uint64_t most_log_bytes);
  /// Once next() has said that that was the end.
  std::vector<Listed> take();
  /// Whether the limits have left out any, all of them behind those of take().
  bool is_cut() const { return bound_.has_value(); }

 private:
  StreamList(std::string_view after, StreamListLimits limits) : after_(after), limits_(limits) {}
  bool is_wanted(std::string_view name) const {
    return name > after_ && (!bound_ || name < *bound_);
  }
  Result<> note(std::string_view name, ByteSpan value);
  void leave_out_last();

  std::unique_ptr<kv::Scan> scan_;
  const std::string after_;
  const StreamListLimits limits_;
  std::vector<Listed> found_;         // a heap, the greatest name first
  size_t bytes_ = 0;                  // of what is found
  std::optional<std::string> bound_;  // the least of those that were left out
};

}  // namespace tailrace::statemachine
