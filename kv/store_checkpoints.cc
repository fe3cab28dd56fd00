// The store's calls about checkpoints.

#include "kv/checkpoint/check.h"
#include "kv/checkpoint/legacy.h"
#include "kv/store_impl.h"

namespace tailrace::kv {

Result<> StoreImpl::start_checkpoint(CheckpointRequest request) {
  return checkpoints_->start(std::move(request));
}

CheckpointProgress StoreImpl::checkpoint_progress() const {
  return checkpoints_->progress();
}

Result<StoreImpl::Moment> StoreImpl::freeze_moment() {
  return checkpoints_->freeze_moment();
}

Result<std::vector<CheckpointInfo>> StoreImpl::checkpoints() const {
  TAILRACE_ASSIGN_OR_RETURN(const auto tokens, directory_.tokens());
  std::vector<CheckpointInfo> found;
  for (const uint64_t token : tokens) {
    if (auto manifest = directory_.manifest(token)) found.push_back(std::move(manifest->info));
  }
  return found;
}

Result<> StoreImpl::validate_checkpoint(uint64_t token) const {
  TAILRACE_RETURN_IF_ERROR(checkpoints_->start_reading(token));
  const auto check = [&]() -> Result<> {
    TAILRACE_ASSIGN_OR_RETURN(auto manifest, directory_.manifest(token));
    if (manifest.format == 1) {
      return read_legacy_pairs(directory_, manifest, [](ByteSpan, ByteSpan) { return Result<>{}; });
    }
    return check_contents(directory_, manifest, engine_->log().segments(), {});
  };
  auto checked = check();
  checkpoints_->done_reading(token);
  if (!checked && checked.error().code == ErrorCode::kNotFound) {
    checked.error().code = ErrorCode::kCorruption;  // a file that should be there
  }
  return checked;
}

Result<LogAddress> StoreImpl::advance_begin(LogAddress until) {
  const CheckpointPhase phase = coordinator_.phase();
  if (phase == CheckpointPhase::kInProgress || phase == CheckpointPhase::kWaitPending) {
    return make_error(ErrorCode::kWouldBlock, "sessions cross over to the next version");
  }
  // Should they begin to now: what was moved was moved in the version that they leave.
  HybridLog& log = engine_->log();
  // Not half way: a pin may be in the middle of a record.
  pins_.up_to(until, [&](LogAddress begin) {
    if (begin == until) log.set_begin(begin);
  });
  TAILRACE_RETURN_IF_ERROR(release_disk());
  return log.begin();
}

Result<> StoreImpl::release_disk() {
  return checkpoints_->release_disk();
}

}  // namespace tailrace::kv
