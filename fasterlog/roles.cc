// Who may write the log, and its end.
#include <algorithm>

#include "fasterlog/log_impl.h"
#include "fasterlog/time/log_time.h"

namespace tailrace::fasterlog {

Result<> LogImpl::become_writer(Epoch epoch) {
  const MutexLock role(role_mutex_);
  TAILRACE_RETURN_IF_ERROR(settle());
  if (epoch < last_epoch())
    return make_error(ErrorCode::kFailedPrecondition, "epoch " + std::to_string(epoch.value) +
                                                          " is below the log's last epoch " +
                                                          std::to_string(last_epoch().value));
  core_->epoch.store(epoch.value);
  note_epoch(epoch, core_->ring.tail());
  if (core_->options.time) core_->options.time->begin();
  core_->mode.store(Mode::kWriter);
  return {};
}

Result<> LogImpl::become_copy() {
  const MutexLock role(role_mutex_);
  TAILRACE_RETURN_IF_ERROR(settle());
  last_mark_end_ = core_->ring.tail();
  forget_unwritten_epoch();
  core_->mode.store(Mode::kCopy);
  return {};
}

Result<> LogImpl::close() {
  const MutexLock role(role_mutex_);
  if (core_->closed.load()) return {};
  // A copy stays one while its last bytes are flushed: they bring their own mark.
  if (core_->mode.load() != Mode::kCopy) core_->mode.store(Mode::kClosed);
  core_->protection.wait_safe(core_->protection.bump());
  flusher_.stop();
  core_->mode.store(Mode::kClosed);
  {
    const MutexLock lock(core_->wait_mutex);
    core_->closed.store(true);
    core_->durable_moved.notify_all();
    core_->room_made.notify_all();
  }
  core_->listeners->close(durable());
  registration_ = {};
  lock_.reset();
  if (auto failure = core_->failure_copy()) return tl::unexpected(*failure);
  return {};
}

tl::unexpected<Error> LogImpl::refuse_role(std::string_view role) const {
  if (core_->mode.load() == Mode::kClosed)
    return make_error(ErrorCode::kClosed, "the log was closed");
  return make_error(ErrorCode::kFailedPrecondition,
                    "the log is not written as " + std::string(role) + " now");
}

tl::unexpected<Error> LogImpl::refuse_epoch(Epoch asked, Epoch present) {
  return make_error(ErrorCode::kFailedPrecondition,
                    "the log is written in epoch " + std::to_string(present.value) +
                        " now, not in epoch " + std::to_string(asked.value));
}

Result<> LogImpl::settle() {
  if (core_->closed.load()) return make_error(ErrorCode::kClosed, "the log was closed");
  // A copy stays one while its last bytes are flushed: they bring their own mark.
  if (core_->mode.load() == Mode::kWriter) core_->mode.store(Mode::kNone);
  core_->protection.wait_safe(core_->protection.bump());
  // The flusher's mark moves the tail once more, at most.
  while (durable() < tail()) {
    TAILRACE_RETURN_IF_ERROR(wait_durable(tail(), SteadyTime::max(), {}));
  }
  core_->mode.store(Mode::kNone);
  if (auto failure = core_->failure_copy()) return tl::unexpected(*failure);
  return {};
}

void LogImpl::note_epoch(Epoch epoch, Address start) {
  const MutexLock lock(core_->index_mutex);
  auto& epochs = core_->epochs;
  start = next_record_address(start, core_->options.page_bytes);
  // An epoch in which nothing was written leaves no trace.
  while (!epochs.empty() && epochs.back().start >= start)
    epochs.pop_back();
  if (epochs.empty() || epochs.back().epoch < epoch) epochs.push_back({epoch, start});
}

// The epoch in which this log was to be written; a copy may get records of one before it.
void LogImpl::forget_unwritten_epoch() {
  {
    const MutexLock lock(core_->index_mutex);
    while (!core_->epochs.empty() && core_->epochs.back().start >= core_->ring.tail())
      core_->epochs.pop_back();
  }
  copied_epoch_ = last_record_epoch();
  core_->epoch.store(copied_epoch_.value);
}

Epoch LogImpl::last_record_epoch() const {
  const MutexLock lock(core_->index_mutex);
  return core_->epochs.empty() ? Epoch{} : core_->epochs.back().epoch;
}

void LogImpl::drop_epochs_before(Address begin, std::vector<EpochStart>& epochs) {
  // One that begins right at `begin` may have no record yet, or lose them all to a cut: the one
  // before stays.
  while (epochs.size() > 1 && epochs[1].start < begin)
    epochs.erase(epochs.begin());
}

void LogImpl::note_configurations(ConfigurationTable found) {
  if (found.empty()) return;
  const MutexLock lock(core_->index_mutex);
  auto table = std::make_shared<ConfigurationTable>(*core_->configurations);
  for (ConfigurationRecord& each : found) {
    // Writers come here in any order of their addresses.
    const auto behind = std::upper_bound(
        table->begin(), table->end(), each.start,
        [](Address start, const ConfigurationRecord& other) { return start < other.start; });
    table->insert(behind, std::move(each));
  }
  core_->configurations = std::move(table);
}

void LogImpl::drop_configurations_before(Address begin, ConfigurationTable& table) {
  // The one in force at `begin` stays, whether or not its record does.
  auto stays = table.begin();
  while (stays != table.end() && std::next(stays) != table.end() && std::next(stays)->start < begin)
    ++stays;
  table.erase(table.begin(), stays);
}

std::shared_ptr<const ConfigurationTable> LogImpl::configurations() const {
  const MutexLock lock(core_->index_mutex);
  return core_->configurations;
}

Epoch LogImpl::epoch_before(Address end) const {
  const MutexLock lock(core_->index_mutex);
  // The newest ones are asked for most.
  for (auto each = core_->epochs.rbegin(); each != core_->epochs.rend(); ++each)
    if (each->start < end) return each->epoch;
  return {};
}

std::vector<EpochStart> LogImpl::epoch_table() const {
  const MutexLock lock(core_->index_mutex);
  std::vector<EpochStart> table = core_->epochs;
  // An epoch that has written nothing yet has no first address.
  while (!table.empty() && table.back().start >= core_->ring.tail())
    table.pop_back();
  while (table.size() > 1 && table[1].start < begin())
    table.erase(table.begin());
  return table;
}

}  // namespace tailrace::fasterlog
