#pragma once
// Readers of a log that go on: scanners and named consumers.

#include <optional>
#include <stop_token>
#include <string>

#include "core/address.h"
#include "core/clock.h"
#include "core/result.h"
#include "fasterlog/types/records.h"

namespace tailrace::fasterlog {

/// Yields records in order. One thread at a time.
class LogScanner {
 public:
  virtual ~LogScanner() = default;
  /// The next record below `limit` (at most durable), or nothing when there is none yet. kTruncated
  /// when `begin` has passed the position, kOutOfRange when truncate_after() cut the log before it.
  virtual Result<std::optional<Record>> next(Address limit) = 0;
  /// Waits until next() may have something more (it may be a commit mark alone): kTimedOut,
  /// kCancelled, kClosed or the log's failure.
  virtual Result<> wait(SteadyTime deadline = SteadyTime::max(), std::stop_token stop = {}) = 0;
  /// Where the next record will be looked for.
  virtual Address position() const = 0;
};

/// A named reader. One thread at a time.
class Consumer {
 public:
  virtual ~Consumer() = default;
  virtual const std::string& name() const = 0;
  /// The end of what was acknowledged: where reading begins again after a crash.
  virtual Address position() const = 0;
  /// The next record, whether or not the ones before were acknowledged; as LogScanner::next.
  virtual Result<std::optional<Record>> next() = 0;
  /// Waits until there may be one, as LogScanner::wait.
  virtual Result<> wait(SteadyTime deadline = SteadyTime::max(), std::stop_token stop = {}) = 0;
  /// Everything that ends at or below `end` (a record's end) is done with: durable when it returns,
  /// never backwards. kOutOfRange when truncate_after() cut the log before what was read: open it
  /// again. Costs a small file's replacement, so acknowledge stretches, not records.
  virtual Result<> acknowledge(Address end) = 0;
};

}  // namespace tailrace::fasterlog
