#include "fasterlog/format/log_metadata.h"

#include <bit>
#include <optional>

#include "fasterlog/format/record.h"
#include "storage/atomic_file.h"

namespace tailrace::fasterlog {

namespace {

constexpr uint32_t kKind = storage::four_letters("FLOG");
// The first, for as long as there is no configuration to tell of: any program reads it.
constexpr uint32_t kWithoutConfigurations = 1;
constexpr uint32_t kVersion = 2;
constexpr uint32_t kCleanFlag = 1;
constexpr size_t kFixedBytes = 48;
constexpr size_t kFixedConfigurationBytes = 28;

template <typename T>
void append(std::vector<std::byte>& to, T value) {
  to.resize(to.size() + sizeof value);
  store(to.data() + to.size() - sizeof value, value);
}

void append(std::vector<std::byte>& to, ByteSpan bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

// All of `bytes`: the number of configurations, then they. Nothing when it cannot be so.
std::optional<ConfigurationTable> parse_configurations(ByteSpan bytes, Address proven) {
  if (bytes.size() < sizeof(uint32_t)) return std::nullopt;
  const auto count = load<uint32_t>(bytes.data());
  bytes = bytes.subspan(sizeof count);
  if (count == 0 || count > bytes.size() / kFixedConfigurationBytes) return std::nullopt;
  ConfigurationTable table;
  for (uint32_t i = 0; i < count; ++i) {
    if (bytes.size() < kFixedConfigurationBytes) return std::nullopt;
    ConfigurationRecord each;
    each.start = Address{load<uint64_t>(bytes.data())};
    each.end = Address{load<uint64_t>(bytes.data() + 8)};
    each.epoch = Epoch{load<uint64_t>(bytes.data() + 16)};
    const auto payload_bytes = load<uint32_t>(bytes.data() + 24);
    bytes = bytes.subspan(kFixedConfigurationBytes);
    if (payload_bytes > bytes.size()) return std::nullopt;
    const ByteSpan payload = bytes.first(payload_bytes);
    each.payload.assign(payload.begin(), payload.end());
    bytes = bytes.subspan(payload_bytes);
    table.push_back(std::move(each));
  }
  if (!bytes.empty() || !are_possible(table, proven)) return std::nullopt;
  return table;
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
  append(bytes, as_bytes(metadata.owner));
  uint32_t version = kWithoutConfigurations;
  if (!metadata.configurations.empty()) {
    version = kVersion;
    append<uint32_t>(bytes, static_cast<uint32_t>(metadata.configurations.size()));
    for (const ConfigurationRecord& each : metadata.configurations) {
      append<uint64_t>(bytes, each.start.value);
      append<uint64_t>(bytes, each.end.value);
      append<uint64_t>(bytes, each.epoch.value);
      append<uint32_t>(bytes, static_cast<uint32_t>(each.payload.size()));
      append(bytes, ByteSpan(each.payload));
    }
  }
  return replace_reserved_file(file_system, directory / kMetadataName, {kKind, version}, bytes);
}

Result<LogMetadata> read_log_metadata(storage::FileSystem& file_system,
                                      const storage::Path& directory) {
  const storage::Path path = directory / kMetadataName;
  TAILRACE_ASSIGN_OR_RETURN(auto content, read_atomic_file(file_system, path, {kKind, kVersion}));
  const auto wrong = [&](std::string_view what) {
    return make_error(ErrorCode::kCorruption, path.string() + ": " + std::string(what));
  };
  const std::vector<std::byte>& bytes = content.bytes;
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
  const uint64_t owner_end = kFixedBytes + uint64_t{epochs} * 16 + owner_bytes;
  const bool more = content.version > kWithoutConfigurations;
  if (more ? bytes.size() < owner_end : bytes.size() != owner_end)
    return wrong("its length does not agree with its counts");
  metadata.clean = (flags & kCleanFlag) != 0;
  if ((flags & ~kCleanFlag) != 0) return wrong("unknown flags");
  if (!check_log_sizes(metadata.page_bytes, metadata.segment_bytes))
    return wrong("impossible page or segment size");
  if (metadata.begin < kFirstAddress || metadata.proven < metadata.begin ||
      metadata.proven > kMostAddress || metadata.begin.value % 8 != 0 ||
      metadata.proven.value % 8 != 0)
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
  metadata.owner = to_string(ByteSpan(bytes).subspan(owner_end - owner_bytes, owner_bytes));
  if (more) {
    auto table = parse_configurations(ByteSpan(bytes).subspan(owner_end), metadata.proven);
    if (!table) return wrong("impossible configurations");
    metadata.configurations = std::move(*table);
  }
  return metadata;
}

Result<> check_log_fits(const LogMetadata& metadata, const LogOptions& options) {
  const std::string where = options.directory.string();
  if (metadata.owner != options.owner)
    return make_error(ErrorCode::kFailedPrecondition, where + " belongs to '" + metadata.owner +
                                                          "', not to '" + options.owner +
                                                          "': is this the right data directory?");
  if (metadata.page_bytes == options.page_bytes && metadata.segment_bytes == options.segment_bytes)
    return {};
  return make_error(ErrorCode::kFailedPrecondition,
                    where + " was created with page_bytes " + std::to_string(metadata.page_bytes) +
                        " and segment_bytes " + std::to_string(metadata.segment_bytes) +
                        ", which are fixed; the options say " + std::to_string(options.page_bytes) +
                        " and " + std::to_string(options.segment_bytes));
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
