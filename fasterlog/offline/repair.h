#pragma once
// Makes a damaged log one that opens again: what is sound before the first damage stays, all behind
// it is cut off. Nothing is changed before every file that will be was copied, durably.

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "fasterlog/offline/check_log.h"

namespace tailrace::fasterlog {

struct RepairOptions {
  /// META is lost or damaged: makes it anew from the segments, for this owner.
  bool rebuild_metadata = false;
  std::string owner;
  CheckOptions check;
};

/// What a repair does, or would do.
struct RepairPlan {
  CheckReport report;
  std::optional<Address> cut;           // the log will end here
  std::optional<LogMetadata> metadata;  // rebuilt META
  std::vector<AddressRange> zeroed;     // bytes that hold nothing and are not zero
  std::vector<std::string> removed;     // names of files that will be gone
  std::vector<std::string> changed;     // names of files that will have other bytes
  uint64_t kept_records = 0;
  uint64_t lost_records = 0;       // sound ones behind the cut; the copies have them
  std::vector<std::string> steps;  // all of this in words, in the order of doing

  bool nothing_to_do() const { return steps.empty(); }
};

/// Reads only. kInUse while the log is open, kFailedPrecondition when META is lost and not to be
/// rebuilt (or is to be and is not lost), kInvalidArgument when sizes or the owner are to be given,
/// else as check_log.
Result<RepairPlan> plan_repair(storage::FileSystem& file_system, const storage::Path& directory,
                               const RepairOptions& options);

struct RepairResult {
  RepairPlan plan;
  storage::Path copies;  // empty when there was nothing to do
};

/// Takes the log's lock, plans, copies to `directory`.repair-N, writes `report_of` the plan there
/// as report.json, then does it. After a failure or a crash the copies are whole or nothing was
/// changed yet, and it can be run again.
Result<RepairResult> repair_log(storage::FileSystem& file_system, const storage::Path& directory,
                                const RepairOptions& options,
                                const std::function<std::string(const RepairPlan&)>& report_of);

}  // namespace tailrace::fasterlog
