#pragma once
// The memory pages at the log's end, and the reservation of addresses in them.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

#include "core/address.h"
#include "core/bytes.h"
#include "fasterlog/format/checked_bytes.h"
#include "storage/aligned_buffer.h"

namespace tailrace::fasterlog {

/// Page p of the log stands in slot p mod `pages`. What is in memory is [head, head + memory): a
/// slot is reused only after `head` has passed its old page and all readers that saw the older head
/// have left the epoch (the flusher sees to that before it raises the limits).
///
///     head <= durable <= tail <= writer_limit <= writable_end = head + memory
class PageRing {
 public:
  struct Reservation {
    Address pad_from;  // == first when no page end lies between
    Address first;
    Address end;
  };

  static Result<> allocate(PageRing& ring, uint64_t page_bytes, uint64_t pages, bool huge) {
    TAILRACE_ASSIGN_OR_RETURN(ring.memory_,
                              storage::AlignedBuffer::allocate(page_bytes * pages, huge));
    ring.page_bytes_ = page_bytes;
    ring.mask_ = page_bytes * pages - 1;
    return {};
  }

  uint64_t page_bytes() const { return page_bytes_; }
  uint64_t bytes() const { return mask_ + 1; }
  Address page_floor(Address address) const {
    return Address{align_down(address.value, page_bytes_)};
  }
  Address page_ceil(Address address) const { return Address{align_up(address.value, page_bytes_)}; }

  /// Where the byte of that address stands, if it is in memory. Contiguous to the page's end.
  /// Whoever writes there seals records, or checks what it has put there (load_tail_page).
  std::byte* at(Address address) const { return memory_.data() + (address.value & mask_); }

  /// Takes `bytes_at(first)` bytes at the tail, in one page, below `limit`; nothing when they would
  /// pass it. The caller is inside epoch protection until it has filled all of
  /// [pad_from, end): padding first.
  template <typename BytesAt>
  std::optional<Reservation> reserve(Address limit, BytesAt bytes_at) {
    uint64_t tail = tail_.load(std::memory_order_relaxed);
    for (;;) {
      Address first{tail};
      uint64_t bytes = bytes_at(first);
      if ((tail & (page_bytes_ - 1)) + bytes > page_bytes_) {
        first = page_ceil(Address{tail});
        bytes = bytes_at(first);
      }
      const Address end = first + bytes;
      if (end > limit) return std::nullopt;
      if (tail_.compare_exchange_weak(tail, end.value))
        return Reservation{Address{tail}, first, end};
    }
  }

  /// What stands from `from` to `limit`, or to the end of its page; in memory and complete.
  CheckedBytes view(Address from, Address limit) const {
    return CheckedBytes({at(from), std::min(limit, page_floor(from) + page_bytes_) - from});
  }
  /// Copies [from, from + into.size()), which is in memory and complete. Gives `into`.
  CheckedBytes copy_out(Address from, MutableByteSpan into) const {
    for (size_t done = 0; done < into.size();) {
      const Address at_address = from + done;
      const size_t part =
          std::min<uint64_t>(into.size() - done, page_bytes_ - at_address.value % page_bytes_);
      std::memcpy(into.data() + done, at(at_address), part);
      done += part;
    }
    return CheckedBytes(into);
  }
  void copy_in(Address to, CheckedBytes checked) {
    ByteSpan bytes = checked.span();
    while (!bytes.empty()) {
      const size_t part = std::min<uint64_t>(bytes.size(), page_bytes_ - to.value % page_bytes_);
      std::memcpy(at(to), bytes.data(), part);
      to = to + part;
      bytes = bytes.subspan(part);
    }
  }

  Address tail() const { return Address{tail_.load()}; }
  void set_tail(Address tail) { tail_.store(tail.value); }
  Address head() const { return Address{head_.load()}; }
  void set_head(Address head) { head_.store(head.value); }
  /// Records must end here or before; moved by the flusher only, upwards.
  Address writer_limit() const { return Address{writer_limit_.load(std::memory_order_acquire)}; }
  Address raw_limit() const { return Address{raw_limit_.load(std::memory_order_acquire)}; }
  void set_limits(Address writer, Address raw) {
    writer_limit_.store(writer.value, std::memory_order_release);
    raw_limit_.store(raw.value, std::memory_order_release);
  }

 private:
  storage::AlignedBuffer memory_;
  uint64_t page_bytes_ = 0;
  uint64_t mask_ = 0;
  alignas(64) std::atomic<uint64_t> tail_{0};
  alignas(64) std::atomic<uint64_t> head_{0};
  alignas(64) std::atomic<uint64_t> writer_limit_{0};
  std::atomic<uint64_t> raw_limit_{0};
};

}  // namespace tailrace::fasterlog
