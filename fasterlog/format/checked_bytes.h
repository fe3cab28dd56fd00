#pragma once
// Bytes of records that need no second check, and where the check is done once.
//
// What crosses a disk or a socket is checked when it comes in. What this process has sealed or
// checked since is CheckedBytes, and stays so in its memory. Nobody can declare bytes checked: the
// functions that check give them, and the page ring, which takes nothing else in.

#include <cstdint>
#include <vector>

#include "core/address.h"
#include "core/bytes.h"
#include "fasterlog/format/record.h"

namespace tailrace::fasterlog {

class CheckedBytes;

/// Where a log ends, for batches that are to stand behind it; then where those end, and what they
/// add.
struct BatchChain {
  Address mark_end;    // of the last commit mark
  Epoch epoch;         // of the last record
  bool empty = false;  // nothing stands before
  std::vector<EpochStart> starts = {};
  ConfigurationTable configurations = {};
  uint64_t newest_time_ns = 0;  // of the marks
};

/// For bytes from a socket that are to stand at `at`: whole batches that continue the chain. Checks
/// each record (parse_record), the zeros between pages, the order of epochs and each mark's place.
/// kCorruption names the address; then the chain is of no use any more.
Result<CheckedBytes> check_batches(Address at, ByteSpan bytes, uint64_t page_bytes,
                                   BatchChain& chain);

/// For bytes from the disk: whole records from `at` on, each by itself.
Result<CheckedBytes> check_records(Address at, ByteSpan bytes, uint64_t page_bytes);

class CheckedBytes {
 public:
  CheckedBytes() = default;  // none

  ByteSpan span() const { return bytes_; }
  bool empty() const { return bytes_.empty(); }
  /// `part`, if all of it is among these; else none.
  CheckedBytes part(ByteSpan part) const {
    if (bytes_.empty() || part.data() < bytes_.data() ||
        part.data() + part.size() > bytes_.data() + bytes_.size())
      return {};
    return CheckedBytes(part);
  }

 private:
  friend class PageRing;  // its content was sealed in it, or came as CheckedBytes
  friend Result<CheckedBytes> check_batches(Address, ByteSpan, uint64_t, BatchChain&);
  friend Result<CheckedBytes> check_records(Address, ByteSpan, uint64_t);
  friend struct CheckedBytesForTests;
  explicit CheckedBytes(ByteSpan bytes) : bytes_(bytes) {}

  ByteSpan bytes_;
};

/// parse_record for bytes that were checked: without the checksum, and without what it covers. The
/// caller knows that a record begins there. What the record says of its length is still held
/// against the bytes and the page, so no damage of memory leads outside.
ParseOutcome view_record(Address address, CheckedBytes bytes, uint64_t page_bytes);

}  // namespace tailrace::fasterlog
