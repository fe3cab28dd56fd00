#pragma once
// Notes in META up to where the log is known to be durable, on a thread of its own: it takes two
// fsyncs, in which no batch would become durable.

#include <atomic>
#include <functional>
#include <thread>

#include "core/address.h"
#include "core/mutex.h"
#include "core/result.h"

namespace tailrace::fasterlog {

struct LogCore;

/// proven <= durable. All calls but proven() are the flusher's, on its thread or while that rests.
class ProvenWriter {
 public:
  /// `failed` is called on the writer's thread: a write or fsync failed, which is final.
  ProvenWriter(LogCore& core, std::function<void(Error)> failed);
  ~ProvenWriter();
  ProvenWriter(const ProvenWriter&) = delete;
  ProvenWriter& operator=(const ProvenWriter&) = delete;

  void start();
  /// Nothing is written any more when it returns, and nothing waits to be.
  void stop();
  /// META is to say that everything below `durable` is. Not while busy(). A full disk is no failed
  /// write: proven() stays where it is until this is called again.
  void want(Address durable);
  bool busy() const { return busy_.load(std::memory_order_acquire); }
  /// Any thread.
  Address proven() const { return Address{proven_.load()}; }

  // ---- While it is stopped.
  /// Writes it at once, and whether the log was closed in order.
  Result<> write(Address durable, bool clean);
  /// What META says already: at first, and where the log was cut.
  void reset_to(Address proven) { proven_.store(proven.value); }

 private:
  void run();

  LogCore& core_;
  const std::function<void(Error)> failed_;
  std::atomic<uint64_t> proven_{0};
  std::atomic<bool> busy_{false};
  Mutex mutex_;
  Condition wake_;
  Address wanted_ TAILRACE_GUARDED_BY(mutex_);  // of use while busy_
  bool stopping_ TAILRACE_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace tailrace::fasterlog
