#pragma once
// FasterKv: a concurrent hash-indexed key-value store on a hybrid log.
//
// In memory the log has a mutable region (records are updated in place) above a read-only region
// (an update copies the record to the tail). Checkpoints are CPR prefixes (Concurrent Prefix
// Recovery, SIGMOD 2019): every operation of a session with serial <= its point is in, none after.
// docs/formats/fasterkv.md describes what is on disk.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "core/clock.h"
#include "core/result.h"
#include "observability/metrics.h"
#include "storage/file_system.h"

namespace tailrace::kv {

struct StoreOptions {
  storage::Path directory;            // checkpoints live below it
  std::string owner;                  // written into each checkpoint, compared at recovery
  uint64_t memory_bytes = 1u << 30;   // of the hybrid log; touched only as it is used
  uint32_t page_bytes = 16u << 20;    // power of two; bounds a record
  uint64_t index_buckets = 1u << 18;  // power of two; 64 bytes each, 7 entries
  double mutable_fraction = 0.9;
  bool huge_pages = true;
  uint32_t checkpoints_kept = 2;
};

using SessionId = uint64_t;
using Serial = uint64_t;

struct SessionPoint {
  SessionId session = 0;
  Serial point = 0;
};

/// A published (or just finished) checkpoint.
struct CheckpointInfo {
  uint64_t token = 0;  // ascending
  uint64_t version = 0;
  std::vector<SessionPoint> points;
  std::string user_metadata;  // the embedder's own bytes, as given by before_publish
  uint64_t unix_time_ns = 0;
  uint64_t bytes = 0;
  uint64_t live_records = 0;
};

/// The CPR phases; the names are also the metric's label values.
enum class CheckpointPhase { kRest, kPrepare, kInProgress, kWaitPending, kWaitFlush };
std::string_view name_of(CheckpointPhase phase);

struct CheckpointProgress {
  CheckpointPhase phase = CheckpointPhase::kRest;
  double fraction = 0;  // 0–1 of the bytes to be written
  uint64_t bytes = 0;
};

struct CheckpointHooks {
  /// Called on the checkpoint's thread when data and index are fsynced, before the manifest is
  /// published; its bytes become user_metadata. An error abandons the checkpoint.
  std::function<Result<std::string>(const CheckpointInfo&)> before_publish;
  /// Called on the checkpoint's thread at the end: published, or why not.
  std::function<void(const Result<CheckpointInfo>&)> done;
};

class Session;

class Store {
 public:
  /// Opens with the newest checkpoint that validates, or empty when there never was one. Validates
  /// before it changes anything; a damaged newest checkpoint falls back to the one before, and
  /// recovery_notes() says so. kCorruption when there are checkpoints and none is valid.
  static Result<std::unique_ptr<Store>> open(storage::FileSystem& file_system, StoreOptions options,
                                             const Clock& clock = system_clock());
  virtual ~Store() = default;

  /// The checkpoint that open() started from.
  virtual const std::optional<CheckpointInfo>& recovered() const = 0;
  virtual const std::vector<std::string>& recovery_notes() const = 0;
  /// Valid-looking checkpoints on disk, oldest first.
  virtual Result<std::vector<CheckpointInfo>> checkpoints() const = 0;

  /// A writer. Several may exist; each belongs to one thread. An id that a recovered checkpoint
  /// knows goes on from its point. Destroying it ends the session.
  virtual Result<std::unique_ptr<Session>> start_session(SessionId id) = 0;

  /// Any thread, also while sessions write. Copies the value; kNotFound when absent.
  virtual Result<> read(ByteSpan key, std::string& value) = 0;

  /// Starts a checkpoint; kFailedPrecondition while one runs. Sessions must keep calling (any
  /// operation, or refresh()) for it to proceed.
  virtual Result<> start_checkpoint(CheckpointHooks hooks) = 0;
  virtual CheckpointProgress checkpoint_progress() const = 0;

  /// Every live pair, in no order. Complete and consistent only while no session writes: the single
  /// writer itself calls it, or all are quiet. The visitor must not call the store.
  virtual void for_each(const std::function<void(ByteSpan key, ByteSpan value)>& visit) = 0;

  virtual uint64_t live_records() const = 0;
  virtual uint64_t used_bytes() const = 0;      // of memory_bytes
  virtual uint64_t capacity_bytes() const = 0;  // what used_bytes can reach
  virtual size_t max_record_bytes() const = 0;  // key and value together

  virtual void register_metrics(observability::MetricRegistry& registry) = 0;
};

/// One writer's handle; one thread at a time. Serials ascend (equal is allowed: one caller's
/// operation may need several writes, and they are atomic with respect to a checkpoint's point).
class Session {
 public:
  virtual ~Session() = default;
  virtual SessionId id() const = 0;
  virtual Serial last_serial() const = 0;

  /// kNotFound when absent.
  virtual Result<> read(ByteSpan key, std::string& value) = 0;
  /// In place where the mutable region and the record's room allow. kResourceExhausted when the
  /// memory is full (nothing changed), kInvalidArgument above max_record_bytes.
  virtual Result<> upsert(ByteSpan key, ByteSpan value, Serial serial) = 0;
  /// False when the key was absent.
  virtual Result<bool> erase(ByteSpan key, Serial serial) = 0;
  /// Starts loading what an operation on `key` will need. Optional, for batches.
  virtual void prefetch(ByteSpan key) = 0;
  /// Adopts a checkpoint's phase between operations; cheap. Says that all operations with serials
  /// <= `serial` are done, whether or not they wrote (the point of an idle session moves too).
  virtual void refresh(Serial serial) = 0;
};

}  // namespace tailrace::kv
