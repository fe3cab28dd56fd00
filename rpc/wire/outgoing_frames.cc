#include "rpc/wire/outgoing_frames.h"

#include <algorithm>
#include <utility>

#include "rpc/wire/framing.h"

namespace tailrace::rpc {

namespace {
// Memory that a large frame has blown up is not kept.
constexpr size_t kKeptBytes = 4u << 20;
}  // namespace

void OutgoingFrames::append(capnp::MessageBuilder& message, SharedBytes lent) {
  const auto place = append_frame_without(message, lent ? lent->data() : nullptr, own_);
  if (!place) return;
  lent_bytes_ += lent->size();
  lent_.push_back({*place, std::move(lent)});
}

size_t OutgoingFrames::pieces_from(size_t from, std::span<iovec> to) const {
  size_t count = 0;
  const auto add = [&](ByteSpan piece) {
    const size_t skipped = std::min(from, piece.size());
    from -= skipped;
    piece = piece.subspan(skipped);
    // The system only reads them.
    if (!piece.empty() && count < to.size())
      to[count++] = {const_cast<std::byte*>(piece.data()), piece.size()};
  };
  size_t at = 0;
  for (const Lent& lent : lent_) {
    add(ByteSpan(own_).subspan(at, lent.before - at));
    add(*lent.bytes);
    at = lent.before;
    if (count == to.size()) return count;
  }
  add(ByteSpan(own_).subspan(at));
  return count;
}

void OutgoingFrames::clear() {
  own_.clear();
  if (own_.capacity() > kKeptBytes) own_.shrink_to_fit();
  lent_.clear();
  lent_bytes_ = 0;
}

}  // namespace tailrace::rpc
