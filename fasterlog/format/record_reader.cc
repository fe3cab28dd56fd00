#include "fasterlog/format/record_reader.h"

#include <algorithm>

namespace tailrace::fasterlog {

namespace {
// From memory little is read ahead: a record that is longer is then read once more, from its
// beginning.
constexpr uint64_t kMostAheadInMemory = 64u << 10;
}  // namespace

Result<ByteSpan> RecordReader::bytes_at(Address from, uint64_t bytes, Address limit) {
  if (from < base_ || from + bytes > base_end_) {
    const Address base{align_down(from.value, storage::kBlockBytes)};
    const uint64_t needed = from - base + bytes;
    const uint64_t ahead =
        checked_.empty() ? read_ahead_ : std::min(read_ahead_, kMostAheadInMemory);
    const uint64_t wanted = std::min(std::max(needed, ahead), limit - base);
    const uint64_t room = align_up(wanted, storage::kBlockBytes);
    base_ = base_end_ = Address{};
    checked_ = {};
    if (buffer_.size() < room) {
      TAILRACE_ASSIGN_OR_RETURN(
          buffer_, storage::AlignedBuffer::allocate(std::max(
                       room, align_up(std::min(read_ahead_, page_bytes_), storage::kBlockBytes))));
    }
    TAILRACE_ASSIGN_OR_RETURN(checked_, source_.read(base, wanted, buffer_.span().first(room)));
    base_ = base;
    base_end_ = base + wanted;
  }
  return ByteSpan(buffer_.data() + (from - base_), base_end_ - from);
}

Result<RecordReader::Step> RecordReader::next(Address limit) {
  const Address address = next_record_address(position_, page_bytes_);
  if (address >= limit) return Step{};
  if (address != position_) {
    TAILRACE_ASSIGN_OR_RETURN(auto gap, bytes_at(position_, address - position_, limit));
    if (!all_zero(gap.first(address - position_)))
      return Step{Status::kBad, {}, position_, "the unused end of the page is not zero"};
  }
  uint64_t needed = kHeaderBytes;
  for (;;) {
    if (address + needed > limit)
      return Step{Status::kBad, {}, address, "the record is cut off by the end of the log"};
    TAILRACE_ASSIGN_OR_RETURN(auto bytes, bytes_at(address, needed, limit));
    const CheckedBytes checked = at_record_ ? checked_.part(bytes) : CheckedBytes{};
    ParseOutcome outcome = checked.empty() ? parse_record(address, bytes, page_bytes_)
                                           : view_record(address, checked, page_bytes_);
    switch (outcome.status) {
      case ParseStatus::kOk:
        position_ = outcome.record.end;
        at_record_ = true;
        return Step{Status::kRecord, outcome.record, {}, {}};
      case ParseStatus::kNeedMore:
        needed = outcome.needed_bytes;
        break;
      case ParseStatus::kBad:
        return Step{Status::kBad, {}, address, outcome.reason};
    }
  }
}

}  // namespace tailrace::fasterlog
