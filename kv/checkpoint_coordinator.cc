#include "kv/checkpoint_coordinator.h"

#include "core/check.h"

namespace tailrace::kv {

Result<> CheckpointCoordinator::open(SessionState& session) {
  const std::lock_guard lock(mutex_);
  for (const SessionState* other : sessions_) {
    if (other->id == session.id) {
      return make_error(ErrorCode::kAlreadyExists,
                        "session " + std::to_string(session.id) + " of the store is open already");
    }
  }
  if (const auto known = ended_points_.find(session.id); known != ended_points_.end()) {
    session.last.store(known->second, std::memory_order_relaxed);
    session.completed.store(known->second, std::memory_order_relaxed);
  }
  const uint64_t word = word_.load(std::memory_order_relaxed);
  const bool crossed = phase_of(word) >= CheckpointPhase::kInProgress;
  session.version.version = version_of(word) + (crossed ? 1 : 0);
  session.version.in_place_from = crossed ? session.version.version : 0;
  session.seen = word;
  sessions_.push_back(&session);
  return {};
}

void CheckpointCoordinator::close(SessionState& session) {
  const std::lock_guard lock(mutex_);
  if (session.torn) {
    torn_ = "session " + std::to_string(session.id) + " ended in the middle of serial " +
            std::to_string(session.last_serial()) + ", of which a write had failed";
  }
  const uint64_t word = word_.load(std::memory_order_relaxed);
  if (phase_of(word) >= CheckpointPhase::kInProgress &&
      session.version.version == version_of(word)) {
    cross(session, version_of(word) + 1);
  }
  ended_points_[session.id] = session.point();
  std::erase(sessions_, &session);
  crossed_.notify_all();
}

size_t CheckpointCoordinator::open_sessions() const {
  const std::lock_guard lock(mutex_);
  return sessions_.size();
}

void CheckpointCoordinator::recovered(uint32_t version, const std::vector<SessionPoint>& points) {
  const std::lock_guard lock(mutex_);
  word_.store(word_of(CheckpointPhase::kRest, version), std::memory_order_seq_cst);
  for (const SessionPoint& point : points)
    ended_points_[point.session] = point.point;
}

CheckpointPhase CheckpointCoordinator::phase() const {
  return phase_of(word_.load(std::memory_order_acquire));
}

void CheckpointCoordinator::adopt(SessionState& session, bool between_serials) {
  const std::lock_guard lock(mutex_);
  const uint64_t word = word_.load(std::memory_order_relaxed);
  const uint32_t version = version_of(word);
  if (phase_of(word) < CheckpointPhase::kInProgress) {
    TAILRACE_CHECK(session.version.version == version, "a session missed a checkpoint");
    session.version.in_place_from = 0;
    session.seen = word;
    return;
  }
  if (session.version.version == version) {
    if (!between_serials) return;  // asks again at its next call
    cross(session, version + 1);
    crossed_.notify_all();
  }
  session.version.in_place_from = version + 1;
  session.seen = word;
}

void CheckpointCoordinator::cross(SessionState& session, uint32_t to) {
  checkpoint_points_[session.id] = session.point();
  session.version.version = to;
}

bool CheckpointCoordinator::prepare(uint32_t& version) {
  const std::lock_guard lock(mutex_);
  const uint64_t word = word_.load(std::memory_order_relaxed);
  if (phase_of(word) != CheckpointPhase::kRest) return false;
  version = version_of(word);
  word_.store(word_of(CheckpointPhase::kPrepare, version), std::memory_order_seq_cst);
  return true;
}

void CheckpointCoordinator::cross_over() {
  uint32_t version = 0;
  {
    const std::lock_guard lock(mutex_);
    version = version_of(word_.load(std::memory_order_relaxed));
    checkpoint_points_ = ended_points_;
    word_.store(word_of(CheckpointPhase::kInProgress, version), std::memory_order_seq_cst);
  }
  // Not under the mutex: a call that is waited for may want it.
  protection_.wait_safe(protection_.bump());

  const std::lock_guard lock(mutex_);
  for (SessionState* session : sessions_) {
    if (session->version.version == version && session->between_serials()) {
      cross(*session, version + 1);
    }
  }
  word_.store(word_of(CheckpointPhase::kWaitPending, version), std::memory_order_seq_cst);
}

Result<> CheckpointCoordinator::wait_crossed() {
  std::unique_lock lock(mutex_);
  const uint32_t version = version_of(word_.load(std::memory_order_relaxed));
  crossed_.wait(lock, [&] {
    return cancelled_ || std::none_of(sessions_.begin(), sessions_.end(), [&](SessionState* one) {
             return one->version.version == version;
           });
  });
  if (cancelled_) return make_error(ErrorCode::kCancelled, "the store is closing");
  return {};
}

Result<std::vector<SessionPoint>> CheckpointCoordinator::begin_flush() {
  const std::lock_guard lock(mutex_);
  const uint32_t version = version_of(word_.load(std::memory_order_relaxed));
  word_.store(word_of(CheckpointPhase::kWaitFlush, version), std::memory_order_seq_cst);
  if (torn_) return make_error(ErrorCode::kFailedPrecondition, "no checkpoint: " + *torn_);
  std::vector<SessionPoint> points;
  for (const auto& [session, point] : checkpoint_points_)
    points.push_back({session, point});
  return points;
}

void CheckpointCoordinator::finish() {
  const std::lock_guard lock(mutex_);
  const uint64_t word = word_.load(std::memory_order_relaxed);
  uint32_t version = version_of(word);
  if (phase_of(word) >= CheckpointPhase::kInProgress) {
    ++version;
  }
  word_.store(word_of(CheckpointPhase::kRest, version), std::memory_order_seq_cst);
}

void CheckpointCoordinator::cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  crossed_.notify_all();
}

}  // namespace tailrace::kv
