#pragma once
// The checksums of the blocks that are on disk, in memory: a read of one record is one read of its
// block, not of the page's header too. 4 bytes for 4096.

#include <cstdint>
#include <deque>
#include <memory>
#include <span>

#include "core/bytes.h"
#include "core/mutex.h"
#include "kv/log/format.h"

namespace tailrace::kv {

/// Any thread.
class BlockSums {
 public:
  explicit BlockSums(uint64_t page_bytes)
      : page_bytes_(page_bytes), blocks_(page_bytes / kLogBlockBytes) {}

  /// Of consecutive blocks of one page, the first at `address`.
  void put(LogAddress address, std::span<const uint32_t> sums);
  /// False when a block's sum is not known: it was never written, or its space was given back.
  bool copy(LogAddress address, std::span<uint32_t> sums) const;
  /// A page's header as it is to be on disk.
  void fill_header(uint64_t page, MutableByteSpan header) const;
  /// Takes over what a page's header says of the blocks [from, to), in bytes within the page.
  void load_header(uint64_t page, ByteSpan header, uint64_t from, uint64_t to);
  /// Pages wholly below are forgotten.
  void drop_before(LogAddress address);

 private:
  uint32_t* page_sums(uint64_t page) TAILRACE_REQUIRES(mutex_);  // made when absent

  const uint64_t page_bytes_;
  const uint64_t blocks_;  // of a page
  mutable Mutex mutex_;
  uint64_t first_page_ TAILRACE_GUARDED_BY(mutex_) = 0;
  /// From first_page_ on.
  std::deque<std::unique_ptr<uint32_t[]>> pages_ TAILRACE_GUARDED_BY(mutex_);
};

}  // namespace tailrace::kv
