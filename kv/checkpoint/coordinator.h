#pragma once
// Who writes which version, and what each session's point is (CPR, SIGMOD 2019, section 4). The
// phases and what happens between them: checkpoint_phases.h.
//
//   REST          all sessions write version v
//   PREPARE       a checkpoint of v is wanted; the index image is written
//   IN_PROGRESS   sessions cross over to v + 1, each between two of its serials
//   WAIT_PENDING  those in the middle of a serial are waited for
//   WAIT_FLUSH    all write v + 1; the records of v stand still and are written out
//   REST          of v + 1
//
// A session's point is the last serial it had done when it crossed over. It crosses over by itself
// at its next call with a greater serial; one that has said by refresh() that it is between two
// serials is taken over by the checkpoint's thread, so an idle session holds nobody up.
//
// Why no session can write into v unseen once the checkpoint's thread believes that all have left
// it: the phase is changed first and then an epoch is waited for, so every call that began before
// has ended, and every later one sees the phase before it writes.
//
// Why every record of v + 1 lies at or above the boundary: the tail is read first and the phase
// changed afterwards, and only who has seen the phase allocates a record of v + 1.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/mutex.h"
#include "kv/checkpoint/phases.h"
#include "kv/engine/engine.h"
#include "kv/types/checkpoint.h"
#include "kv/types/options.h"

namespace tailrace::kv {

/// A session as the coordinator sees it. `version`, `seen` and `torn` are the session's thread's;
/// the two serials are that thread's to write, and the coordinator reads them.
struct SessionState {
  SessionId id = 0;
  std::atomic<Serial> last{0};       // the greatest serial with a write that took effect
  std::atomic<Serial> completed{0};  // the greatest serial said to be done; may exceed last
  WriteVersion version;
  uint64_t seen = 0;
  bool torn = false;  // a write of a serial failed after another one of it had succeeded
  /// Guarded by the coordinator's mutex: what it writes, or an idle one will write at its next
  /// call.
  uint32_t written_version = 1;

  Serial last_serial() const { return last.load(std::memory_order_acquire); }
  Serial completed_serial() const { return completed.load(std::memory_order_acquire); }
  Serial point() const { return std::max(last_serial(), completed_serial()); }
  bool between_serials() const { return completed_serial() >= last_serial(); }
};

class CheckpointCoordinator {
 public:
  explicit CheckpointCoordinator(storage::EpochProtection& protection) : protection_(protection) {}

  /// Where the log's tail is; asked under the coordinator's mutex. Before any session exists.
  void set_tail_source(std::function<LogAddress()> tail);

  // --- sessions ---

  /// Before a call that writes with `serial`, or refreshes up to it; again whenever it has been
  /// outside protection. Under protection.
  void before_write(SessionState& session, Serial serial) {
    if (word_.load(std::memory_order_seq_cst) != session.seen) [[unlikely]] {
      adopt(session, session.between_serials() || serial > session.last_serial());
    }
  }
  /// Whether before_write() would change nothing.
  bool is_adopted(const SessionState& session) const {
    return word_.load(std::memory_order_seq_cst) == session.seen;
  }
  void after_refresh(SessionState& session) {
    if (word_.load(std::memory_order_seq_cst) != session.seen) [[unlikely]]
      adopt(session, true);
  }
  /// kAlreadyExists when a session of that id is open.
  Result<> open(SessionState& session);
  /// A session that ends in the middle of a serial is taken to have finished it, unless it is torn:
  /// then no checkpoint is published any more, for it would hold half an operation.
  void close(SessionState& session);
  size_t open_sessions() const;

  // --- writers that have no serials: compaction, reads copied to the tail ---

  /// What such a writer may write now. Under protection, which it must not leave between the call
  /// and its write: it is of the next version as soon as there is one.
  WriteVersion internal_version() const {
    // The boundary is stored before the word, and the word cannot go on to the next boundary
    // while the caller is protected. A newer boundary than the word's hides nothing: there is no
    // record of the next version yet.
    const uint64_t word = word_.load(std::memory_order_seq_cst);
    const bool crossed = may_cross(phase_of(word));
    return {version_of(word) + (crossed ? 1u : 0u), crossed,
            boundary_.load(std::memory_order_acquire)};
  }
  /// The same for who only moves records: of the version that is being left as long as sessions may
  /// write it. A copy of the next version would count as a newer write, and what a session in the
  /// middle of a serial then writes beneath it would be lost to the store. One that comes late,
  /// when nobody writes the version any more, lies behind the checkpoint's end: there the original
  /// counts.
  WriteVersion mover_version() const {
    const uint64_t word = word_.load(std::memory_order_seq_cst);
    const bool left = phase_of(word) == CheckpointPhase::kWaitFlush;
    return {version_of(word) + (left ? 1u : 0u), left, boundary_.load(std::memory_order_acquire)};
  }
  /// Waits while sessions of two versions may write (IN_PROGRESS, WAIT_PENDING). Outside
  /// protection. The log's begin may only pass a record that was moved before the call: a session
  /// that writes beneath a moved record needs to find the original. kCancelled after cancel().
  Result<> wait_one_version();

  // --- recovery ---

  /// The version that sessions write, the points of sessions that have ended, and where the
  /// recovered log ends.
  void recovered(uint32_t version, const std::vector<SessionPoint>& points, LogAddress end);

  // --- the checkpoint's thread, in this order ---

  CheckpointPhase phase() const;
  uint32_t version() const;
  /// REST to PREPARE; false when not in REST. Returns through `version` what is checkpointed.
  bool prepare(uint32_t& version);
  /// PREPARE back to REST.
  void abandon();
  /// To IN_PROGRESS, calls `in_progress` (may be null), and on to WAIT_PENDING; waits until every
  /// call that began before has ended. Returns the boundary.
  LogAddress cross_over(const std::function<void()>& in_progress = nullptr);
  /// Waits for sessions in the middle of a serial. kCancelled after cancel().
  Result<> wait_crossed();
  /// To WAIT_FLUSH. kFailedPrecondition when a torn session has ended.
  Result<std::vector<SessionPoint>> begin_flush();
  /// To REST of the next version. Not after wait_crossed() has failed: it fails only when the store
  /// closes.
  void finish();
  /// Ends wait_crossed() and wait_one_version(); for the store's end.
  void cancel();

 private:
  static uint64_t word_of(CheckpointPhase phase, uint32_t version) {
    return static_cast<uint64_t>(phase) << 32 | version;
  }
  static CheckpointPhase phase_of(uint64_t word) {
    return static_cast<CheckpointPhase>(word >> 32);
  }
  static uint32_t version_of(uint64_t word) { return static_cast<uint32_t>(word); }

  void adopt(SessionState& session, bool between_serials);
  void cross(SessionState& session, uint32_t to) TAILRACE_REQUIRES(mutex_);
  void go(CheckpointEvent event) TAILRACE_REQUIRES(mutex_);
  void perform(PhaseAction action, uint32_t& version) TAILRACE_REQUIRES(mutex_);

  storage::EpochProtection& protection_;
  std::atomic<uint64_t> word_{word_of(CheckpointPhase::kRest, 1)};
  std::atomic<LogAddress> boundary_{0};

  mutable Mutex mutex_;
  Condition changed_;  // a session has crossed or ended, or the phase is another
  std::function<LogAddress()> tail_ TAILRACE_GUARDED_BY(mutex_);
  std::vector<SessionState*> sessions_ TAILRACE_GUARDED_BY(mutex_);
  std::map<SessionId, Serial> ended_points_ TAILRACE_GUARDED_BY(mutex_);
  std::map<SessionId, Serial> checkpoint_points_ TAILRACE_GUARDED_BY(mutex_);
  std::optional<std::string> torn_ TAILRACE_GUARDED_BY(mutex_);
  bool cancelled_ TAILRACE_GUARDED_BY(mutex_) = false;
};

}  // namespace tailrace::kv
