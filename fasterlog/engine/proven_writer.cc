#include "fasterlog/engine/proven_writer.h"

#include <algorithm>
#include <utility>

#include "core/thread.h"
#include "fasterlog/engine/log_core.h"

namespace tailrace::fasterlog {

ProvenWriter::ProvenWriter(LogCore& core, std::function<void(Error)> failed)
    : core_(core), failed_(std::move(failed)) {}

ProvenWriter::~ProvenWriter() {
  stop();
}

void ProvenWriter::start() {
  {
    const MutexLock lock(mutex_);
    stopping_ = false;
  }
  busy_.store(false);
  thread_ = named_thread("log_proven", [this] { run(); });
}

void ProvenWriter::stop() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void ProvenWriter::want(Address durable) {
  {
    const MutexLock lock(mutex_);
    wanted_ = durable;
    busy_.store(true, std::memory_order_release);
  }
  wake_.notify_all();
}

void ProvenWriter::run() {
  MutexLock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this]() TAILRACE_REQUIRES(mutex_) { return stopping_ || busy_.load(); });
    // What waits is left to the next start, or to who closes the log.
    if (stopping_) return;
    const Address durable = wanted_;
    lock.unlock();
    auto written = write(durable, false);
    if (!written && written.error().code != ErrorCode::kResourceExhausted) {
      failed_(std::move(written).error());
      return;
    }
    lock.lock();
    busy_.store(false, std::memory_order_release);
  }
}

Result<> ProvenWriter::write(Address durable, bool clean) {
  TAILRACE_RETURN_IF_ERROR(core_.keeper.update([&](LogMetadata& metadata) {
    metadata.proven = std::max(metadata.proven, durable);
    core_.describe_proven(metadata);
    metadata.clean = clean;
  }));
  proven_.store(durable.value);
  return {};
}

}  // namespace tailrace::fasterlog
