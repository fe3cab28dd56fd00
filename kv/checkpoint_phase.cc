#include "kv/store.h"

namespace tailrace::kv {

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
