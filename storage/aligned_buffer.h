#pragma once

#include <cstddef>
#include <memory>

#include "core/bytes.h"
#include "core/result.h"

namespace tailrace::storage {

/// Zeroed anonymous memory, aligned to at least 4096 bytes (2 MiB when huge), returned to the
/// system on destruction. Moved, not copied.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  /// `huge` asks for transparent huge pages (madvise); where there are none it is ordinary memory.
  /// kResourceExhausted when the system has no such amount.
  static Result<AlignedBuffer> allocate(size_t bytes, bool huge = false);
  ~AlignedBuffer();
  AlignedBuffer(AlignedBuffer&& other) noexcept;
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept;

  std::byte* data() const { return data_; }
  size_t size() const { return bytes_; }
  MutableByteSpan span() const { return {data_, bytes_}; }

 private:
  std::byte* data_ = nullptr;  // the aligned start of what is handed out
  size_t bytes_ = 0;
  void* mapping_ = nullptr;  // what mmap gave; null: data_ is the allocator's
  size_t mapping_bytes_ = 0;
};

}  // namespace tailrace::storage
