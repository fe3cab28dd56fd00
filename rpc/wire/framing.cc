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
  auto larger = std::make_unique_for_overwrite<uint64_t[]>(capacity / sizeof(uint64_t));
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
  return enough ? capacity_ : capacity_ * 2;
}

MutableByteSpan FrameDecoder::room() {
  const size_t capacity = capacity_with_room();
  if (begin_ == end_) begin_ = end_ = 0;
  if (capacity != capacity_) {
    resize(capacity);
  } else if (capacity_ - end_ < kLeastRoom) {
    std::memmove(data(), data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  return {data() + end_, capacity_ - end_};
}

void FrameDecoder::filled(size_t bytes) {
  TAILRACE_CHECK(bytes <= capacity_ - end_, "more bytes than there was room for");
  was_filled_ = bytes == capacity_ - end_;
  end_ += bytes;
}

Result<std::optional<size_t>> FrameDecoder::announced_bytes() const {
  const size_t held = end_ - begin_;
  if (held < 8) return std::nullopt;
  const std::byte* table = data() + begin_;
  const uint64_t segments = uint64_t{load<uint32_t>(table)} + 1;
  if (segments > kMostSegments)
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("a frame announces {} segments; at most {} are taken", segments,
                                  kMostSegments));
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
