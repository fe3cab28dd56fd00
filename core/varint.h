#pragma once
// Numbers of one to ten bytes, seven bits each, the low ones first; the top bit says that more
// follow.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.h"
#include "core/result.h"

namespace tailrace {

inline constexpr size_t kMostVarintBytes = 10;

/// Writes to `to`, which has room for kMostVarintBytes; returns how many there are.
inline size_t write_varint(std::byte* to, uint64_t value) {
  size_t bytes = 0;
  for (; value >= 0x80; value >>= 7)
    to[bytes++] = static_cast<std::byte>(value | 0x80);
  to[bytes++] = static_cast<std::byte>(value);
  return bytes;
}

inline void append_varint(std::vector<std::byte>& into, uint64_t value) {
  std::byte bytes[kMostVarintBytes];
  into.insert(into.end(), bytes, bytes + write_varint(bytes, value));
}

inline void append_bytes(std::vector<std::byte>& into, ByteSpan bytes) {
  into.insert(into.end(), bytes.begin(), bytes.end());
}

/// Signed numbers near zero become small ones.
constexpr uint64_t zigzag(uint64_t difference) {
  const auto number = static_cast<int64_t>(difference);
  return (difference << 1) ^ static_cast<uint64_t>(number >> 63);
}
constexpr uint64_t from_zigzag(uint64_t value) {
  return (value >> 1) ^ (~(value & 1) + 1);
}

/// Reads bytes from front to back and never beyond them. The first error stays; from then on all
/// that is read is zero or empty, and at_end() holds.
class PackedReader {
 public:
  explicit PackedReader(ByteSpan bytes) : bytes_(bytes) {}

  uint64_t varint() {
    if (at_ < bytes_.size() && bytes_[at_] < std::byte{0x80})
      return static_cast<uint64_t>(bytes_[at_++]);
    return long_varint();
  }
  /// One that is at most `most`; else damaged.
  uint64_t varint(uint64_t most, std::string_view what) {
    const uint64_t value = varint();
    if (value <= most) return value;
    damaged(what);
    return 0;
  }
  uint8_t byte() {
    const ByteSpan one = bytes(1);
    return one.empty() ? 0 : static_cast<uint8_t>(one[0]);
  }
  ByteSpan bytes(size_t count) {
    if (count > bytes_.size() - at_) {
      damaged("it ends early");
      return {};
    }
    at_ += count;
    return bytes_.subspan(at_ - count, count);
  }
  /// What is left up to `end`, which is not before at().
  ByteSpan bytes_to(size_t end) { return bytes(end - at_); }

  size_t at() const { return at_; }
  size_t left() const { return bytes_.size() - at_; }
  bool at_end() const { return at_ == bytes_.size(); }
  bool is_sound() const { return error_.empty(); }
  /// "`what`, at byte 12".
  void damaged(std::string_view what) { fail(ErrorCode::kCorruption, what); }
  /// kUnsupported: a newer program wrote it.
  void newer(std::string_view what) { fail(ErrorCode::kUnsupported, what); }
  Result<> result() const {
    if (is_sound()) return {};
    return make_error(code_, error_);
  }

 private:
  uint64_t long_varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && at_ < bytes_.size(); shift += 7) {
      const auto next = static_cast<uint64_t>(bytes_[at_++]);
      value |= (next & 0x7f) << shift;
      if (next >= 0x80) continue;
      // The tenth has one bit left; a last byte of zero could be left out.
      if ((shift == 63 && next > 1) || next == 0) break;
      return value;
    }
    damaged("a number does not end");
    return 0;
  }
  void fail(ErrorCode code, std::string_view what) {
    if (!is_sound()) return;
    code_ = code;
    error_ = std::string(what) + ", at byte " + std::to_string(at_);
    at_ = bytes_.size();
  }

  const ByteSpan bytes_;
  size_t at_ = 0;
  ErrorCode code_ = ErrorCode::kCorruption;
  std::string error_;
};

}  // namespace tailrace
