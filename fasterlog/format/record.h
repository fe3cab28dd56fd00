#pragma once
// The bytes of one record (docs/formats/fasterlog.md has the table), and how they are checked.

#include <cstdint>
#include <string_view>

#include "core/address.h"
#include "core/bytes.h"
#include "fasterlog/types/records.h"

namespace tailrace::fasterlog {

/// Stands before each record's payload, as it is on disk (little-endian).
struct RecordHeader {
  uint32_t crc = 0;  // crc32c of bytes 4..24, the payload, and the record's own address (u64)
  uint32_t payload_bytes = 0;
  uint8_t kind = 0;
  uint8_t flags = 0;  // none is known yet; a record with an unknown one is refused
  uint16_t reserved16 = 0;
  uint32_t reserved32 = 0;
  uint64_t epoch = 0;
};
inline constexpr size_t kHeaderBytes = 24;
static_assert(sizeof(RecordHeader) == kHeaderBytes);
static_assert(offsetof(RecordHeader, payload_bytes) == 4);
static_assert(offsetof(RecordHeader, kind) == 8);
static_assert(offsetof(RecordHeader, flags) == 9);
static_assert(offsetof(RecordHeader, reserved16) == 10);
static_assert(offsetof(RecordHeader, reserved32) == 12);
static_assert(offsetof(RecordHeader, epoch) == 16);

/// Records begin and end on multiples of this.
inline constexpr size_t kRecordAlignment = 8;
/// The payload of a commit mark: batch_begin, unix_time_ns, then zeros (see mark_bytes_at).
inline constexpr size_t kMarkPayloadBytes = 16;
inline constexpr size_t kLeastMarkBytes = kHeaderBytes + kMarkPayloadBytes;

/// What a record of that payload occupies.
constexpr uint64_t record_bytes(uint64_t payload_bytes) {
  return align_up(kHeaderBytes + payload_bytes, kRecordAlignment);
}

/// Whether others than the log itself may write records of that kind: else kInvalidArgument.
Result<> check_embedder_kind(RecordKind kind);

/// Completes a record at `to`, where header and payload are to stand: the payload and the zeros
/// that align it must be in place; this writes the header, checksum included.
void seal_record(std::byte* to, Address address, Epoch epoch, RecordKind kind,
                 uint32_t payload_bytes);

/// Fills [from, page_end) at `to`: a kPadding record, or zeros where no header fits.
void write_page_padding(std::byte* to, Address from, Address page_end, Epoch epoch);

/// A commit mark of `bytes` in all (at least kLeastMarkBytes) at `to`.
void write_commit_mark(std::byte* to, Address address, uint64_t bytes, Epoch epoch,
                       const CommitMark& mark);

/// What stands at an address, found sound. Spans point into the bytes that were parsed.
struct ParsedRecord {
  Address address;
  Address end;
  Epoch epoch;
  RecordKind kind = RecordKind::kInvalid;
  ByteSpan payload;
};

enum class ParseStatus {
  kOk,
  kNeedMore,  // `bytes` ends before the record does
  kBad,
};

struct ParseOutcome {
  ParseStatus status = ParseStatus::kBad;
  uint64_t needed_bytes = 0;  // with kNeedMore: how many from the record's address on
  std::string_view reason;    // with kBad
  ParsedRecord record;        // with kOk
};

/// The reason where nothing was written yet.
inline constexpr std::string_view kNothingWritten = "zeros where a record is due";

/// Parses the record at `address`, whose bytes are the beginning of `bytes`. Checks everything that
/// can be checked without its neighbours: length against the page, flags, reserved fields,
/// checksum, the zeros behind the payload, a mark's form, and a configuration's length. The caller
/// has skipped page ends too short for a header (see next_record_address).
ParseOutcome parse_record(Address address, ByteSpan bytes, uint64_t page_bytes);

/// No log comes to this: at 10 GB/s it takes 29 years. What a disk or a network names above it is
/// refused, so that sums of addresses and lengths cannot wrap.
inline constexpr Address kMostAddress{uint64_t{1} << 63};

/// Where the record after `end` begins: `end`, or the next page when no header fits behind it; the
/// greatest address where there is no such page.
constexpr Address next_record_address(Address end, uint64_t page_bytes) {
  const uint64_t left = page_bytes - (end.value & (page_bytes - 1));
  if (left >= kHeaderBytes) return end;
  return left <= Address::max() - end ? end + left : Address::max();
}

bool all_zero(ByteSpan bytes);

ConfigurationRecord configuration_of(const ParsedRecord& record);

/// parse_commit_mark for what parse_record gave.
CommitMark mark_of(const ParsedRecord& record);

}  // namespace tailrace::fasterlog
