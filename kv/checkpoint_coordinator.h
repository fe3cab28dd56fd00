#pragma once
// Who writes which version, and what each session's point is (CPR, SIGMOD 2019, section 4).
//
//   REST          all sessions write version v
//   PREPARE       a checkpoint of v is wanted; its directory is made
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

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "kv/engine.h"
#include "kv/store.h"

namespace tailrace::kv {

/// A session as the coordinator sees it. The session's thread reads and writes it under the
/// engine's protection while `seen` equals the coordinator's word; else under the coordinator's
/// mutex. The two serials are the session's own to write; the coordinator reads them.
struct SessionState {
  SessionId id = 0;
  std::atomic<Serial> last{0};       // the greatest serial with a write that took effect
  std::atomic<Serial> completed{0};  // the greatest serial said to be done; may exceed last
  Engine::Version version;
  uint64_t seen = 0;
  bool torn = false;  // a write of a serial failed after another one of it had succeeded

  Serial last_serial() const { return last.load(std::memory_order_acquire); }
  Serial completed_serial() const { return completed.load(std::memory_order_acquire); }
  Serial point() const { return std::max(last_serial(), completed_serial()); }
  bool between_serials() const { return completed_serial() >= last_serial(); }
};

class CheckpointCoordinator {
 public:
  explicit CheckpointCoordinator(storage::EpochProtection& protection) : protection_(protection) {}

  // --- sessions ---

  /// Before a call that writes with `serial`, or refreshes up to it. Under protection.
  void before_write(SessionState& session, Serial serial) {
    if (word_.load(std::memory_order_seq_cst) != session.seen) [[unlikely]] {
      adopt(session, session.between_serials() || serial > session.last_serial());
    }
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

  // --- recovery ---

  /// The version that sessions write and the points of sessions that have ended.
  void recovered(uint32_t version, const std::vector<SessionPoint>& points);

  // --- the checkpoint's thread, in this order ---

  CheckpointPhase phase() const;
  /// REST to PREPARE; false when not in REST. Returns through `version` what is checkpointed.
  bool prepare(uint32_t& version);
  /// To IN_PROGRESS and on to WAIT_PENDING; waits until every call that began before has ended.
  void cross_over();
  /// Waits for sessions in the middle of a serial. kCancelled after cancel().
  Result<> wait_crossed();
  /// To WAIT_FLUSH. kFailedPrecondition when a torn session has ended.
  Result<std::vector<SessionPoint>> begin_flush();
  /// To REST of the next version (or of the same one, when cross_over() was not reached). Not after
  /// wait_crossed() has failed: it fails only when the store closes.
  void finish();
  /// Ends wait_crossed(); for the store's end.
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
  void cross(SessionState& session, uint32_t to);  // mutex_ held

  storage::EpochProtection& protection_;
  std::atomic<uint64_t> word_{word_of(CheckpointPhase::kRest, 1)};

  mutable std::mutex mutex_;
  std::condition_variable crossed_;
  // All below guarded by mutex_.
  std::vector<SessionState*> sessions_;
  std::map<SessionId, Serial> ended_points_;
  std::map<SessionId, Serial> checkpoint_points_;
  std::optional<std::string> torn_;
  bool cancelled_ = false;
};

}  // namespace tailrace::kv
