#pragma once
// Reads the log in order, page by page, from disk or memory, several reads ahead: for compaction,
// scans and recovery.

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/result.h"
#include "kv/log/hybrid_log.h"
#include "kv/log/read_ahead.h"
#include "storage/file_system.h"

namespace tailrace::kv {

/// One thread. Pages may be evicted while it walks, and `begin` may move; disk space from the
/// walker's place on must not be released (kTruncated).
class LogWalker {
 public:
  static Result<std::unique_ptr<LogWalker>> create(storage::FileSystem& file_system, HybridLog& log,
                                                   LogAddress from, LogAddress until);
  ~LogWalker();
  struct Item {
    LogAddress address = 0;
    Record* record = nullptr;  // a copy; valid until the next call
  };
  /// Every record of [from, until) that begins there, invalid ones too, in ascending order; all of
  /// it below safe_read_only() at creation. Nothing at the end. kCorruption names file and offset.
  Result<std::optional<Item>> next();

 private:
  LogWalker(HybridLog& log, LogAddress from, LogAddress until);
  void read_ahead();
  Result<> check(const LogReadAhead::Piece& piece);
  /// The next piece becomes the present one.
  Result<> advance();
  /// `bytes` from address_ on in one piece of memory.
  Result<std::byte*> view(uint64_t bytes);
  Error corrupt(LogAddress address, std::string_view what) const;

  HybridLog& log_;
  const LogAddress until_;
  LogAddress end_;      // of what is read
  LogAddress address_;  // where the next record begins
  LogAddress asked_;    // for pieces below it
  std::unique_ptr<LogReadAhead> reader_;
  LogReadAhead::Piece piece_;
  std::vector<uint64_t> joined_;  // a record that begins in one piece and ends in another
  uint64_t joined_bytes_ = 0;     // of the record at address_; 0: it is not in joined_
  std::vector<uint32_t> sums_;
};

}  // namespace tailrace::kv
