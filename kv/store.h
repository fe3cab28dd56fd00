#pragma once
// FasterKv: a concurrent hash-indexed key-value store on a hybrid log, larger than memory.
//
// The newest part of the log is in memory: a mutable region (records are updated in place) above a
// read-only region (an update copies the record to the tail). The rest is on disk, read back block
// by block. Checkpoints are CPR prefixes (Concurrent Prefix Recovery, SIGMOD 2019): every operation
// of a session with serial <= its point is in, none after. docs/formats/fasterkv.md describes what
// is on disk.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/bytes.h"
#include "core/clock.h"
#include "core/mutex.h"
#include "core/result.h"
#include "kv/session.h"
#include "kv/types/checkpoint.h"
#include "kv/types/options.h"
#include "observability/metrics.h"
#include "storage/file_system.h"

namespace tailrace::kv {

/// All pairs whose keys begin with the scan's prefix, as they were at one moment, in pieces
/// (Store::start_scan). One thread at a time. While it exists nothing that it may still show is
/// reclaimed: end it.
class Scan {
 public:
  virtual ~Scan() = default;
  /// For each session the last serial whose writes it shows.
  virtual const std::vector<SessionPoint>& points() const = 0;
  using Visitor = std::function<void(ByteSpan key, ByteSpan value)>;
  using Filter = std::function<bool(ByteSpan key, ByteSpan value)>;
  /// Visits pairs until `most_pairs` were visited or `most_log_bytes` of the log were looked at.
  /// False when that was the end. The visitor must not call the store.
  virtual Result<bool> next(size_t most_pairs, uint64_t most_log_bytes, const Visitor& visit) = 0;
  /// 0–1 of the log.
  virtual double fraction() const = 0;
};

class CheckpointSource;  // checkpoint_source.h

class Store final {
 public:
  /// Opens with the newest checkpoint that validates, or empty when there never was one. Validates
  /// before it changes anything; a damaged newest checkpoint falls back to the one before, and
  /// recovery_notes() says so. kCorruption when there are checkpoints and none is valid.
  static Result<std::unique_ptr<Store>> open(storage::FileSystem& file_system, StoreOptions options,
                                             const Clock& clock = system_clock());
  ~Store();

  /// The checkpoint that open() started from.
  const std::optional<CheckpointInfo>& recovered() const;
  const std::vector<std::string>& recovery_notes() const;
  /// Valid-looking checkpoints on disk, oldest first.
  Result<std::vector<CheckpointInfo>> checkpoints() const;
  /// Reads all that the checkpoint consists of and compares every checksum. Also beside writers.
  Result<> validate_checkpoint(uint64_t token) const;
  /// Opens a checkpoint for copying; without a token the newest one. Any thread, also while others
  /// write. kNotFound: there is none, or that one was removed. kUnsupported: it has an older
  /// format; take a new checkpoint first. Destroy the source before the store.
  Result<std::unique_ptr<CheckpointSource>> open_checkpoint_source(
      std::optional<uint64_t> token = {});

  /// A writer. Several may exist; each belongs to one thread at a time. An id that a recovered
  /// checkpoint knows goes on from its point (Session::last_serial). Destroying it ends the
  /// session.
  Result<std::unique_ptr<Session>> start_session(SessionId id, SessionOptions options = {});

  /// Any thread, also while sessions write. Copies the value; kNotFound when absent. Waits for the
  /// disk where the record is there.
  Result<> read(ByteSpan key, std::string& value);
  /// Any thread; never waits. kCold: the record, if there is one, is on disk; read_async() gets it.
  enum class ReadOutcome : uint8_t { kFound, kAbsent, kCold };
  ReadOutcome try_read(ByteSpan key, std::string& value);
  /// Any thread. `done` is called once, on a thread of the store (or at once on this one), and must
  /// not block: true and the value, false when absent, or the error.
  using ReadDone = std::function<void(Result<bool> found, std::string value)>;
  void read_async(ByteSpan key, ReadDone done);

  /// Starts a checkpoint; kFailedPrecondition while one runs. A session whose newest serial may not
  /// be finished is waited for, until its next write or refresh(): say refresh(serial) before going
  /// idle, or use SessionOptions::one_write_a_serial, which needs no more calls.
  Result<> start_checkpoint(CheckpointRequest request);
  CheckpointProgress checkpoint_progress() const;

  /// A consistent view of all that is done now. Runs through the phases of a checkpoint without
  /// writing anything, so sessions must keep calling; waits for a running checkpoint to end.
  /// At most kMostScans at a time. The log knows no order of keys, so all of it is read whatever
  /// the prefix; but neither the index nor the chains on disk are asked about other keys, nor about
  /// what `wanted` rejects (as for_each(); it is asked on the thread of next(), and may come to
  /// reject more). Null: all are wanted.
  Result<std::unique_ptr<Scan>> start_scan(ByteSpan prefix = {}, Scan::Filter wanted = nullptr);
  static constexpr size_t kMostScans = 64;

  /// Visits every live pair, in no order. The pairs are complete and consistent only while no
  /// session writes. The visitor must not call the store.
  Result<> for_each(const Scan::Visitor& visit);
  /// Visits only the pairs that `wanted` accepts. `wanted` must not call the store. It is asked
  /// about every record in the log, including records that were overwritten or removed since. A
  /// record that it rejects costs one read. For a record that it accepts, the store checks the
  /// index, and perhaps the disk, to see whether the record is still its key's newest.
  /// `progress` may be null; it receives now and then which part of the log (0–1) is done.
  Result<> for_each(const Scan::Filter& wanted, const Scan::Visitor& visit,
                    const std::function<void(double)>& progress);

  /// Copies what lives before `until` (the read-only region's end at most) to the tail and gives
  /// the rest up. Blocks; any thread. Returns the log's new beginning.
  Result<LogAddress> compact(LogAddress until);
  void pause_compaction(bool paused);
  /// While it is held nothing is compacted, so for_each() meets no record that is being written as
  /// long as no session writes. Owns nothing when something is being compacted now and `wait` is
  /// false. Whoever waits must have no session: compaction waits for them.
  [[nodiscard]] std::unique_lock<Mutex> hold_compaction(bool wait);
  /// Doubles the index now. Blocks; any thread but one that is in a session's call.
  Result<> grow_index();

  /// Keys in the store, and what their records take. Exact as long as all upserts found their
  /// chains in memory. One that does not is taken to replace a record of its own length, which the
  /// index entry makes likely and not certain: the sums drift then, until compaction has gone once
  /// round the log and sets them right.
  uint64_t live_records() const;
  uint64_t live_bytes() const;
  /// What the live records take of the log, and of the capacity: what they may take of the disk
  /// budget (disk_bytes, or what the disk has). The rest of the budget is what compaction works
  /// with. Beyond the budget (SessionOptions) used exceeds capacity. Any thread; cheap.
  uint64_t used_bytes() const;
  uint64_t capacity_bytes() const;
  /// Whether the budget is what the disk has left, and not disk_bytes.
  bool is_limited_by_disk() const;
  /// Counts a write that its caller refused for lack of capacity. Any thread.
  void note_refused_write() const;
  /// used_bytes() once compaction has made up for what is beyond the budget. Any thread; cheap.
  uint64_t settled_bytes() const;
  /// Three quarters of the budget are taken, and compaction has left something behind that only the
  /// checkpoints hold: each new one gives disk space back.
  bool wants_checkpoint() const;
  size_t max_record_bytes() const;  // key and value together

  struct LogExtent {
    LogAddress begin, head, read_only, tail;
  };
  LogExtent log_extent() const;
  uint64_t index_buckets() const;
  /// A failed write or fsync: final. The store refuses writes from then on.
  std::optional<Error> failure() const;

  void register_metrics(observability::MetricRegistry& registry);

 private:
  explicit Store(std::unique_ptr<class StoreImpl> impl);
  std::unique_ptr<StoreImpl> impl_;
};

}  // namespace tailrace::kv
