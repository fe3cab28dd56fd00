#include "kv/log/walker.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"
#include "kv/log/block_sums.h"
#include "kv/log/format.h"

namespace tailrace::kv {

namespace {
constexpr uint64_t kWalkPieceBytes = 512u << 10;
constexpr size_t kWalkPieces = 8;
}  // namespace

Result<std::unique_ptr<LogWalker>> LogWalker::create(storage::FileSystem& file_system,
                                                     HybridLog& log, LogAddress from,
                                                     LogAddress until) {
  TAILRACE_CHECK(until <= log.safe_read_only(), "what is walked must not change");
  std::unique_ptr<LogWalker> walker(new LogWalker(log, from, until));
  TAILRACE_ASSIGN_OR_RETURN(
      walker->reader_,
      LogReadAhead::create(file_system, log.segments(), std::min(kWalkPieceBytes, log.page_bytes()),
                           kWalkPieces));
  return walker;
}

LogWalker::LogWalker(HybridLog& log, LogAddress from, LogAddress until)
    : log_(log),
      until_(until),
      end_(align_up(until, kLogBlockBytes)),
      address_(from),
      asked_(align_down(from, kLogBlockBytes)) {
  piece_.address = asked_;
}

LogWalker::~LogWalker() = default;

void LogWalker::read_ahead() {
  while (!reader_->full() && asked_ < end_) {
    const LogAddress page_start = align_down(asked_, log_.page_bytes_);
    asked_ = std::max(asked_, page_start + log_.first_offset_);
    const LogAddress to =
        std::min({page_start + log_.page_bytes_, asked_ + reader_->piece_bytes(), end_});
    if (to <= asked_) return;
    {
      // The frame stays while this thread is inside; nobody writes in it any more.
      const storage::EpochProtection::Guard guard(log_.protection_);
      if (asked_ >> log_.page_shift_ >= log_.head() >> log_.page_shift_) {
        const MutableByteSpan into = reader_->put(asked_, to - asked_);
        std::memcpy(into.data(), log_.frame(asked_ >> log_.page_shift_) + log_.offset_of(asked_),
                    into.size());
        asked_ = to;
        continue;
      }
    }
    reader_->read(asked_, to - asked_);
    asked_ = to;
  }
}

Error LogWalker::corrupt(LogAddress address, std::string_view what) const {
  return {ErrorCode::kCorruption, log_.segments_->place_of(address) + ": " + std::string(what)};
}

Result<> LogWalker::check(const LogReadAhead::Piece& piece) {
  if (!piece.from_disk) return {};
  sums_.resize(piece.bytes.size() / kLogBlockBytes);
  if (!log_.sums_->copy(piece.address, sums_)) {
    return make_error(ErrorCode::kTruncated, log_.segments_->place_of(piece.address) +
                                                 ": this part of the log was given back");
  }
  for (size_t block = 0; block < sums_.size(); ++block) {
    const uint64_t at = block * kLogBlockBytes;
    if (block_sum(piece.address + at, piece.bytes.subspan(at, kLogBlockBytes)) != sums_[block]) {
      return tl::unexpected(corrupt(piece.address + at, "the block does not match its checksum"));
    }
  }
  return {};
}

Result<> LogWalker::advance() {
  read_ahead();
  auto piece = reader_->next();
  if (!piece) {
    if (piece.error().code == ErrorCode::kNotFound && address_ < log_.disk_begin()) {
      piece.error().code = ErrorCode::kTruncated;
    }
    return tl::unexpected(std::move(piece).error());
  }
  if (!*piece) {
    // A record that begins before `until` may go on behind it: in its page, and as stable.
    const LogAddress more = std::min(align_up(address_, log_.page_bytes_), log_.safe_read_only());
    if (more <= end_) {
      return tl::unexpected(corrupt(address_, "the record there goes beyond its page"));
    }
    end_ = more;
    return advance();
  }
  TAILRACE_RETURN_IF_ERROR(check(**piece));
  piece_ = **piece;
  return {};
}

Result<std::byte*> LogWalker::view(uint64_t bytes) {
  if (joined_bytes_ == 0) {
    while (address_ >= piece_.address + piece_.bytes.size())
      TAILRACE_RETURN_IF_ERROR(advance());
    const uint64_t at = address_ - piece_.address;
    if (bytes <= piece_.bytes.size() - at) return piece_.bytes.data() + at;
  }
  joined_.resize(align_up(bytes, 8) / 8);
  auto* to = reinterpret_cast<std::byte*>(joined_.data());
  while (joined_bytes_ < bytes) {
    const LogAddress wanted = address_ + joined_bytes_;
    if (wanted == piece_.address + piece_.bytes.size()) {
      TAILRACE_RETURN_IF_ERROR(advance());
      if (piece_.address != wanted) {
        return tl::unexpected(corrupt(address_, "the record there goes beyond its page"));
      }
    }
    const uint64_t at = wanted - piece_.address;
    const uint64_t part = std::min(bytes - joined_bytes_, piece_.bytes.size() - at);
    std::memcpy(to + joined_bytes_, piece_.bytes.data() + at, part);
    joined_bytes_ += part;
  }
  return to;
}

Result<std::optional<LogWalker::Item>> LogWalker::next() {
  for (;;) {
    joined_bytes_ = 0;
    if (address_ < until_ && log_.offset_of(address_) < log_.first_offset_) {
      address_ = align_down(address_, log_.page_bytes_) + log_.first_offset_;
    }
    if (address_ >= until_) return std::nullopt;
    TAILRACE_ASSIGN_OR_RETURN(auto bytes, view(sizeof(Record)));
    auto* record = reinterpret_cast<Record*>(bytes);
    if (!record->is_present()) {
      address_ = align_down(address_, kLogBlockBytes) + kLogBlockBytes;
      continue;
    }
    if ((record->state.load(std::memory_order_relaxed) & Record::kWide) != 0) {
      TAILRACE_ASSIGN_OR_RETURN(bytes, view(2 * sizeof(Record)));
      record = reinterpret_cast<Record*>(bytes);
    }
    const uint64_t length = record->bytes();
    if (length > log_.page_bytes_ - log_.offset_of(address_)) {
      return tl::unexpected(corrupt(address_, "the record there goes beyond its page"));
    }
    TAILRACE_ASSIGN_OR_RETURN(bytes, view(length));
    const Item item{address_, reinterpret_cast<Record*>(bytes)};
    address_ += length;
    return item;
  }
}

}  // namespace tailrace::kv
