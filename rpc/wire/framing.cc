#include "rpc/wire/framing.h"

#include <algorithm>
#include <cstring>

#include <capnp/message.h>
#include <fmt/format.h>

#include "core/check.h"

namespace tailrace::rpc {
namespace {

constexpr size_t kInitialBytes = 16u << 10;
constexpr size_t kBusyBytes = 64u << 10;  // of a connection on which much comes
constexpr size_t kLeastRoom = 4u << 10;

}  // namespace

FrameDecoder::FrameDecoder(size_t max_frame_bytes) : max_frame_bytes_(max_frame_bytes) {}

void FrameDecoder::resize(size_t capacity) {
  capacity = align_up(capacity, sizeof(uint64_t));
  auto larger = std::make_shared_for_overwrite<uint64_t[]>(capacity / sizeof(uint64_t));
  if (end_ > begin_) std::memcpy(larger.get(), data() + begin_, end_ - begin_);
  words_ = std::move(larger);
  capacity_ = capacity;
  end_ -= begin_;
  begin_ = 0;
}

size_t FrameDecoder::capacity_with_room() const {
  const size_t held = end_ - begin_;
  if (held == 0) {
    if (capacity_ == 0 || capacity_ > kept_bytes_) return kInitialBytes;
    return was_filled_ ? std::max(capacity_, kBusyBytes) : capacity_;
  }
  const bool enough =
      capacity_ - end_ >= kLeastRoom || capacity_ - held >= std::max(kLeastRoom, capacity_ / 2);
  return enough ? capacity_ : next_capacity();
}

size_t FrameDecoder::next_capacity() const {
  // No more than the frame needs, and what tells of the next one.
  const size_t needed = std::max(frame_bytes_, capacity_) + kLeastRoom;
  return frame_bytes_ == 0 ? 2 * capacity_ : std::min(2 * capacity_, needed);
}

bool FrameDecoder::begins_anew() const {
  if (begin_ == end_) return true;
  // It would have to be moved before the frame's end comes, when there is more of it.
  const bool crosses = begin_ > 0 && frame_bytes_ <= capacity_ && begin_ + frame_bytes_ > capacity_;
  return crosses || capacity_ - end_ < kLeastRoom;
}

MutableByteSpan FrameDecoder::room() {
  const size_t capacity = capacity_with_room();
  const bool moves = begins_anew();
  if (capacity != capacity_ || (moves && words_.use_count() > 1)) {
    resize(capacity);
  } else if (moves) {
    std::memmove(data(), data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  room_ = capacity_ - end_;
  const size_t held = end_ - begin_;
  if (frame_bytes_ > kBusyBytes && frame_bytes_ > held)
    room_ = std::min(room_, frame_bytes_ - held + kLeastRoom);
  return {data() + end_, room_};
}

void FrameDecoder::filled(size_t bytes) {
  TAILRACE_CHECK(bytes <= room_, "more bytes than there was room for");
  was_filled_ = bytes == room_;
  room_ = 0;
  end_ += bytes;
}

void FrameDecoder::give_back() {
  if (has_part()) return;
  words_.reset();
  capacity_ = begin_ = end_ = 0;
}

Result<std::optional<size_t>> FrameDecoder::announced_bytes() const {
  const size_t held = end_ - begin_;
  if (held < 8) return std::nullopt;
  const std::byte* table = data() + begin_;
  const uint64_t segments = uint64_t{load<uint32_t>(table)} + 1;
  if (segments > kMostSegments) {
    const bool http = std::memcmp(table, "HTTP", 4) == 0;
    return make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("a frame announces {} segments; at most {} are taken{}", segments,
                    kMostSegments,
                    http ? ": the answer is HTTP, as a port for metrics gives it; clients use the "
                           "address of server.listen"
                         : ""));
  }
  const uint64_t table_bytes = align_up(4 * (segments + 1), 8);
  if (held < table_bytes) return std::nullopt;
  uint64_t words = 0;
  for (uint64_t i = 0; i < segments; ++i)
    words += load<uint32_t>(table + 4 * (i + 1));
  const uint64_t total = table_bytes + words * 8;
  if (total > max_frame_bytes_)
    return make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("a frame announces {} bytes; at most {} are taken", total, max_frame_bytes_));
  return static_cast<size_t>(total);
}

Result<std::optional<ByteSpan>> FrameDecoder::peek() {
  if (frame_bytes_ == 0) {
    TAILRACE_ASSIGN_OR_RETURN(auto announced, announced_bytes());
    if (!announced) return std::nullopt;
    frame_bytes_ = *announced;
  }
  if (end_ - begin_ < frame_bytes_) return std::nullopt;
  return ByteSpan{data() + begin_, frame_bytes_};
}

void FrameDecoder::consume() {
  TAILRACE_CHECK(frame_bytes_ != 0 && end_ - begin_ >= frame_bytes_, "no frame to consume");
  begin_ += frame_bytes_;
  frame_bytes_ = 0;
}

void append_frame(capnp::MessageBuilder& message, std::vector<std::byte>& out) {
  (void)append_frame_without(message, nullptr, out);
}

std::optional<size_t> append_frame_without(capnp::MessageBuilder& message,
                                           const std::byte* left_out, std::vector<std::byte>& out) {
  const auto segments = message.getSegmentsForOutput();
  const auto begins_there = [left_out](const auto& segment) {
    return left_out != nullptr && reinterpret_cast<const std::byte*>(segment.begin()) == left_out;
  };
  uint64_t words = 0;
  for (const auto& segment : segments)
    words += begins_there(segment) ? 0 : segment.size();
  const size_t table_bytes = align_up(4 * (segments.size() + 1), 8);
  // Amortized growth: reserve() alone would copy everything at each frame.
  const size_t at = out.size();
  if (out.capacity() < at + table_bytes + words * 8)
    out.reserve(std::max(2 * out.capacity(), at + table_bytes + words * 8));
  out.resize(at + table_bytes);
  std::byte* table = out.data() + at;
  store(table, static_cast<uint32_t>(segments.size() - 1));
  for (size_t i = 0; i < segments.size(); ++i)
    store(table + 4 * (i + 1), static_cast<uint32_t>(segments[i].size()));
  std::optional<size_t> place;
  for (const auto& segment : segments) {
    if (begins_there(segment)) {
      place = out.size();
      continue;
    }
    const auto* bytes = reinterpret_cast<const std::byte*>(segment.begin());
    out.insert(out.end(), bytes, bytes + segment.size() * 8);
  }
  return place;
}

}  // namespace tailrace::rpc
