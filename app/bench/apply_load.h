#pragma once
// Load for the state machine alone: a log full of commands, and one applier.

#include <cstdint>
#include <functional>
#include <string>

#include "core/result.h"
#include "storage/file_system.h"

namespace tailrace::app {

/// What each command does: puts 8 bytes; adds 1 to a number; is a transaction that appends one
/// event of 100 bytes to a stream.
enum class ApplyLoadKind : uint8_t { kPut, kAdd, kTxn };

struct ApplyLoadOptions {
  storage::Path directory;  // where log and store go, each below a folder of its own
  ApplyLoadKind kind = ApplyLoadKind::kPut;
  uint64_t commands = 8'000'000;
  uint64_t keys = 1'000'000;  // or streams, of 8 bytes, drawn evenly; all of them are there before
  uint32_t sessions = 0;      // of exactly-once clients; 0: commands carry none
  /// Of the store; what does not fit is read from the disk. 0: enough for all.
  uint64_t memory_bytes = 0;
};

struct ApplyLoadResult {
  uint64_t log_bytes = 0;
  double seconds = 0;
  double commands_per_s = 0;
  double scan_records_per_s = 0;  // the same records read from the log's memory and decoded alone
  // Of the store's log, when all keys were loaded.
  uint64_t store_bytes = 0, memory_bytes = 0;
};

/// `stage` is told what is done now.
Result<ApplyLoadResult> run_apply_load(storage::FileSystem& file_system,
                                       const ApplyLoadOptions& options,
                                       const std::function<void(const std::string&)>& stage);

}  // namespace tailrace::app
