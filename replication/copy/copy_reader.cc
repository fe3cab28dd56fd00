#include "replication/copy/copy_reader.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "storage/file_system.h"

namespace tailrace::replication {

Result<> CopyReader::read(uint64_t offset, MutableByteSpan into) {
  if (offset > bytes_ || into.size() > bytes_ - offset)
    return make_error(ErrorCode::kInvalidArgument,
                      std::to_string(into.size()) + " bytes from " + std::to_string(offset) +
                          " on are wanted of a copy of " + std::to_string(bytes_));
  while (!into.empty()) {
    if (!current_.has(offset)) TAILRACE_RETURN_IF_ERROR(move_to(offset));
    const uint64_t skipped = offset - current_.from;
    const size_t part = std::min<uint64_t>(into.size(), current_.size - skipped);
    std::memcpy(into.data(), current_.memory.data() + skipped, part);
    into = into.subspan(part);
    offset += part;
  }
  return {};
}

Result<> CopyReader::move_to(uint64_t offset) {
  if (reading_.valid()) {
    // A stretch that failed is empty: it is read again for who asks for it, who is told.
    (void)reading_.get();
    std::swap(current_, next_);
  }
  if (!current_.has(offset)) TAILRACE_RETURN_IF_ERROR(fill(current_, offset));
  begin_next();
  return {};
}

Result<> CopyReader::fill(Stretch& stretch, uint64_t offset) const {
  stretch.size = 0;
  if (stretch.memory.size() == 0) {
    TAILRACE_ASSIGN_OR_RETURN(stretch.memory, storage::AlignedBuffer::allocate(kStretchBytes));
  }
  stretch.from = align_down(offset, storage::kBlockBytes);
  const size_t size = std::min(kStretchBytes, bytes_ - stretch.from);
  TAILRACE_RETURN_IF_ERROR(read_(stretch.from, stretch.memory.span().first(size)));
  stretch.size = size;
  return {};
}

void CopyReader::begin_next() {
  const uint64_t from = current_.end();
  if (from == bytes_) return;
  reading_ = std::async(std::launch::async, [this, from] { return fill(next_, from); });
}

}  // namespace tailrace::replication
