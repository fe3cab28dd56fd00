#include "replication/copy_reader.h"

#include <algorithm>
#include <string>
#include <utility>

namespace tailrace::replication {

Result<> CopyReader::read(uint64_t offset, MutableByteSpan into) {
  if (offset > bytes_ || into.size() > bytes_ - offset)
    return make_error(ErrorCode::kInvalidArgument,
                      std::to_string(into.size()) + " bytes from " + std::to_string(offset) +
                          " on are wanted of a copy of " + std::to_string(bytes_));
  while (!into.empty()) {
    if (!current_.has(offset)) TAILRACE_RETURN_IF_ERROR(move_to(offset));
    const uint64_t skipped = offset - current_.from;
    const size_t part = std::min<uint64_t>(into.size(), current_.bytes.size() - skipped);
    std::copy_n(current_.bytes.begin() + static_cast<ptrdiff_t>(skipped), part, into.begin());
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

Result<> CopyReader::fill(Stretch& stretch, uint64_t from) const {
  stretch.from = from;
  stretch.bytes.resize(std::min(kStretchBytes, bytes_ - from));
  auto read = read_(from, stretch.bytes);
  if (!read) stretch.bytes.clear();
  return read;
}

void CopyReader::begin_next() {
  const uint64_t from = current_.from + current_.bytes.size();
  if (from == bytes_) return;
  reading_ = std::async(std::launch::async, [this, from] { return fill(next_, from); });
}

}  // namespace tailrace::replication
