#include "rpc/wire/outgoing_frames.h"

#include <utility>

#include "rpc/wire/framing.h"

namespace tailrace::rpc {

namespace {
// Memory that a large frame has blown up is not kept.
constexpr size_t kKeptBytes = 4u << 20;
}  // namespace

void OutgoingFrames::append(capnp::MessageBuilder& message, Bytes lent) {
  const auto place = append_frame_without(message, lent ? lent->data() : nullptr, own_);
  if (!place) return;
  lent_bytes_ += lent->size();
  lent_.push_back({*place, std::move(lent)});
}

void OutgoingFrames::pieces(std::vector<ByteSpan>& to) const {
  size_t at = 0;
  for (const Lent& lent : lent_) {
    if (lent.before > at) to.push_back(ByteSpan(own_).subspan(at, lent.before - at));
    to.emplace_back(*lent.bytes);
    at = lent.before;
  }
  if (own_.size() > at) to.push_back(ByteSpan(own_).subspan(at));
}

void OutgoingFrames::clear() {
  own_.clear();
  if (own_.capacity() > kKeptBytes) own_.shrink_to_fit();
  lent_.clear();
  lent_bytes_ = 0;
}

}  // namespace tailrace::rpc
