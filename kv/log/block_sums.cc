#include "kv/log/block_sums.h"

#include <algorithm>

namespace tailrace::kv {

uint32_t* BlockSums::page_sums(uint64_t page) {
  if (pages_.empty()) first_page_ = page;
  while (page < first_page_) {
    pages_.emplace_front();
    --first_page_;
  }
  while (page >= first_page_ + pages_.size())
    pages_.emplace_back();
  auto& sums = pages_[page - first_page_];
  if (sums == nullptr) sums = std::make_unique<uint32_t[]>(blocks_);
  return sums.get();
}

void BlockSums::put(LogAddress address, std::span<const uint32_t> sums) {
  const MutexLock lock(mutex_);
  uint32_t* page = page_sums(address / page_bytes_);
  std::copy(sums.begin(), sums.end(), page + address % page_bytes_ / kLogBlockBytes);
}

bool BlockSums::copy(LogAddress address, std::span<uint32_t> sums) const {
  const uint64_t page = address / page_bytes_;
  const MutexLock lock(mutex_);
  if (page < first_page_ || page >= first_page_ + pages_.size()) return false;
  const uint32_t* known = pages_[page - first_page_].get();
  if (known == nullptr) return false;
  known += address % page_bytes_ / kLogBlockBytes;
  std::copy_n(known, sums.size(), sums.begin());
  return std::find(sums.begin(), sums.end(), 0u) == sums.end();
}

void BlockSums::fill_header(uint64_t page, MutableByteSpan header) const {
  std::fill(header.begin(), header.end(), std::byte{0});
  const MutexLock lock(mutex_);
  if (page < first_page_ || page >= first_page_ + pages_.size()) return;
  const uint32_t* known = pages_[page - first_page_].get();
  if (known != nullptr) std::memcpy(header.data(), known, blocks_ * sizeof *known);
}

void BlockSums::load_header(uint64_t page, ByteSpan header, uint64_t from, uint64_t to) {
  const MutexLock lock(mutex_);
  uint32_t* sums = page_sums(page);
  for (uint64_t block = from / kLogBlockBytes; block < to / kLogBlockBytes; ++block) {
    sums[block] = load<uint32_t>(header.data() + block * sizeof(uint32_t));
  }
}

void BlockSums::drop_before(LogAddress address) {
  const uint64_t page = address / page_bytes_;
  const MutexLock lock(mutex_);
  while (!pages_.empty() && first_page_ < page) {
    pages_.pop_front();
    ++first_page_;
  }
}

}  // namespace tailrace::kv
