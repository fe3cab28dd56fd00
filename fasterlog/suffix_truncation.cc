// Cutting the log's end off, for a copy that diverged. The order, and what a crash leaves:
//
//   1. everything is flushed and the flusher rests
//   2. META says cut = to, durably        before: the old log; from here on: the cut log. Recovery
//                                         looks at nothing beyond the cut, and goes on with 3.
//   3. segments beyond are deleted, the rest of the cut one is zeroed, both durably
//   4. META says no cut any more          now the space may be written again
#include <algorithm>

#include "fasterlog/log_impl.h"

namespace tailrace::fasterlog {

Result<Address> LogImpl::truncate_after(Address address) {
  const MutexLock role(role_mutex_);
  const MutexLock truncating(truncate_mutex_);
  if (core_->closed.load()) return make_error(ErrorCode::kClosed, "the log was closed");
  if (address < begin() || address > tail())
    return make_error(ErrorCode::kOutOfRange, "address " + std::to_string(address.value) +
                                                  " is not in the log, which is from " +
                                                  std::to_string(begin().value) + " to " +
                                                  std::to_string(tail().value));
  const Mode mode = core_->mode.load();
  TAILRACE_RETURN_IF_ERROR(settle());
  flusher_.rest();
  Result<Address> to = core_->failed.load()
                           ? Result<Address>(tl::unexpected(*core_->failure_copy()))
                           : mark_end_not_above(address);
  if (to && *to < durable()) {
    if (auto cut = cut_at(*to, mode); !cut) {
      // Half-way: only an open can tell what is there now.
      flusher_.fail(with_context("truncate the suffix", cut.error()));
      to = tl::unexpected(*core_->failure_copy());
    }
  }
  flusher_.start();
  core_->mode.store(mode);
  core_->cuts_over.fetch_add(1);
  const MutexLock lock(core_->wait_mutex);
  core_->durable_moved.notify_all();
  core_->room_made.notify_all();
  return to;
}

Result<> LogImpl::cut_at(Address to, Mode role) {
  LogCore& core = *core_;
  std::vector<EpochStart> epochs;
  std::shared_ptr<const ConfigurationTable> configurations;
  {
    const MutexLock lock(core.index_mutex);
    while (core.epochs.size() > 1 && core.epochs.back().start >= to)
      core.epochs.pop_back();
    if (!core.epochs.empty() && core.epochs.back().start >= to && to == kFirstAddress)
      core.epochs.clear();
    epochs = core.epochs;
    auto table = *core.configurations;
    std::erase_if(table, [&](const ConfigurationRecord& each) { return each.start >= to; });
    configurations = std::make_shared<const ConfigurationTable>(std::move(table));
    core.configurations = configurations;
    core.marks.erase(std::upper_bound(core.marks.begin(), core.marks.end(), to), core.marks.end());
    if (core.marks.empty()) core.marks.push_back(begin());
  }
  TAILRACE_RETURN_IF_ERROR(core.keeper.update([&](LogMetadata& metadata) {
    metadata.cut = metadata.proven = to;
    metadata.epochs = epochs;
    metadata.configurations = *configurations;
    metadata.clean = false;
  }));
  core.durable.store(to.value);
  core.flushing.store(to.value);
  {
    // After durable: who sees the cut must not go by the old one any more. Before the bytes change:
    // who met others than he looked for finds out why. Before the consumers' positions: what is
    // acknowledged later is checked against it.
    const MutexLock lock(core.index_mutex);
    core.cuts.push_back(to);
    core.cut_count.store(core.cuts.size());
  }
  TAILRACE_RETURN_IF_ERROR(core.consumers.cut_at(to));
  // Whoever copies out of memory with the old durable in mind has left.
  core.protection.wait_safe(core.protection.bump());
  TAILRACE_RETURN_IF_ERROR(discard_beyond(core.segments, begin(), to));
  TAILRACE_RETURN_IF_ERROR(
      core.keeper.update([](LogMetadata& metadata) { metadata.cut = Address{}; }));
  if (core.ring.page_floor(to) >= core.ring.head()) {
    core.ring.set_tail(to);
  } else {
    TAILRACE_RETURN_IF_ERROR(load_tail_page(core, to));
  }
  last_mark_end_ = to;
  if (role == Mode::kWriter) {
    if (Epoch{core.epoch.load()} > last_record_epoch()) note_epoch(Epoch{core.epoch.load()}, to);
  } else {
    forget_unwritten_epoch();
  }
  flusher_.reset_to(to);
  return {};
}

}  // namespace tailrace::fasterlog
