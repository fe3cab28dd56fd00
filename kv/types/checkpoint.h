#pragma once
// What is asked of a checkpoint, and what it says of itself.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "kv/types/log_address.h"
#include "kv/types/operation.h"

namespace tailrace::kv {

struct SessionPoint {
  SessionId session = 0;
  Serial point = 0;
  bool operator==(const SessionPoint&) const = default;
};

enum class CheckpointKind : uint8_t {
  /// The log is made durable up to its tail, and what is there is not updated in place any more.
  kFoldOver = 1,
  /// The mutable region is written to a file of its own; updates in place go on afterwards. The
  /// file
  /// of a removed one is kept to write the next over it, until one of the other kinds is taken.
  kSnapshot = 2,
  /// As kSnapshot, but only the blocks that changed since the checkpoint before, on which it then
  /// depends. A full one is taken when there is none to build on.
  kIncremental = 3,
  /// Only the index: makes later recoveries faster. Not a state of its own.
  kIndexOnly = 4,
};
std::string_view name_of(CheckpointKind kind);

/// A published (or just finished) checkpoint.
struct CheckpointInfo {
  uint64_t token = 0;  // ascending
  uint64_t version = 0;
  CheckpointKind kind = CheckpointKind::kFoldOver;
  bool with_index = true;
  std::vector<SessionPoint> points;
  std::string user_metadata;  // the embedder's own bytes, as given by before_publish
  uint64_t unix_time_ns = 0;
  uint64_t bytes = 0;         // written for it
  uint64_t live_records = 0;  // see Store::live_records()
  LogAddress begin = 0, end = 0;
};

/// The CPR phases; the names are also the metric's label values.
enum class CheckpointPhase { kRest, kPrepare, kInProgress, kWaitPending, kWaitFlush };
std::string_view name_of(CheckpointPhase phase);

struct CheckpointProgress {
  CheckpointPhase phase = CheckpointPhase::kRest;
  double fraction = 0;  // 0–1 of the bytes to be written
  uint64_t bytes = 0;   // written
  /// As far as it is known: the index is planned in PREPARE, the log in WAIT_FLUSH, an incremental
  /// one as if all had changed. Exact when a part has been written; never less than `bytes`.
  uint64_t planned_bytes = 0;
};

struct CheckpointHooks {
  /// Called on the checkpoint's thread at each change of phase, from PREPARE to REST, and in
  /// between whenever another mebibyte or so has been written. The bytes never become fewer. The
  /// checkpoint waits meanwhile, so it must not: no call of the store but checkpoint_progress().
  /// REST comes before `done`, also of a checkpoint that failed; not of one that the store's end
  /// cuts off while sessions cross over.
  std::function<void(const CheckpointProgress&)> progress;
  /// Called on the checkpoint's thread when data and index are fsynced, before the manifest is
  /// published; its bytes become user_metadata. An error abandons the checkpoint.
  std::function<Result<std::string>(const CheckpointInfo&)> before_publish;
  /// Called on the checkpoint's thread at the end: published, or why not.
  std::function<void(const Result<CheckpointInfo>&)> done;
};

struct CheckpointRequest {
  CheckpointKind kind = CheckpointKind::kFoldOver;
  /// Without, recovery starts from the newest index that an earlier checkpoint wrote.
  bool with_index = true;
  CheckpointHooks hooks;
};

}  // namespace tailrace::kv
