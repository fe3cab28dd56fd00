#include "fasterlog/offline/damage_walker.h"

#include <algorithm>
#include <cstring>

namespace tailrace::fasterlog {

namespace {

constexpr std::byte kUnreadable{0xff};

}  // namespace

Result<> read_around_bad_blocks(const SegmentFiles& segments, Address from, MutableByteSpan into,
                                std::string& unreadable) {
  auto whole = segments.read_aligned(from, into);
  if (whole || whole.error().code != ErrorCode::kIo) return whole;
  for (size_t at = 0; at < into.size(); at += storage::kBlockBytes) {
    const MutableByteSpan block =
        into.subspan(at, std::min(storage::kBlockBytes, into.size() - at));
    auto read = segments.read_aligned(from + at, block);
    if (read) continue;
    if (read.error().code != ErrorCode::kIo) return read;
    std::fill(block.begin(), block.end(), kUnreadable);
    unreadable = read.error().message;
  }
  return {};
}

void DamageWalker::seek(Address from, Address end) {
  position_ = from;
  end_ = end;
  page_begin_ = page_end_ = Address{};
}

Result<> DamageWalker::load_page() {
  if (page_.size() == 0) {
    TAILRACE_ASSIGN_OR_RETURN(page_, storage::AlignedBuffer::allocate(page_bytes_));
  }
  const Address begin{align_down(position_.value, page_bytes_)};
  page_begin_ = page_end_ = begin;
  unreadable_.clear();
  TAILRACE_RETURN_IF_ERROR(read_around_bad_blocks(segments_, begin, page_.span(), unreadable_));
  page_end_ = std::min(begin + page_bytes_, end_);
  return {};
}

bool DamageWalker::sound_at(Address at, ParsedRecord& record) const {
  ParseOutcome outcome = parse_record(at, bytes(at, page_end_), page_bytes_);
  if (outcome.status != ParseStatus::kOk) return false;
  record = outcome.record;
  return true;
}

DamageWalker::Step DamageWalker::bad_until(Address end, std::string reason, bool holds_nothing) {
  Step step;
  step.status = Status::kBad;
  step.bad.first = position_;
  step.bad.end = end;
  step.bad.holds_nothing = holds_nothing;
  const ByteSpan all = bytes(position_, end);
  if (!all_zero(all)) {
    size_t from = 0;
    while (all[from] == std::byte{0})
      ++from;
    size_t to = all.size();
    while (all[to - 1] == std::byte{0})
      --to;
    step.bad.not_zero = {position_ + from, position_ + to};
    // A block that could not be read stands there as bytes that no damage is likely to leave.
    if (!unreadable_.empty() && std::find(all.begin(), all.end(), kUnreadable) != all.end()) {
      reason = unreadable_;
      step.bad.holds_nothing = false;
    }
  }
  step.bad.reason = std::move(reason);
  position_ = end;
  return step;
}

DamageWalker::Step DamageWalker::no_segment() {
  Step step;
  step.status = Status::kBad;
  step.bad.first = position_;
  step.bad.end =
      std::min(end_, Address{(segments_.index_of(position_) + 1) * segments_.segment_bytes()});
  step.bad.reason = "the segment file is missing";
  step.bad.no_file = true;
  position_ = step.bad.end;
  return step;
}

Result<DamageWalker::Step> DamageWalker::next() {
  if (position_ >= end_) return Step{};
  if (position_ < page_begin_ || position_ >= page_end_) {
    if (!segments_.file(segments_.index_of(position_))) return no_segment();
    TAILRACE_RETURN_IF_ERROR(load_page());
  }
  const Address page_end{page_begin_ + page_bytes_};
  if (page_end - position_ < kHeaderBytes) {
    const Address gap_end = std::min(page_end, page_end_);
    if (!all_zero(bytes(position_, gap_end)))
      return bad_until(gap_end, "the unused end of the page is not zero", true);
    position_ = gap_end;
    return next();
  }
  Step step;
  const ParseOutcome outcome = parse_record(position_, bytes(position_, page_end_), page_bytes_);
  if (outcome.status == ParseStatus::kOk) {
    step.status = Status::kRecord;
    step.record = outcome.record;
    position_ = step.record.end;
    return step;
  }
  std::string reason = outcome.status == ParseStatus::kBad
                           ? std::string(outcome.reason)
                           : "the record is cut off by the end of the log";
  if (page_end_ - position_ >= kHeaderBytes) {
    // The checksum does not cover the zeros behind a payload: with them as they have to be the
    // record may be sound.
    const auto header = load<RecordHeader>(bytes(position_, page_end_).data());
    const uint64_t used = kHeaderBytes + uint64_t{header.payload_bytes};
    const uint64_t whole = record_bytes(header.payload_bytes);
    if (whole > used && whole <= page_end_ - position_) {
      std::byte* filler = page_.data() + (position_ - page_begin_) + used;
      std::byte kept[kRecordAlignment];
      std::memcpy(kept, filler, whole - used);
      std::memset(filler, 0, whole - used);
      if (ParsedRecord record; sound_at(position_, record)) {
        // The record comes with the next call: it stands mended in the buffer now.
        const Address record_begin = position_;
        std::memcpy(filler, kept, whole - used);
        position_ = record_begin + used;
        step = bad_until(record_begin + whole, std::move(reason), true);
        std::memset(filler, 0, whole - used);
        position_ = record_begin;
        return step;
      }
      std::memcpy(filler, kept, whole - used);
    }
  }
  for (Address at = position_ + kRecordAlignment; at + kHeaderBytes <= page_end_;
       at = at + kRecordAlignment) {
    // Kind, flags and reserved fields in one look: most places fail it.
    const auto fields = load<uint64_t>(bytes(at, page_end_).data() + offsetof(RecordHeader, kind));
    if (fields == 0 || fields > 0xff) continue;
    if (ParsedRecord record; sound_at(at, record)) return bad_until(at, std::move(reason), false);
  }
  const uint64_t offset = position_.value % segments_.segment_bytes();
  if (auto size = segments_.file(segments_.index_of(position_))->size();
      size && *size < offset + (page_end_ - position_)) {
    const std::string at = "the file is short: it ends at byte " + std::to_string(*size);
    reason = *size <= offset ? at + ", before this" : at + " (" + reason + ")";
  }
  return bad_until(page_end_, std::move(reason), false);
}

}  // namespace tailrace::fasterlog
