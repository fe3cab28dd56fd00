#pragma once
// Walks records forward through a buffer of its own, wherever the bytes come from.

#include <cstdint>
#include <string_view>
#include <utility>

#include "fasterlog/format/checked_bytes.h"
#include "fasterlog/format/segment_files.h"
#include "storage/aligned_buffer.h"

namespace tailrace::fasterlog {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// Fills at least the first `wanted` bytes of `into` with what stands from `from` on. `from` and
  /// into's size are multiples of the block, into's memory is aligned. Gives the part of `into`
  /// that comes from this process's memory, checked; none of a disk's.
  virtual Result<CheckedBytes> read(Address from, uint64_t wanted, MutableByteSpan into) = 0;
};

/// The segment files alone (recovery, inspection).
class DiskSource final : public ByteSource {
 public:
  explicit DiskSource(const SegmentFiles& segments) : segments_(segments) {}
  Result<CheckedBytes> read(Address from, uint64_t /*wanted*/, MutableByteSpan into) override {
    TAILRACE_RETURN_IF_ERROR(segments_.read_aligned(from, into));
    return CheckedBytes{};
  }

 private:
  const SegmentFiles& segments_;
};

/// Checks each record that comes from a disk, and the first one after seek(), which shows that a
/// record begins there. One thread at a time.
class RecordReader {
 public:
  enum class Status { kRecord, kEnd, kBad };
  struct Step {
    Status status = Status::kEnd;
    ParsedRecord record;        // with kRecord; its payload lives until the next call
    Address bad_at;             // with kBad
    std::string_view reason{};  // with kBad
  };

  /// `memory` is used as far as it reaches: what take_memory() of an earlier reader gave back.
  RecordReader(ByteSource& source, uint64_t page_bytes, uint64_t read_ahead,
               storage::AlignedBuffer memory = {})
      : source_(source),
        page_bytes_(page_bytes),
        read_ahead_(read_ahead),
        buffer_(std::move(memory)) {}
  /// The end of the reader.
  storage::AlignedBuffer take_memory() { return std::move(buffer_); }

  Address position() const { return position_; }
  void seek(Address position) {
    position_ = position;
    at_record_ = false;
  }
  /// What was read ahead is no longer what the source says, nor do records begin where they did.
  void forget() {
    base_ = base_end_ = Address{};
    checked_ = {};
    at_record_ = false;
  }
  /// The next record of any kind that ends at or below `limit`; kEnd when none begins below it. On
  /// kBad, and on an error of the source, the position stays.
  Result<Step> next(Address limit);
  /// The record's bytes as they stand, header and alignment included; until the next call.
  ByteSpan raw(const ParsedRecord& record) const {
    return {buffer_.data() + (record.address - base_), record.end - record.address};
  }

 private:
  /// Makes [from, from + bytes) (below limit) stand in the buffer.
  Result<ByteSpan> bytes_at(Address from, uint64_t bytes, Address limit);

  ByteSource& source_;
  const uint64_t page_bytes_;
  const uint64_t read_ahead_;
  Address position_;
  bool at_record_ = false;  // the one before position_ was sound
  CheckedBytes checked_;    // in buffer_
  Address base_;            // buffer_[0] is this address's byte
  Address base_end_;        // the end of what is valid in the buffer
  storage::AlignedBuffer buffer_;
};

}  // namespace tailrace::fasterlog
