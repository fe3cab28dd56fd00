#pragma once
// What the next commands need of streams, fetched before it is needed: applied one by one, each
// cold head would cost the applier a read of the disk. First the heads of all, side by side, then
// the ids and pages that they name. What was fetched stays right, for the same thread writes it.
// One thread, the store's writer; keeps its memory.

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "kv/store.h"
#include "statemachine/streams/stream_records.h"

namespace tailrace::statemachine {

/// An append that is to come.
struct StreamAhead {
  std::string_view stream;
  size_t events = 1;
};

/// One pair of the store.
struct FetchedPair {
  enum class State : uint8_t { kUnknown, kOnItsWay, kAbsent, kFound };
  State state = State::kUnknown;
  std::string key, value;
};

/// A stream while it is being changed. Whoever changes it writes to the store, too.
struct CachedStream {
  std::optional<StreamHead> head;  // nothing: the stream was never heard of
  FetchedPair stored_head, ids, page;
  uint64_t page_number = 0;  // that of `page`, unless its state is kUnknown

 private:
  friend class StreamCache;
  size_t hash = 0, events = 0;
  bool is_decoded = false;
};

class StreamCache {
 public:
  /// As many are fetched at a time.
  static constexpr size_t kMost = 128;

  StreamCache(kv::Store& store, kv::Session& session) : store_(store), session_(session) {}

  /// Forgets those of before, and begins to fetch these; does not wait for the disk unless what was
  /// fetched before was never asked for. Those beyond kMost are left out.
  Result<> prefetch(std::span<const StreamAhead> ahead);
  /// How many heads of those that prefetch() was told of last are on the disk only.
  size_t cold() const { return cold_; }
  /// Waits for what has not come yet. Valid until the next find() or prefetch().
  Result<CachedStream*> find(std::string_view stream);
  /// Of a stream with remembers_ids. Waits for the disk if they were not fetched.
  Result<> load_ids(CachedStream& stream);
  /// The page of that number into `page`: kFound or kAbsent.
  Result<> load_page(CachedStream& stream, uint64_t number);

 private:
  void begin(CachedStream& slot, std::string_view stream, size_t hash);
  CachedStream* known(std::string_view stream, size_t hash);
  void prefetch_all();
  /// What is in memory at once, what is on disk by the session's reads; then what a head says that
  /// is needed, too.
  void fetch(FetchedPair& pair, CachedStream* head_of);
  Result<> load(FetchedPair& pair);
  /// Waits for all that is on its way.
  Result<> wait();
  /// Of all whose head has come: what it says that is needed.
  Result<> fetch_rest();
  /// Decodes its head; null: not needed.
  Result<std::array<FetchedPair*, 2>> rest_of(CachedStream& slot);
  Result<> decode(CachedStream& slot);

  kv::Store& store_;
  kv::Session& session_;
  std::vector<CachedStream> slots_;  // kMost of them, once needed
  size_t count_ = 0;                 // of slots_
  CachedStream single_;              // one that was not fetched ahead
  struct Wanted {
    FetchedPair* pair;
    CachedStream* head_of;  // null: it is no head
  };
  std::array<Wanted, kMost * 2> wanted_;
  size_t wanted_count_ = 0, cold_ = 0;
  bool is_complete_ = true;  // nothing is on its way, and fetch_rest() is done for all
  std::optional<Error> error_;
};

}  // namespace tailrace::statemachine
