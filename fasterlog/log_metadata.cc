#include "fasterlog/log_metadata.h"

#include <bit>

#include "storage/atomic_file.h"

namespace tailrace::fasterlog {

namespace {

constexpr storage::AtomicFileFormat kFormat{storage::four_letters("FLOG"), 1};
constexpr uint32_t kCleanFlag = 1;
constexpr size_t kFixedBytes = 48;

template <typename T>
void append(std::vector<std::byte>& to, T value) {
  to.resize(to.size() + sizeof value);
  store(to.data() + to.size() - sizeof value, value);
}

}  // namespace

Result<> write_log_metadata(storage::FileSystem& file_system, const storage::Path& directory,
                            const LogMetadata& metadata) {
  std::vector<std::byte> bytes;
  append<uint32_t>(bytes, metadata.page_bytes);
  append<uint32_t>(bytes, metadata.clean ? kCleanFlag : 0);
  append<uint64_t>(bytes, metadata.segment_bytes);
  append<uint64_t>(bytes, metadata.begin.value);
  append<uint64_t>(bytes, metadata.proven.value);
  append<uint32_t>(bytes, static_cast<uint32_t>(metadata.owner.size()));
  append<uint32_t>(bytes, static_cast<uint32_t>(metadata.epochs.size()));
  append<uint64_t>(bytes, metadata.cut.value);
  for (const EpochStart& epoch : metadata.epochs) {
    append<uint64_t>(bytes, epoch.epoch.value);
    append<uint64_t>(bytes, epoch.start.value);
  }
  const ByteSpan owner = as_bytes(metadata.owner);
  bytes.insert(bytes.end(), owner.begin(), owner.end());
  return replace_atomic_file(file_system, directory / kMetadataName, kFormat, bytes);
}

Result<LogMetadata> read_log_metadata(storage::FileSystem& file_system,
                                      const storage::Path& directory) {
  const storage::Path path = directory / kMetadataName;
  auto content = read_atomic_file(file_system, path, kFormat);
  if (!content) return tl::unexpected(std::move(content).error());
  const auto wrong = [&](std::string_view what) {
    return make_error(ErrorCode::kCorruption, path.string() + ": " + std::string(what));
  };
  const std::vector<std::byte>& bytes = content->bytes;
  if (bytes.size() < kFixedBytes) return wrong("shorter than its fixed part");
  LogMetadata metadata;
  metadata.page_bytes = load<uint32_t>(bytes.data());
  const auto flags = load<uint32_t>(bytes.data() + 4);
  metadata.segment_bytes = load<uint64_t>(bytes.data() + 8);
  metadata.begin = Address{load<uint64_t>(bytes.data() + 16)};
  metadata.proven = Address{load<uint64_t>(bytes.data() + 24)};
  const auto owner_bytes = load<uint32_t>(bytes.data() + 32);
  const auto epochs = load<uint32_t>(bytes.data() + 36);
  metadata.cut = Address{load<uint64_t>(bytes.data() + 40)};
  if (bytes.size() != kFixedBytes + uint64_t{epochs} * 16 + owner_bytes)
    return wrong("its length does not agree with its counts");
  metadata.clean = (flags & kCleanFlag) != 0;
  if ((flags & ~kCleanFlag) != 0) return wrong("unknown flags");
  if (!check_log_sizes(metadata.page_bytes, metadata.segment_bytes))
    return wrong("impossible page or segment size");
  if (metadata.begin < kFirstAddress || metadata.proven < metadata.begin ||
      metadata.begin.value % 8 != 0 || metadata.proven.value % 8 != 0)
    return wrong("impossible addresses");
  if (metadata.cut != Address{} && metadata.cut != metadata.proven) return wrong("impossible cut");
  for (uint32_t i = 0; i < epochs; ++i) {
    const std::byte* at = bytes.data() + kFixedBytes + size_t{i} * 16;
    const EpochStart next{Epoch{load<uint64_t>(at)}, Address{load<uint64_t>(at + 8)}};
    if (!metadata.epochs.empty() &&
        (metadata.epochs.back().epoch >= next.epoch || metadata.epochs.back().start >= next.start))
      return wrong("epochs out of order");
    metadata.epochs.push_back(next);
  }
  metadata.owner = to_string(ByteSpan(bytes).last(owner_bytes));
  return metadata;
}

Result<> check_log_sizes(uint64_t page_bytes, uint64_t segment_bytes) {
  if (!std::has_single_bit(page_bytes) || page_bytes < (64u << 10) || page_bytes > (64u << 20))
    return make_error(ErrorCode::kInvalidArgument,
                      "page_bytes is " + std::to_string(page_bytes) +
                          "; it must be a power of two from 65536 to 67108864");
  if (!std::has_single_bit(segment_bytes) || segment_bytes < page_bytes)
    return make_error(ErrorCode::kInvalidArgument,
                      "segment_bytes is " + std::to_string(segment_bytes) +
                          "; it must be a power of two and not below page_bytes (" +
                          std::to_string(page_bytes) + ")");
  return {};
}

}  // namespace tailrace::fasterlog
