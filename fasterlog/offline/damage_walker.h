#pragma once
// Walks everything that the segment files hold, over damage too. Page by page, because each page
// begins with a record and none crosses its end; within a page, behind a bad record, by looking for
// the next multiple of 8 where a record is sound. A checksum covers the record's own address, so
// bytes that merely look like a record (a payload, a recycled segment) are not taken for one.

#include <string>

#include "fasterlog/format/record.h"
#include "fasterlog/format/segment_files.h"
#include "storage/aligned_buffer.h"

namespace tailrace::fasterlog {

/// Bytes of one file that are not what has to stand there.
struct BadStretch {
  Address first;
  Address end;
  std::string reason;
  AddressRange not_zero;       // from the first to behind the last byte that is not zero
  bool holds_nothing = false;  // only zeros may stand there: making it zero loses no record
  bool no_file = false;        // the segment is absent
};

/// One thread at a time.
class DamageWalker {
 public:
  enum class Status { kRecord, kBad, kEnd };
  struct Step {
    Status status = Status::kEnd;
    ParsedRecord record;  // with kRecord; its payload lives until the next call
    BadStretch bad;       // with kBad: at most to the end of its page
  };

  DamageWalker(const SegmentFiles& segments, uint64_t page_bytes)
      : segments_(segments), page_bytes_(page_bytes) {}

  /// `from` is where a record begins, or the end of one; nothing at or behind `end` is looked at.
  void seek(Address from, Address end);
  Address position() const { return position_; }
  /// What stands at the position, in order and without gaps. Blocks that the disk cannot read are
  /// bad stretches; any other failure of the file system ends the walk.
  Result<Step> next();

 private:
  Result<> load_page();
  Result<> load_block_by_block(Address page);
  bool sound_at(Address at, ParsedRecord& record) const;
  Step no_segment();
  Step bad_until(Address end, std::string reason, bool holds_nothing);
  ByteSpan bytes(Address from, Address end) const {
    return {page_.data() + (from - page_begin_), end - from};
  }

  const SegmentFiles& segments_;
  const uint64_t page_bytes_;
  Address position_;
  Address end_;
  storage::AlignedBuffer page_;
  Address page_begin_;
  Address page_end_;        // of what counts: at most end_; page_begin_ when nothing is loaded
  std::string unreadable_;  // what the disk said of blocks of this page
};

/// Reads from `from` (aligned) as SegmentFiles::read_aligned does. Blocks that the disk cannot read
/// are filled with 0xff, which no record begins with; `unreadable` then is the disk's message.
Result<> read_around_bad_blocks(const SegmentFiles& segments, Address from, MutableByteSpan into,
                                std::string& unreadable);

}  // namespace tailrace::fasterlog
