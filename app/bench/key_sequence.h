#pragma once
// The keys and the mix of operations of a load, made before it is timed.

#include <cstdint>

#include "core/bytes.h"
#include "core/result.h"
#include "storage/aligned_buffer.h"

namespace tailrace::app {

enum class KeyDistribution : uint8_t {
  kUniform,
  kZipf,  // exponent 0.99, the popular keys scattered over all of them, as YCSB does
};

/// The eight bytes of key number `index`.
uint64_t key_of(uint64_t index);

/// As a key or value has them. Of `number` itself, which has to stay.
inline ByteSpan bytes_of(const uint64_t& number) {
  return {reinterpret_cast<const std::byte*>(&number), sizeof number};
}

/// A long sequence of draws, each a key and whether the operation on it is a write. Drawing one
/// costs a load from memory that is read in order.
class KeySequence {
 public:
  static constexpr uint64_t kLength = 1u << 24;

  /// Draws all; takes about a second. kResourceExhausted when there is no memory for it.
  static Result<KeySequence> make(KeyDistribution distribution, uint64_t keys,
                                  double write_fraction, bool huge_pages, uint64_t seed);

  static constexpr uint64_t kWrite = uint64_t{1} << 63;
  /// The key, with kWrite set when it is to be written. Round and round.
  uint64_t operator[](uint64_t position) const { return draws_[position & (kLength - 1)]; }
  /// All kLength of them.
  const uint64_t* draws() const { return draws_; }

 private:
  storage::AlignedBuffer memory_;
  const uint64_t* draws_ = nullptr;
};

}  // namespace tailrace::app
