#include "storage/aligned_buffer.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include <sys/mman.h>

namespace tailrace::storage {

namespace {
constexpr size_t kHugePageBytes = size_t{2} << 20;
// Small ones come and go, as with each reader of a log: from the allocator, not from the system,
// which takes two calls and a fault of a page for each.
constexpr size_t kMostFromAllocator = size_t{64} << 10;

tl::unexpected<Error> no_memory(size_t bytes) {
  return make_error(ErrorCode::kResourceExhausted,
                    "the system gave no " + std::to_string(bytes) + " bytes of memory");
}

}  // namespace

Result<AlignedBuffer> AlignedBuffer::allocate(size_t bytes, bool huge) {
  AlignedBuffer buffer;
  if (bytes == 0) return buffer;
  if (!huge && bytes <= kMostFromAllocator) {
    const size_t whole = align_up(bytes, 4096);
    void* memory = std::aligned_alloc(4096, whole);
    if (memory == nullptr) return no_memory(bytes);
    std::memset(memory, 0, whole);
    buffer.data_ = static_cast<std::byte*>(memory);
    buffer.bytes_ = bytes;
    return buffer;
  }
  // Huge pages want a start on their own boundary; mmap promises only 4 KiB, so ask for more.
  const size_t slack = huge ? kHugePageBytes : 0;
  const size_t mapping_bytes = align_up(bytes + slack, 4096);
  void* mapping = ::mmap(nullptr, mapping_bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) return no_memory(bytes);
  auto start = reinterpret_cast<uintptr_t>(mapping);
  if (huge) {
    start = align_up(start, kHugePageBytes);
    // Without huge pages in the kernel this fails, and ordinary pages do.
    (void)::madvise(reinterpret_cast<void*>(start), align_up(bytes, 4096), MADV_HUGEPAGE);
  }
  buffer.mapping_ = mapping;
  buffer.mapping_bytes_ = mapping_bytes;
  buffer.data_ = reinterpret_cast<std::byte*>(start);
  buffer.bytes_ = bytes;
  return buffer;
}

AlignedBuffer::~AlignedBuffer() {
  if (mapping_ != nullptr)
    ::munmap(mapping_, mapping_bytes_);
  else
    std::free(data_);
}

AlignedBuffer::AlignedBuffer(AlignedBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      mapping_(std::exchange(other.mapping_, nullptr)),
      mapping_bytes_(std::exchange(other.mapping_bytes_, 0)) {}

AlignedBuffer& AlignedBuffer::operator=(AlignedBuffer&& other) noexcept {
  if (this != &other) {
    AlignedBuffer moved(std::move(other));
    std::swap(data_, moved.data_);
    std::swap(bytes_, moved.bytes_);
    std::swap(mapping_, moved.mapping_);
    std::swap(mapping_bytes_, moved.mapping_bytes_);
  }
  return *this;
}

}  // namespace tailrace::storage
