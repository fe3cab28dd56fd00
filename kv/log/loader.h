#pragma once
// Reads a log's pages back from disk: for recovery, and for whoever wants to know that all is well.

#include <functional>
#include <memory>

#include "core/result.h"
#include "kv/log/hybrid_log.h"
#include "kv/log/read_ahead.h"
#include "kv/log/segments.h"
#include "storage/file_system.h"

namespace tailrace::kv {

/// Compares the blocks of [from, until) with the checksums in their pages' headers, reading at the
/// disk's speed. Also beside a writer, as long as what is read was durable before.
class LogVerifier {
 public:
  static Result<std::unique_ptr<LogVerifier>> create(storage::FileSystem& file_system,
                                                     LogSegments& segments, uint64_t page_bytes);

  /// What is called as it goes; each may be null.
  struct Sink {
    /// A page's header, before its blocks.
    std::function<void(uint64_t page, ByteSpan header)> header;
    /// Whole blocks that have passed, in ascending order.
    std::function<void(LogAddress address, ByteSpan blocks)> blocks;
    std::function<void(uint64_t done, uint64_t total)> progress;
  };
  /// [from, until) in whole blocks; only the headers of pages wholly below `headers_until`.
  /// kCorruption and kNotFound name file and offset.
  Result<> verify(LogAddress from, LogAddress until, LogAddress headers_until, const Sink& sink);

 private:
  explicit LogVerifier(LogSegments& segments, uint64_t page_bytes)
      : segments_(segments), page_bytes_(page_bytes) {}
  void read_ahead();

  LogSegments& segments_;
  const uint64_t page_bytes_;
  std::unique_ptr<LogReadAhead> reader_;
  LogAddress next_ = 0;  // to ask for
  LogAddress until_ = 0;
  LogAddress headers_until_ = 0;
};

/// HybridLog::recover() after the log object was made.
class LogLoader {
 public:
  LogLoader(HybridLog& log, const HybridLog::Start& start, const HybridLog::Loading& loading)
      : log_(log), start_(start), loading_(loading) {}
  Result<> load(storage::FileSystem& file_system);

 private:
  Result<> check_start() const;
  Result<> take_frames();
  Result<> read_pages(storage::FileSystem& file_system);
  Result<> check_parts(storage::FileSystem& file_system, const LogVerifier::Sink& sink,
                       LogAddress first_in_memory);
  Result<> fill_rest();

  HybridLog& log_;
  const HybridLog::Start& start_;
  const HybridLog::Loading& loading_;
  LogAddress flushed_ = 0;   // whole blocks
  uint64_t first_page_ = 0;  // that is in memory
};

}  // namespace tailrace::kv
