#pragma once
// The phases of a checkpoint (CPR, SIGMOD 2019, section 4): one table, one row a transition. What
// is not in the table does not happen (checkpoint_coordinator.h carries it out).
//
// clang-format off
//   from          event        to            what is done just before
//   REST          begin        PREPARE       nothing: the index image, if wanted, is written in it
//   PREPARE       abandon      REST          nothing: no session has noticed (a failure; index only)
//   PREPARE       cross over   IN_PROGRESS   the boundary is noted, points start from ended sessions'
//   IN_PROGRESS   informed     WAIT_PENDING  idle sessions are taken over to the next version
//   WAIT_PENDING  crossed      WAIT_FLUSH    the points are final: no session is of the version
//   WAIT_FLUSH    finish       REST          the next version is everybody's
// clang-format on

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "kv/types/checkpoint.h"

namespace tailrace::kv {

enum class CheckpointEvent : uint8_t {
  kBegin,      // a checkpoint is wanted
  kAbandon,    // it ends before any session has crossed over
  kCrossOver,  // sessions may write the next version from now on
  kInformed,   // all calls that began before have ended
  kCrossed,    // no session writes the version any more
  kFinish,     // published, or given up
};

enum class PhaseAction : uint8_t {
  kNothing,
  kNoteBoundary,
  kTakeIdleAlong,
  kClosePoints,
  kNextVersion,
};

struct PhaseTransition {
  CheckpointPhase from;
  CheckpointEvent event;
  CheckpointPhase to;
  PhaseAction action;
};

inline constexpr std::array<PhaseTransition, 6> kPhaseTransitions{{
    {CheckpointPhase::kRest, CheckpointEvent::kBegin, CheckpointPhase::kPrepare,
     PhaseAction::kNothing},
    {CheckpointPhase::kPrepare, CheckpointEvent::kAbandon, CheckpointPhase::kRest,
     PhaseAction::kNothing},
    {CheckpointPhase::kPrepare, CheckpointEvent::kCrossOver, CheckpointPhase::kInProgress,
     PhaseAction::kNoteBoundary},
    {CheckpointPhase::kInProgress, CheckpointEvent::kInformed, CheckpointPhase::kWaitPending,
     PhaseAction::kTakeIdleAlong},
    {CheckpointPhase::kWaitPending, CheckpointEvent::kCrossed, CheckpointPhase::kWaitFlush,
     PhaseAction::kClosePoints},
    {CheckpointPhase::kWaitFlush, CheckpointEvent::kFinish, CheckpointPhase::kRest,
     PhaseAction::kNextVersion},
}};

/// Nothing when the event cannot happen in the phase.
std::optional<PhaseTransition> transition(CheckpointPhase from, CheckpointEvent event);

/// Whether a session that asks in this phase may write the next version.
constexpr bool may_cross(CheckpointPhase phase) {
  return phase >= CheckpointPhase::kInProgress;
}

std::string_view name_of(CheckpointEvent event);

}  // namespace tailrace::kv
