#include "kv/checkpoint/phases.h"

namespace tailrace::kv {

std::optional<PhaseTransition> transition(CheckpointPhase from, CheckpointEvent event) {
  for (const PhaseTransition& row : kPhaseTransitions) {
    if (row.from == from && row.event == event) return row;
  }
  return std::nullopt;
}

std::string_view name_of(CheckpointEvent event) {
  switch (event) {
    case CheckpointEvent::kBegin:
      return "begin";
    case CheckpointEvent::kAbandon:
      return "abandon";
    case CheckpointEvent::kCrossOver:
      return "cross over";
    case CheckpointEvent::kInformed:
      return "informed";
    case CheckpointEvent::kCrossed:
      return "crossed";
    case CheckpointEvent::kFinish:
      return "finish";
  }
  return "unknown";
}

std::string_view name_of(CheckpointPhase phase) {
  switch (phase) {
    case CheckpointPhase::kRest:
      return "rest";
    case CheckpointPhase::kPrepare:
      return "prepare";
    case CheckpointPhase::kInProgress:
      return "in_progress";
    case CheckpointPhase::kWaitPending:
      return "wait_pending";
    case CheckpointPhase::kWaitFlush:
      return "wait_flush";
  }
  return "unknown";
}

}  // namespace tailrace::kv
