#pragma once
// Reads a copy of this node's state in order: the next stretch comes from the disk while parts of
// this one are sent.

#include <cstdint>
#include <functional>
#include <future>

#include "core/bytes.h"
#include "core/result.h"
#include "storage/aligned_buffer.h"

namespace tailrace::replication {

/// One thread; a stretch is read on another one. The end waits for that.
class CopyReader {
 public:
  static constexpr uint64_t kStretchBytes = 8u << 20;
  /// Fills the span from the offset; called on either thread, never on both at once.
  using Read = std::function<Result<>(uint64_t offset, MutableByteSpan into)>;

  /// Of a copy of so many bytes.
  CopyReader(uint64_t bytes, Read read) : bytes_(bytes), read_(std::move(read)) {}

  /// Fills `into` from `offset`. Any offset, but fast where each call begins where the one before
  /// ended. What fails is tried again by the next call. kInvalidArgument beyond the end.
  Result<> read(uint64_t offset, MutableByteSpan into);

 private:
  struct Stretch {
    uint64_t from = 0;
    size_t size = 0;
    storage::AlignedBuffer memory;  // kStretchBytes, once it was filled
    uint64_t end() const { return from + size; }
    bool has(uint64_t offset) const { return offset >= from && offset < end(); }
  };
  /// Makes `current_` the stretch that has `offset`.
  Result<> move_to(uint64_t offset);
  /// The stretch that begins with the block of `offset`.
  Result<> fill(Stretch& stretch, uint64_t offset) const;
  void begin_next();

  const uint64_t bytes_;
  const Read read_;
  Stretch current_;
  Stretch next_;                   // the other thread's while reading_ is valid
  std::future<Result<>> reading_;  // last: its end waits for the thread
};

}  // namespace tailrace::replication
