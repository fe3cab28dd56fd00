#include "kv/checkpoint/legacy.h"

#include "kv/checkpoint/manifest_fields.h"
#include "storage/crc32c.h"

namespace tailrace::kv {

namespace {

constexpr uint32_t kChunkMagic = storage::four_letters("KVCH");

// Little-endian, 40 bytes before the pairs of a chunk.
struct LegacyChunkHeader {
  uint32_t magic;
  uint32_t crc32c;  // of the header from `token` on and of the payload
  uint64_t token;
  uint64_t number;         // 0, 1, 2, …
  uint64_t payload_bytes;  // the chunk ends at the next multiple of 4096
  uint32_t records;
  uint32_t reserved;
};
static_assert(sizeof(LegacyChunkHeader) == 40 && std::is_trivially_copyable_v<LegacyChunkHeader>);
static_assert(offsetof(LegacyChunkHeader, crc32c) == 4);
static_assert(offsetof(LegacyChunkHeader, token) == 8);
static_assert(offsetof(LegacyChunkHeader, number) == 16);
static_assert(offsetof(LegacyChunkHeader, payload_bytes) == 24);
static_assert(offsetof(LegacyChunkHeader, records) == 32);
static_assert(offsetof(LegacyChunkHeader, reserved) == 36);
constexpr size_t kLegacyChecked = offsetof(LegacyChunkHeader, token);

// Before each pair.
struct PairHeader {
  uint32_t key_bytes;
  uint32_t value_bytes;
};
static_assert(sizeof(PairHeader) == 8 && std::is_trivially_copyable_v<PairHeader>);
static_assert(offsetof(PairHeader, value_bytes) == 4);

Result<> read_pairs(const storage::Path& path, uint64_t offset, ByteSpan payload, uint32_t records,
                    const std::function<Result<>(ByteSpan, ByteSpan)>& visit) {
  for (uint32_t i = 0; i < records; ++i) {
    if (payload.size() < sizeof(PairHeader)) return damaged(path, offset, "a pair is cut off");
    const auto pair = load<PairHeader>(payload.data());
    payload = payload.subspan(sizeof pair);
    if (payload.size() < uint64_t{pair.key_bytes} + pair.value_bytes) {
      return damaged(path, offset, "a pair is longer than its chunk");
    }
    TAILRACE_RETURN_IF_ERROR(
        visit(payload.first(pair.key_bytes), payload.subspan(pair.key_bytes, pair.value_bytes)));
    payload = payload.subspan(pair.key_bytes + size_t{pair.value_bytes});
  }
  if (!payload.empty()) return damaged(path, offset, "bytes are left over in a chunk");
  return {};
}

}  // namespace

Result<Manifest> decode_legacy_manifest(const storage::Path& path, ByteSpan content) {
  FieldReader fields(content);
  Manifest manifest;
  manifest.format = 1;
  CheckpointInfo& info = manifest.info;
  info.token = fields.take<uint64_t>();
  info.version = fields.take<uint64_t>();
  info.unix_time_ns = fields.take<uint64_t>();
  info.bytes = fields.take<uint64_t>();
  info.live_records = fields.take<uint64_t>();
  info.kind = CheckpointKind::kSnapshot;
  info.with_index = false;
  const auto chunks = fields.take<uint64_t>();
  const auto crc32c = fields.take<uint32_t>();
  manifest.pairs = ChunkFile{info.token, chunks, info.bytes, crc32c};
  for (auto left = fields.take_count(sizeof(SessionPoint)); left > 0; --left) {
    const auto session = fields.take<uint64_t>();
    info.points.push_back({session, fields.take<uint64_t>()});
  }
  manifest.owner = fields.take_text();
  info.user_metadata = fields.take_text();
  if (!fields.ok() || fields.left() != 0) {
    return damaged(path, 0, "fields are missing or left over");
  }
  return manifest;
}

Result<> read_legacy_pairs(const CheckpointDirectory& directory, const Manifest& manifest,
                           const std::function<Result<>(ByteSpan, ByteSpan)>& visit) {
  const storage::Path path = directory.path_of(manifest.info.token) / "records";
  auto opened = directory.file_system().open(path, {});
  if (!opened) {
    if (opened.error().code == ErrorCode::kNotFound) return damaged(path, 0, "the file is missing");
    return tl::unexpected(opened.error());
  }
  storage::File& file = **opened;
  TAILRACE_ASSIGN_OR_RETURN(const auto size, file.size());
  if (size < manifest.info.bytes) {
    return damaged(path, size,
                   "the file ends before the " + std::to_string(manifest.info.bytes) +
                       " bytes that its MANIFEST names");
  }

  std::vector<std::byte> chunk;
  uint64_t offset = 0;
  uint64_t records = 0;
  uint32_t crcs = 0;
  for (uint64_t number = 0; number < manifest.pairs->chunks; ++number) {
    chunk.resize(sizeof(LegacyChunkHeader));
    if (offset > manifest.info.bytes || manifest.info.bytes - offset < sizeof(LegacyChunkHeader)) {
      return damaged(path, offset, "a chunk is missing");
    }
    TAILRACE_ASSIGN_OR_RETURN(auto got, file.read_at(offset, chunk));
    if (got < chunk.size()) return damaged(path, offset, "the file ends within a chunk");
    const auto header = load<LegacyChunkHeader>(chunk.data());
    if (header.magic != kChunkMagic || header.token != manifest.info.token ||
        header.number != number || header.reserved != 0 ||
        header.payload_bytes > manifest.info.bytes - offset - sizeof header) {
      return damaged(path, offset, "not the header of chunk " + std::to_string(number));
    }
    chunk.resize(sizeof header + header.payload_bytes);
    TAILRACE_ASSIGN_OR_RETURN(
        got, file.read_at(offset + sizeof header, MutableByteSpan(chunk).subspan(sizeof header)));
    if (got < header.payload_bytes ||
        crc32c(ByteSpan(chunk).subspan(kLegacyChecked)) != header.crc32c) {
      return damaged(path, offset,
                     "the checksum of chunk " + std::to_string(number) + " does not match");
    }
    TAILRACE_RETURN_IF_ERROR(
        read_pairs(path, offset, ByteSpan(chunk).subspan(sizeof header), header.records, visit));
    std::byte crc[sizeof header.crc32c];
    store(crc, header.crc32c);
    crcs = crc32c(crc, crcs);
    records += header.records;
    offset += align_up(chunk.size(), storage::kBlockBytes);
  }
  if (offset != manifest.info.bytes || records != manifest.info.live_records ||
      crcs != manifest.pairs->crc32c) {
    return damaged(path, offset, "chunks, records or checksums are not those of the MANIFEST");
  }
  return {};
}

}  // namespace tailrace::kv
