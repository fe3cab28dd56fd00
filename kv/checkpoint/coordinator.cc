#include "kv/checkpoint/coordinator.h"

#include "core/check.h"

namespace tailrace::kv {

void CheckpointCoordinator::set_tail_source(std::function<LogAddress()> tail) {
  const MutexLock lock(mutex_);
  tail_ = std::move(tail);
}

// --- sessions ---

Result<> CheckpointCoordinator::open(SessionState& session) {
  const MutexLock lock(mutex_);
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
  // Once sessions cross over, a new one has nothing to do with the version that is being left.
  session.version = internal_version();
  session.written_version = session.version.version;
  session.seen = word_.load(std::memory_order_relaxed);
  sessions_.push_back(&session);
  return {};
}

void CheckpointCoordinator::close(SessionState& session) {
  const MutexLock lock(mutex_);
  if (session.torn) {
    torn_ = "session " + std::to_string(session.id) + " ended in the middle of serial " +
            std::to_string(session.last_serial()) + ", of which a write had failed";
  }
  const uint64_t word = word_.load(std::memory_order_relaxed);
  if (may_cross(phase_of(word)) && session.written_version == version_of(word)) {
    cross(session, version_of(word) + 1);
  }
  ended_points_[session.id] = session.point();
  std::erase(sessions_, &session);
  changed_.notify_all();
}

size_t CheckpointCoordinator::open_sessions() const {
  const MutexLock lock(mutex_);
  return sessions_.size();
}

void CheckpointCoordinator::adopt(SessionState& session, bool between_serials) {
  const MutexLock lock(mutex_);
  const uint64_t word = word_.load(std::memory_order_relaxed);
  const uint32_t version = version_of(word);
  const LogAddress boundary = boundary_.load(std::memory_order_relaxed);
  if (!may_cross(phase_of(word))) {
    TAILRACE_CHECK(session.written_version == version, "a session missed a checkpoint");
    session.version = {version, false, boundary};
    session.seen = word;
    return;
  }
  if (session.written_version == version) {
    session.version.boundary = boundary;
    if (!between_serials) return;  // asks again at its next call
    cross(session, version + 1);
    changed_.notify_all();
  }
  session.version = {version + 1, true, boundary};
  session.seen = word;
}

void CheckpointCoordinator::cross(SessionState& session, uint32_t to) {
  checkpoint_points_[session.id] = session.point();
  session.written_version = to;
}

Result<> CheckpointCoordinator::wait_one_version() {
  MutexLock lock(mutex_);
  changed_.wait(lock, [&]() TAILRACE_REQUIRES(mutex_) {
    const CheckpointPhase phase = phase_of(word_.load(std::memory_order_relaxed));
    return cancelled_ ||
           (phase != CheckpointPhase::kInProgress && phase != CheckpointPhase::kWaitPending);
  });
  if (cancelled_) return make_error(ErrorCode::kCancelled, "the store is closing");
  return {};
}

// --- recovery ---

void CheckpointCoordinator::recovered(uint32_t version, const std::vector<SessionPoint>& points,
                                      LogAddress end) {
  const MutexLock lock(mutex_);
  TAILRACE_CHECK(sessions_.empty(), "recovered with sessions open");
  boundary_.store(end, std::memory_order_release);
  word_.store(word_of(CheckpointPhase::kRest, version), std::memory_order_seq_cst);
  for (const SessionPoint& point : points)
    ended_points_[point.session] = point.point;
}

// --- the phases ---

CheckpointPhase CheckpointCoordinator::phase() const {
  return phase_of(word_.load(std::memory_order_acquire));
}

uint32_t CheckpointCoordinator::version() const {
  return version_of(word_.load(std::memory_order_acquire));
}

void CheckpointCoordinator::go(CheckpointEvent event) {
  const uint64_t word = word_.load(std::memory_order_relaxed);
  const auto row = transition(phase_of(word), event);
  TAILRACE_CHECK(row.has_value(), "no transition for '" + std::string(name_of(event)) +
                                      "' in phase " + std::string(name_of(phase_of(word))));
  uint32_t version = version_of(word);
  perform(row->action, version);
  word_.store(word_of(row->to, version), std::memory_order_seq_cst);
  changed_.notify_all();
}

void CheckpointCoordinator::perform(PhaseAction action, uint32_t& version) {
  switch (action) {
    case PhaseAction::kNothing:
      return;
    case PhaseAction::kNoteBoundary:
      checkpoint_points_ = ended_points_;
      boundary_.store(tail_ ? tail_() : 0, std::memory_order_seq_cst);
      return;
    case PhaseAction::kTakeIdleAlong:
      for (SessionState* session : sessions_) {
        if (session->written_version == version && session->between_serials()) {
          cross(*session, version + 1);
        }
      }
      return;
    case PhaseAction::kClosePoints:
      for (const SessionState* session : sessions_) {
        TAILRACE_CHECK(session->written_version == version + 1, "a session was left behind");
      }
      return;
    case PhaseAction::kNextVersion:
      ++version;
      return;
  }
}

bool CheckpointCoordinator::prepare(uint32_t& version) {
  const MutexLock lock(mutex_);
  const uint64_t word = word_.load(std::memory_order_relaxed);
  if (phase_of(word) != CheckpointPhase::kRest) return false;
  version = version_of(word);
  go(CheckpointEvent::kBegin);
  return true;
}

void CheckpointCoordinator::abandon() {
  const MutexLock lock(mutex_);
  go(CheckpointEvent::kAbandon);
}

LogAddress CheckpointCoordinator::cross_over(const std::function<void()>& in_progress) {
  {
    const MutexLock lock(mutex_);
    go(CheckpointEvent::kCrossOver);
  }
  if (in_progress) in_progress();
  // Not under the mutex: a call that is waited for may want it.
  protection_.wait_safe(protection_.bump());

  const MutexLock lock(mutex_);
  go(CheckpointEvent::kInformed);
  return boundary_.load(std::memory_order_relaxed);
}

Result<> CheckpointCoordinator::wait_crossed() {
  MutexLock lock(mutex_);
  const uint32_t version = version_of(word_.load(std::memory_order_relaxed));
  changed_.wait(lock, [&]() TAILRACE_REQUIRES(mutex_) {
    return cancelled_ || std::none_of(sessions_.begin(), sessions_.end(), [&](SessionState* one) {
             return one->written_version == version;
           });
  });
  if (cancelled_) return make_error(ErrorCode::kCancelled, "the store is closing");
  return {};
}

Result<std::vector<SessionPoint>> CheckpointCoordinator::begin_flush() {
  const MutexLock lock(mutex_);
  go(CheckpointEvent::kCrossed);
  if (torn_) return make_error(ErrorCode::kFailedPrecondition, "no checkpoint: " + *torn_);
  std::vector<SessionPoint> points;
  for (const auto& [session, point] : checkpoint_points_)
    points.push_back({session, point});
  return points;
}

void CheckpointCoordinator::finish() {
  const MutexLock lock(mutex_);
  go(CheckpointEvent::kFinish);
}

void CheckpointCoordinator::cancel() {
  const MutexLock lock(mutex_);
  cancelled_ = true;
  changed_.notify_all();
}

}  // namespace tailrace::kv
