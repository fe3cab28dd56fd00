#pragma once
// Reads pieces of the hybrid log's files, several in flight, and hands them out in the order in
// which they were asked for. Checks nothing but that the bytes are there.

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "core/result.h"
#include "kv/log/segments.h"
#include "storage/aligned_buffer.h"
#include "storage/file_system.h"

namespace tailrace::kv {

/// One thread.
class LogReadAhead {
 public:
  struct Piece {
    LogAddress address = 0;
    MutableByteSpan bytes;
    bool from_disk = true;
  };

  /// `pieces` of at most `piece_bytes` (a multiple of the block) each.
  static Result<std::unique_ptr<LogReadAhead>> create(storage::FileSystem& file_system,
                                                      LogSegments& segments, uint64_t piece_bytes,
                                                      size_t pieces);

  uint64_t piece_bytes() const { return piece_bytes_; }
  bool full() const { return asked_.size() + (handed_out_ ? 1 : 0) == slots_.size(); }
  /// Asks for [address, address + bytes), whole blocks of one segment. Not when full().
  void read(LogAddress address, uint64_t bytes);
  /// A piece that does not come from the disk: the caller fills it now. Not when full().
  MutableByteSpan put(LogAddress address, uint64_t bytes);
  /// The oldest piece, valid until the next call; nothing when there is none. Waits for the disk.
  /// kNotFound: the segment is absent; kCorruption: it is too short.
  Result<std::optional<Piece>> next();

 private:
  struct Slot {
    MutableByteSpan memory;
    LogAddress address = 0;
    uint64_t bytes = 0;
    bool from_disk = true;
    bool done = false;
    std::optional<Error> error;
    LogSegments::FilePointer file;
  };
  LogReadAhead(LogSegments& segments, uint64_t piece_bytes)
      : segments_(segments), piece_bytes_(piece_bytes) {}
  Slot& take(LogAddress address, uint64_t bytes);

  LogSegments& segments_;
  const uint64_t piece_bytes_;
  storage::AlignedBuffer memory_;
  std::vector<Slot> slots_;
  std::vector<size_t> free_;
  std::deque<size_t> asked_;
  std::optional<size_t> handed_out_;
  std::vector<storage::Completion> completions_;
  // Last: its end waits for what is in flight.
  std::unique_ptr<storage::IoQueue> queue_;
};

}  // namespace tailrace::kv
