#pragma once
// Sequential reads of the segment files with several pieces in flight, so that the disk works while
// records are checked. For recovery, which reads everything once.

#include <deque>
#include <memory>
#include <vector>

#include "fasterlog/format/record_reader.h"

namespace tailrace::fasterlog {

/// Reads forward as fast as the disk; a step back or a leap costs the pieces in flight. One thread.
class ReadAheadSource final : public ByteSource {
 public:
  /// Pieces are fetched up to `end` at most; requests beyond it are served all the same.
  static Result<std::unique_ptr<ReadAheadSource>> create(storage::FileSystem& file_system,
                                                         const SegmentFiles& segments, Address end);
  ~ReadAheadSource() override;

  Result<CheckedBytes> read(Address from, uint64_t wanted, MutableByteSpan into) override;

 private:
  struct Piece {
    Address from;
    uint64_t bytes = 0;
    storage::AlignedBuffer memory;
    std::shared_ptr<storage::File> file;
    bool there = false;
  };

  ReadAheadSource(const SegmentFiles& segments, Address end) : segments_(segments), end_(end) {}
  void fetch();               // keeps the window full
  Result<> wait_for_first();  // until the oldest piece is there
  Result<> drain();           // until nothing is in flight, then forgets all pieces

  const SegmentFiles& segments_;
  const Address end_;
  std::unique_ptr<storage::IoQueue> queue_;
  std::deque<std::unique_ptr<Piece>> window_;  // ascending, without gaps
  std::vector<std::unique_ptr<Piece>> idle_;
  Address next_;  // where the next piece begins
};

}  // namespace tailrace::fasterlog
