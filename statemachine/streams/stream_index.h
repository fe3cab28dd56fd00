#pragma once
// The index of streams: what each has, where its events are, and which ids came last. All of it is
// in the store, and nothing beside it: the same calls make the same pairs on every node, whenever
// that was started. stream_reader.h reads it, docs/formats/streams.md has the bytes.
//
// One thread, the store's writer. All writes of a call have the serial that it is given; several
// calls may have one serial, so that a checkpoint holds all or none of them. An error is final, as
// the store's are: what was refused is no error but an outcome, the same on every node.

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "core/result.h"
#include "kv/store.h"
#include "statemachine/outcomes/outcome_recorder.h"
#include "statemachine/streams/dropped_pages.h"
#include "statemachine/streams/recent_ids.h"
#include "statemachine/streams/stream.h"
#include "statemachine/streams/stream_cache.h"

namespace tailrace::statemachine {

/// Events for one stream, in their order; at least one.
struct StreamAppend {
  std::string_view stream;
  ExpectedVersion expected;
  std::span<const EventId> ids;  // of each event; or empty: none has one
  std::span<const EventPlace> places;
  uint64_t time_ns = 0;  // unix time; the stream's last, if that is later, counts instead
};

class StreamIndex {
 public:
  /// Reads the numbers of all streams. `store` and its `session` outlive the index.
  static Result<std::unique_ptr<StreamIndex>> open(kv::Store& store, kv::Session& session);

  /// Nobody has ever appended, or asked for a policy or an end.
  bool knows_no_stream() const { return numbers_ == StreamNumbers{}; }
  /// From now on it is told what becomes readable and unreadable; null: nobody is. Outlives this.
  void set_recorder(OutcomeRecorder* recorder) { recorder_ = recorder; }

  /// Begins to fetch what appends to these streams will need, from memory and from disk; does not
  /// wait (StreamCache). Optional. For what comes next: it forgets those of before.
  Result<> prefetch(std::span<const StreamAhead> ahead) { return cache_.prefetch(ahead); }

  /// How many of those are on the disk only.
  size_t cold() const { return cache_.cold(); }

  /// What there is of the stream.
  Result<StreamPresence> presence(std::string_view stream);
  /// Whether it is as expected, and what it is. A tombstoned stream never is.
  struct Checked {
    bool holds = false;
    StreamPresence found;
  };
  Result<Checked> check(std::string_view stream, ExpectedVersion expected);

  /// What append() would come to; nothing is written. The same errors.
  Result<AppendOutcome> preview(const StreamAppend& batch);
  /// Asks in this order: tombstoned, one id twice in the batch, replayed or partly there, expected
  /// version. kInvalidArgument when there is no event, an address is beyond
  /// EventPlace::kAddressEnd, or ids and events are not as many: to be refused before it is taken.
  Result<AppendOutcome> append(const StreamAppend& batch, kv::Serial at);

  /// The following answer what was there before; of a tombstoned stream that is all they do.

  /// Also of a stream that has no event yet. What is unreadable by max_count or truncate_before
  /// stays so, whatever the policy becomes. kInvalidArgument for a dedupe above kMostDedupe.
  Result<StreamPresence> set_policy(std::string_view stream, const PolicyChange& change,
                                    kv::Serial at);
  /// All its events are unreadable. It counts as not existing until the next append, which goes on
  /// with its numbers; policy and ids stay, so a repeated append does not bring it back. Without
  /// effect where there is no event.
  Result<StreamPresence> remove(std::string_view stream, kv::Serial at);
  /// For good: nothing is appended any more. Also of a stream that was never heard of.
  Result<StreamPresence> tombstone(std::string_view stream, kv::Serial at);

 private:
  StreamIndex(kv::Store& store, kv::Session& session)
      : session_(session), cache_(store, session), remover_(session, numbers_) {}

  Result<bool> is_refused(CachedStream& stream, const StreamAppend& batch, AppendOutcome& outcome);
  StreamHead& head_of(CachedStream& stream);
  /// The events' places, and what becomes unreadable by them.
  Result<> place(CachedStream& stream, const StreamAppend& batch, kv::Serial at);
  Result<> write_pages(CachedStream& stream, StreamVersion from, StreamVersion inline_begin,
                       std::span<const EventPlace> places, kv::Serial at);
  Result<std::string*> page_for(CachedStream& stream, StreamVersion from);
  Result<> give_up_old_pages(CachedStream& stream);
  Result<> remember(CachedStream& stream, const StreamAppend& batch, StreamVersion first,
                    kv::Serial at);
  Result<> limit_remembered(CachedStream& stream, kv::Serial at);
  Result<> write(CachedStream& stream, const StreamHead& before, uint64_t dropped_to,
                 kv::Serial at);

  kv::Session& session_;
  StreamNumbers numbers_, written_;
  StreamCache cache_;
  PageRemover remover_;
  IdMatcher matcher_;
  OutcomeRecorder* recorder_ = nullptr;
  std::string value_;
};

/// What an append may make the store write at most: for the leader, which knows the batch and
/// nothing of the stream (cost.h). Of a policy, a removal or a tombstone: that of an append of one
/// event with an id.
uint64_t most_store_bytes_of_append(size_t stream_bytes, size_t events, bool with_ids);

}  // namespace tailrace::statemachine
