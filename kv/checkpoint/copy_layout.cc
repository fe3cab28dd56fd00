#include "kv/checkpoint/copy_layout.h"

#include <algorithm>
#include <cstring>

#include "kv/log/format.h"

namespace tailrace::kv {

namespace {

/// With the slash.
std::string checkpoint_name(uint64_t token) {
  return "checkpoints/" + token_directory_name(token) + "/";
}

}  // namespace

CopyLayout::CopyLayout(const Manifest& manifest) : page_bytes_(manifest.page_bytes) {
  const uint64_t header = page_header_bytes(page_bytes_);
  const LogAddress begin = manifest.info.begin;
  const LogAddress flushed = align_down(manifest.flushed, kLogBlockBytes);
  const LogAddress begin_page = align_down(begin, page_bytes_);
  const LogAddress flushed_page = align_down(flushed, page_bytes_);
  const bool ends_within_page = flushed - flushed_page > header;
  // A log that goes on in the middle of a page takes that page's disk space for granted
  // (HybridLog::reserved_end_), so the copy has it, whole.
  const LogAddress end = ends_within_page ? flushed_page + page_bytes_ : flushed_page;
  if (begin < manifest.flushed && begin_page < end) {
    data_from_ = begin_page;
    data_until_ = ends_within_page ? flushed : flushed_page;
    first_block_ = std::max(align_down(begin, kLogBlockBytes), begin_page + header);
  } else {
    data_from_ = data_until_ = first_block_ = end;
  }
  for (LogAddress segment = align_down(begin, manifest.segment_bytes);
       begin_page < end && segment < end; segment += manifest.segment_bytes) {
    parts_.push_back({"log/" + segment_file_name(segment),
                      std::min(end - segment, manifest.segment_bytes), segment});
  }

  const auto add = [&](const ChunkFile& file, std::string_view name) {
    parts_.push_back({checkpoint_name(file.token).append(name), file.bytes, {}});
  };
  const size_t log_parts = parts_.size();
  if (manifest.index) add(manifest.index->file, "index");
  for (const ChunkFile& file : manifest.snapshots)
    add(file, "snapshot");
  std::sort(parts_.begin() + static_cast<ptrdiff_t>(log_parts), parts_.end(),
            [](const Part& a, const Part& b) { return a.name < b.name; });
  manifest_name_ = checkpoint_name(manifest.token()).append("MANIFEST");
  tokens_ = manifest.needed_tokens();
  tokens_.push_back(manifest.token());
  std::sort(tokens_.begin(), tokens_.end());
  tokens_.erase(std::unique(tokens_.begin(), tokens_.end()), tokens_.end());
}

void CopyLayout::blank(LogAddress address, MutableByteSpan blocks) const {
  const uint64_t header = page_header_bytes(page_bytes_);
  while (!blocks.empty()) {
    const MutableByteSpan block = blocks.first(kLogBlockBytes);
    const LogAddress page = align_down(address, page_bytes_);
    const bool has_data = data_from_ <= page && page < data_until_;
    if (has_data && address - page < header) {
      blank_header(page, address - page, block);
    } else if (address < first_block_ || address >= data_until_) {
      std::fill(block.begin(), block.end(), std::byte{0});
    }
    address += kLogBlockBytes;
    blocks = blocks.subspan(kLogBlockBytes);
  }
}

void CopyLayout::blank_header(LogAddress page, uint64_t offset, MutableByteSpan block) const {
  constexpr uint64_t kSum = sizeof(uint32_t);
  const LogAddress first = std::max(first_block_, page + page_header_bytes(page_bytes_));
  const LogAddress until = std::min(data_until_, page + page_bytes_);
  // By their places in the header; what is before, between and behind is zeros anyway.
  const uint64_t from = (first - page) / kLogBlockBytes * kSum;
  const uint64_t to = (until - page) / kLogBlockBytes * kSum;
  const uint64_t here_from = std::clamp(from, offset, offset + block.size()) - offset;
  const uint64_t here_to = std::clamp(to, offset, offset + block.size()) - offset;
  std::memset(block.data(), 0, here_from);
  std::memset(block.data() + here_to, 0, block.size() - here_to);
}

}  // namespace tailrace::kv
