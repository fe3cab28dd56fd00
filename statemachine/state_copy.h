#pragma once
// Moving a node to a copy of another one's state: for a follower whose log ends below the leader's
// begin. A copy is a published checkpoint of the store and the stretch of log that it ends in:
//
//   files of the checkpoint (kv/checkpoint_source.h), then the log's bytes [log_begin, log_end)
//
//   log_begin <= applied <= log_end <= committed
//
// all one behind the other, so that a copy that was interrupted goes on at an offset. log_begin and
// log_end are ends of commit marks, applied is the checkpoint's point.
//
// In the receiver's data directory:
//
//   STATE-COPY       atomic file: the plan, how much is durable, and whether it is complete
//   store.incoming/  the store's files
//   log.incoming/    the log, made when everything has come
//
// Nothing of the node's own log and store is touched while a copy comes in. When all of it is there
// and has been checked, the node stops taking part, and STATE-COPY says "complete". From then on it
// does nothing but to install the copy, when it starts, before anything is opened. (Were it still
// to take part, what it acknowledged in between would be lost with the old log.)
//
//   crash before "complete"       the node goes on with what it has; the copy goes on where it was
//   ... before store was removed  both are there: begins again
//   ... between removal, rename   store.incoming is there: begins again
//   ... after store's rename      store.incoming is gone: the store is done; then the log alike
//   ... before STATE-COPY goes    both are done: what was said of the old state goes, then it

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/address.h"
#include "core/bytes.h"
#include "core/result.h"
#include "fasterlog/log.h"
#include "kv/checkpoint_source.h"
#include "kv/store.h"
#include "statemachine/types/copy_plan.h"
#include "storage/file_system.h"
#include "storage/stream_writer.h"

namespace tailrace::statemachine {

/// A copy that can be read, as long as it exists. Any thread.
class StateCopySource {
 public:
  /// The checkpoint `token`, or with 0 the newest, of a node that is at work. kNotFound when there
  /// is none (or no longer that one).
  static Result<std::unique_ptr<StateCopySource>> open(fasterlog::Log& log, kv::Store& store,
                                                       std::string owner, uint64_t token);

  const StateCopyPlan& plan() const { return plan_; }
  /// Fills `into`; blocks. kInvalidArgument beyond the end.
  Result<> read(uint64_t offset, MutableByteSpan into) const;

 private:
  StateCopyPlan plan_;
  std::unique_ptr<kv::CheckpointSource> files_;
  std::vector<std::byte> log_bytes_;
};

struct StateCopyOptions {
  storage::Path directory;    // the node's data directory
  fasterlog::LogOptions log;  // the node's own, as for Log::open
  kv::StoreOptions store;     // the node's own, as for Store::open
  /// Files that say something of the state which a copy replaces: they go with it.
  std::vector<storage::Path> obsolete = {};
};

/// A copy that comes in. One thread at a time.
class IncomingState {
 public:
  IncomingState(storage::FileSystem& file_system, StateCopyOptions options);
  ~IncomingState();

  /// What an earlier run left and can be gone on with; without it the plan is empty.
  Result<> load();
  const StateCopyPlan& plan() const { return plan_; }
  bool has_plan() const { return plan_.token != 0; }
  /// The next byte wanted. After load() what is durable; what is written may be more.
  uint64_t received() const { return received_; }

  /// Drops what there is of another copy and makes room for this one. kResourceExhausted when the
  /// disk has none.
  Result<> begin(StateCopyPlan plan);
  /// The bytes at received().
  Result<> write(ByteSpan bytes);
  /// What is written so far, but for less than a block, is durable and would be gone on from.
  Result<> save();
  /// When everything is written: makes the log and checks all. kCorruption: the copy is worth
  /// nothing; drop() it.
  Result<> check();
  /// After check(): says on disk that the copy is complete. Between this and the installation the
  /// node must acknowledge nothing: its own log, and what that then held, are given up.
  Result<> commit();
  Result<> drop();

 private:
  /// `received` bytes are durable.
  Result<> write_plan(uint64_t received, bool complete);
  Result<> open_file();
  Result<> close_file();
  Result<> make_log();
  storage::Path store_directory() const { return options_.directory / "store.incoming"; }
  storage::Path log_directory() const { return options_.directory / "log.incoming"; }

  storage::FileSystem& file_system_;
  const StateCopyOptions options_;
  StateCopyPlan plan_;
  uint64_t received_ = 0;
  bool checked_ = false;
  std::vector<std::byte> log_bytes_;
  storage::StreamWriter file_;  // that is being written, if any is open,
  size_t file_index_ = 0;       // its place in the plan
  uint64_t file_begin_ = 0;     // and its first byte's in the copy
};

/// At a node's start, with its directory locked and nothing opened: finishes the installation of a
/// complete copy. True when there was one.
Result<bool> install_state_copy(storage::FileSystem& file_system, const StateCopyOptions& options);

}  // namespace tailrace::statemachine
