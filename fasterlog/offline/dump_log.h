#pragma once
// Hands out what a log's files hold, record by record, over damage where that is wanted.

#include <functional>

#include "fasterlog/offline/log_files.h"

namespace tailrace::fasterlog {

struct DumpOptions {
  Address from;  // 0: begin
  Address to = Address::max();
  /// Goes on behind damage; also gives the sound records of batches that are not whole.
  bool skip_damage = false;
  LogSizes sizes;
};

struct DumpedRecord {
  Address address;
  Address end;
  Epoch epoch;
  RecordKind kind = RecordKind::kInvalid;
  ByteSpan payload;         // until the visitor returns
  bool whole_batch = true;  // else others of its batch are lost
  /// The same for records of one commit mark: the address of the first of them that was read.
  Address batch;
  /// Log time of the commit mark that ends its batch; 0 where that is lost.
  uint64_t batch_time_ns = 0;
};

/// Both are called in the order of the log; `record` returns false to end the dump.
struct DumpVisitor {
  std::function<bool(const DumpedRecord&)> record;
  std::function<void(AddressRange, const std::string& file, const std::string& reason)> skipped;
};

/// Every record that begins in [from, to), without padding and marks. A batch that a crash left
/// unfinished at the log's end is not shown, it never was in the log. Reads only, also while the
/// log is in use. kCorruption at the first damage unless it is to be skipped; else as
/// open_log_files.
Result<> dump_log(storage::FileSystem& file_system, const storage::Path& directory,
                  const DumpOptions& options, const DumpVisitor& visitor);

}  // namespace tailrace::fasterlog
