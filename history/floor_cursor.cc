#include "history/floor_cursor.h"

#include <array>
#include <utility>

#include "history/format/floors.h"
#include "history/format/parts.h"

namespace tailrace::history {

FloorCursor::FloorCursor(std::shared_ptr<const EventFile> file)
    : file_(std::move(file)), at_(file_->parts_->foot.floors_at) {}

Result<std::optional<StreamFloor>> FloorCursor::next() {
  if (failure_) return tl::unexpected(*failure_);
  if (next_ == floors_.size()) {
    const auto loaded = load_block();
    if (!loaded) failure_ = loaded.error();
    TAILRACE_RETURN_IF_ERROR(loaded);
    if (!*loaded) return std::nullopt;
  }
  return floors_[next_++];
}

Result<bool> FloorCursor::load_block() {
  const FileFoot& foot = file_->parts_->foot;
  const uint64_t end = foot.blocks_directory_at, at = at_;
  storage::File& file = *file_->file_;
  const std::string_view what = title_of(BlockKind::kFloors);
  if (at == end) {
    if (given_ == foot.floors) return false;
    return damaged_part(file, "the foot", file_->parts_->foot_at,
                        "it tells of " + std::to_string(foot.floors) + " floors, there are " +
                            std::to_string(given_));
  }
  std::array<std::byte, sizeof(BlockHead)> bytes;
  TAILRACE_ASSIGN_OR_RETURN(const size_t got, file.read_at(at, bytes));
  if (got != bytes.size() || end - at < bytes.size())
    return damaged_part(file, what, at, "floors beyond their end");
  const auto head = load<BlockHead>(bytes.data());
  if (head.stored_bytes > end - at - sizeof head)
    return damaged_part(file, what, at, "floors beyond their end");
  if (!floors_.empty()) last_ = floors_.back().stream;
  before_bytes_ = raw_.size();
  TAILRACE_ASSIGN_OR_RETURN(
      raw_, read_block(file, BlockKind::kFloors, at, head.stored_bytes, kBlockOfFloorsBytes));
  next_ = 0;
  if (const auto decoded = decode_floors(raw_, floors_); !decoded)
    return damaged_part(file, what, at, decoded.error());
  if (const auto why = refusal(); !why.empty()) return damaged_part(file, what, at, why);
  given_ += floors_.size();
  at_ = at + sizeof head + head.stored_bytes;
  return true;
}

FloorCursor EventFile::floors() const {
  return FloorCursor(shared_from_this());
}

std::string_view FloorCursor::refusal() const {
  if (floors_.empty()) return "a block without floors";
  if (last_.empty()) return {};
  if (floors_.front().stream <= last_) return "floors that do not ascend by name";
  // A writer would have put it into the block before.
  std::vector<std::byte> first;
  (void)append_floor(floors_.front(), kBlockOfFloorsBytes, first);
  if (before_bytes_ + first.size() <= kBlockOfFloorsBytes) return "the block before is not full";
  return {};
}

}  // namespace tailrace::history
