#include "history/historian.h"

#include <algorithm>

#include "core/thread.h"
#include "history/stretch_writer.h"
#include "observability/logging.h"

namespace tailrace::history {

Historian::Historian(storage::FileSystem& file_system, fasterlog::Log& log,
                     statemachine::AnchorRegistry& anchors, Catalogue& catalogue,
                     EventOutcomes& outcomes, const HistorianOptions& options)
    : anchors_(anchors),
      options_(options),
      writer_(std::make_unique<StretchWriter>(file_system, log, catalogue, outcomes, options)) {}

Historian::~Historian() {
  stop();
}

Result<> Historian::start() {
  TAILRACE_ASSIGN_OR_RETURN(const Address complete, writer_->complete());
  anchors_.set(kHistoryAnchor, complete);
  {
    const MutexLock lock(mutex_);
    status_.complete = complete;
  }
  thread_ = named_thread("historian", [this] { run(); });
  return {};
}

void Historian::stop() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  stop_.request_stop();
  work_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Historian::wake() {
  {
    const MutexLock lock(mutex_);
    awake_ = true;
  }
  work_.notify_all();
}

void Historian::want(Address to) {
  {
    const MutexLock lock(mutex_);
    if (to <= wanted_) return;
    wanted_ = to;
    awake_ = true;
  }
  work_.notify_all();
}

HistorianStatus Historian::status() const {
  const MutexLock lock(mutex_);
  return status_;
}

Address Historian::bound() const {
  Address least = Address::max(), checkpoint;
  for (const auto& [name, address] : anchors_.all()) {
    if (name == "checkpoint") checkpoint = address;
    if (name != kHistoryAnchor) least = std::min(least, address);
  }
  const MutexLock lock(mutex_);
  return status_.complete < wanted_ ? checkpoint : std::min(least, checkpoint);
}

Result<> Historian::work() {
  for (;;) {
    TAILRACE_ASSIGN_OR_RETURN(const auto complete, writer_->write_next(bound(), stop_.get_token()));
    if (!complete) return {};
    anchors_.set(kHistoryAnchor, *complete);
    if (options_.on_complete)
      if (const auto told = options_.on_complete(*complete); !told)
        observability::log_warning("history: {}", told.error().message);
    const MutexLock lock(mutex_);
    status_.complete = *complete;
    ++status_.stretches;
    status_.trouble.reset();
  }
}

void Historian::note(const Result<>& worked) {
  const MutexLock lock(mutex_);
  if (worked) {
    if (status_.trouble) observability::log_info("history: it goes on");
    status_.trouble.reset();
    return;
  }
  if (stopping_ || status_.trouble == worked.error()) return;
  observability::log_error("history holds back truncation: {}", worked.error().message);
  status_.trouble = worked.error();
}

void Historian::run() {
  for (;;) {
    note(work());
    MutexLock lock(mutex_);
    work_.wait_for(lock, options_.interval,
                   [this]() TAILRACE_REQUIRES(mutex_) { return awake_ || stopping_; });
    awake_ = false;
    if (stopping_) return;
  }
}

}  // namespace tailrace::history
