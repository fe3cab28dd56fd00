#pragma once
// Who still needs the log, and up to where: truncation goes to the least anchor and no further.

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/address.h"
#include "core/mutex.h"

namespace tailrace::statemachine {

/// By name: ARCHITECTURE.md ("Checkpoint, then truncate") has all of them. Any thread.
class AnchorRegistry {
 public:
  /// Sets or moves the anchor; bytes at or above `address` are kept.
  void set(const std::string& name, Address address);
  void remove(const std::string& name);
  /// The least anchor and its name; Address 0 and "none" while there is no `checkpoint` anchor:
  /// nothing may be truncated before a checkpoint was published.
  std::pair<Address, std::string> limit() const;
  std::vector<std::pair<std::string, Address>> all() const;

 private:
  mutable Mutex mutex_;
  std::map<std::string, Address> anchors_ TAILRACE_GUARDED_BY(mutex_);
};

}  // namespace tailrace::statemachine
