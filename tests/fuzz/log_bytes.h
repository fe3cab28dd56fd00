#pragma once
// Log bytes from fuzzed ones. A fuzzer finds no checksum by chance, so its input is a little
// program that writes sealed records and marks, and damages them.

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/address.h"
#include "core/bytes.h"

namespace tailrace::fuzz {

inline constexpr uint32_t kPageBytes = 64u << 10;

struct LogBytes {
  std::vector<std::byte> bytes;    // from the first address on
  std::vector<Address> mark_ends;  // of sealed marks that continue each other
};

/// At most `most` bytes. Operations, by the first byte of each (mod 8):
///   0-2  a sealed record: kind, epoch, u16 length; the payload repeats the kind
///   3    a mark that continues the one before: epoch
///   4    a mark with any batch_begin: epoch, u16
///   5    padding to the page's end
///   6    bytes as they are: u8 length, bytes
///   7    xor one byte of what is there: u16 how far behind the end, u8
LogBytes log_bytes(ByteSpan program, size_t most);

/// Reads the input from its front; zeros when it is used up.
class Input {
 public:
  explicit Input(ByteSpan bytes) : bytes_(bytes) {}
  bool empty() const { return bytes_.empty(); }
  template <typename T>
  T take() {
    T value{};
    const ByteSpan some = take_bytes(sizeof value);
    if (!some.empty()) std::memcpy(&value, some.data(), some.size());
    return value;
  }
  ByteSpan take_bytes(size_t count) {
    const ByteSpan some = bytes_.first(std::min(count, bytes_.size()));
    bytes_ = bytes_.subspan(some.size());
    return some;
  }
  ByteSpan rest() const { return bytes_; }

 private:
  ByteSpan bytes_;
};

}  // namespace tailrace::fuzz
