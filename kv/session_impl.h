#pragma once
// A session's inside: what it needs to try an operation, wait for what the operation lacks, and try
// again. The waiting is done outside epoch protection, one reason at a time:
//
//   room      HybridLog::wait_for_room; at the disk budget the compactor is asked first
//   cold      the chain is followed on disk
//   unsafe    other threads leave the region that has just become read-only
//   shifted   never waits: the session crosses over, or writes beneath

#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kv/checkpoint/coordinator.h"
#include "kv/engine/cold_fetcher.h"
#include "kv/engine/engine.h"
#include "kv/session.h"

namespace tailrace::kv {

struct SessionCore {
  SessionCore(StoreImpl& store, Engine& engine, CheckpointCoordinator& coordinator, SessionId id,
              SessionOptions options);
  ~SessionCore();
  SessionCore(const SessionCore&) = delete;
  SessionCore& operator=(const SessionCore&) = delete;

  /// Once, before anything else.
  Result<> open();

  // session.cc
  Result<bool> read(const HashedKey& key, std::string& value);
  // The most frequent case of each (engine_hot.h). False: nothing has changed, do it the general
  // way.
  bool read_hot(ByteSpan key, std::string& value) const;
  bool upsert_hot(ByteSpan key, ByteSpan value, Serial serial);
  bool rmw_hot(ByteSpan key, Modify modify, Serial serial, Modification& decision);
  Result<Engine::Outcome> write(const HashedKey& key, const Engine::Change& change, Serial serial);
  void prefetch(ByteSpan key);
  void prefetch(std::span<const ByteSpan> keys);
  void refresh(Serial serial);

  // session_batch.cc
  Result<> run(std::span<Operation> operations, size_t& done_count);

  // session_async.cc
  void read_async(ByteSpan key, Session::ReadDone done);
  Result<size_t> poll(std::chrono::nanoseconds timeout);
  size_t pending() const { return pending_.size(); }

 private:
  struct Pending {  // an asynchronous read
    std::string key;
    Session::ReadDone done;
    ColdFetcher::Fetch fetch;
  };

  Result<> check_write(const HashedKey& key, size_t value_bytes, Serial serial) const;
  // Under protection: once, and again after crossing over where that is what was missing. `beneath`
  // says that the operation's write beneath was done; false before its first attempt.
  Engine::Outcome attempt(const HashedKey& key, const Engine::Change& change, Serial serial,
                          ColdFound& cold, Engine::Waiting& waiting, bool& beneath);
  // Outside protection: gets what `outcome` lacks.
  Result<> provide(Engine::Outcome outcome, const Engine::Waiting& waiting, const HashedKey& key,
                   ColdFetcher::Fetch& fetch);
  Result<> wait_for_room(uint64_t bytes);
  Result<> wait_for(ColdFetcher::Fetch& fetch);
  HashedKey hashed_early(ByteSpan key) const;
  /// Whether a write of the serial may take the short way: in order, and the phase is adopted.
  [[gnu::always_inline]] bool is_ready_for(Serial serial) const {
    return serial > state.completed.load(std::memory_order_relaxed) &&
           serial >= state.last.load(std::memory_order_relaxed) && coordinator_.is_adopted(state);
  }
  // A call of its own costs a dozen instructions of an operation's 270.
  [[gnu::always_inline]] void note_done(Serial serial) {
    if (serial > state.last.load(std::memory_order_relaxed)) [[likely]] {
      state.last.store(serial, std::memory_order_release);
      state.torn = false;
    }
    if (options_.one_write_a_serial) state.completed.store(serial, std::memory_order_release);
  }
  tl::unexpected<Error> failed(Serial serial, Error error);
  void copy_to_tail(const HashedKey& key, ColdFound& cold);

  Result<> run_piece(std::span<Operation> operations, size_t& done_count);
  bool run_hot(Operation& operation, const HashedKey& key);
  Result<> check_operation(const Operation& operation, const HashedKey& key) const;
  Engine::Outcome try_operation(Operation& operation, const HashedKey& key, ColdFound& cold,
                                Engine::Waiting& waiting, bool& beneath);
  Result<> fetch_ahead(std::span<Operation> operations, size_t first);

  StoreImpl& store_;
  Engine& engine_;
  const HashIndex& index_;
  CheckpointCoordinator& coordinator_;
  const SessionOptions options_;
  bool open_ = false;
  // Of the operation that is being done: kBeyond once it has been told to go on all the same.
  HybridLog::Budget budget_ = HybridLog::Budget::kWrite;
  std::string scratch_;
  ColdFetcher fetcher_;
  ColdFetcher::Fetch fetch_;  // of the single operation that waits

  static constexpr size_t kPiece = 64;  // operations of a batch that are prefetched together
  std::vector<uint64_t> hashes_;
  std::vector<ColdFetcher::Fetch> ahead_;  // of the piece's operations; kPiece once needed

  std::deque<std::unique_ptr<Pending>> pending_;
  std::vector<ColdFetcher::Fetch*> ended_;

 public:
  SessionState state;
};

/// insert_if_absent and compare_and_swap as read-modify-writes.
struct InsertIfAbsent {
  ByteSpan value;
  std::string* present_value;
  Modification operator()(const ByteSpan* present, std::string& next) const {
    if (present != nullptr) {
      if (present_value != nullptr) present_value->assign(as_text(*present));
      return Modification::kKeep;
    }
    next.assign(as_text(value));
    return Modification::kWrite;
  }
};
struct CompareAndSwap {
  ByteSpan expected;
  ByteSpan value;
  std::string* present_value;
  Modification operator()(const ByteSpan* present, std::string& next) const {
    if (present == nullptr || as_text(*present) != as_text(expected)) {
      if (present_value != nullptr) {
        present_value->assign(present == nullptr ? std::string_view{} : as_text(*present));
      }
      return Modification::kKeep;
    }
    next.assign(as_text(value));
    return Modification::kWrite;
  }
};

}  // namespace tailrace::kv
