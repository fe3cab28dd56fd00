#include "kv/checkpoint/files.h"

#include <algorithm>
#include <bit>
#include <charconv>

#include "kv/checkpoint/legacy.h"
#include "kv/checkpoint/manifest_fields.h"
#include "kv/index/hash_index.h"
#include "kv/log/format.h"
#include "storage/atomic_file.h"

namespace tailrace::kv {

namespace {

constexpr storage::AtomicFileFormat kManifestFormat{storage::four_letters("KVCP"), 2};
constexpr size_t kTokenDigits = 20;

// Little-endian; the manifest's content begins with it. Lists and texts follow.
struct ManifestHead {
  uint64_t token;
  uint64_t version;
  uint64_t unix_time_ns;
  uint32_t kind;
  uint32_t page_bytes;
  uint64_t segment_bytes;
  uint64_t begin;
  uint64_t boundary;
  uint64_t flushed;
  uint64_t end;
  uint64_t index_buckets;
  uint64_t live_records;
  uint64_t live_bytes;
  uint64_t bytes;
  uint64_t image_token;  // 0: no image, and the five fields that follow are 0
  uint64_t image_from;
  uint64_t image_buckets;
  uint64_t image_overflow_buckets;
  uint64_t image_chunks;
  uint64_t image_bytes;
  uint32_t image_crc32c;
  uint32_t index_tag_shift;
};
static_assert(sizeof(ManifestHead) == 160 && std::is_trivially_copyable_v<ManifestHead>);
static_assert(offsetof(ManifestHead, kind) == 24);
static_assert(offsetof(ManifestHead, segment_bytes) == 32);
static_assert(offsetof(ManifestHead, begin) == 40);
static_assert(offsetof(ManifestHead, end) == 64);
static_assert(offsetof(ManifestHead, live_records) == 80);
static_assert(offsetof(ManifestHead, image_token) == 104);
static_assert(offsetof(ManifestHead, image_crc32c) == 152);

struct SnapshotEntry {
  uint64_t token;
  uint64_t chunks;
  uint64_t bytes;
  uint32_t crc32c;
  uint32_t reserved;
};
static_assert(sizeof(SnapshotEntry) == 32 && std::is_trivially_copyable_v<SnapshotEntry>);

struct UndoneEntry {
  uint64_t from;
  uint64_t to;
  uint32_t version;
  uint32_t reserved;
};
static_assert(sizeof(UndoneEntry) == 24 && std::is_trivially_copyable_v<UndoneEntry>);

std::vector<std::byte> encode(const Manifest& manifest) {
  const CheckpointInfo& info = manifest.info;
  ManifestHead head{};
  head.token = info.token;
  head.version = info.version;
  head.unix_time_ns = info.unix_time_ns;
  head.kind = static_cast<uint32_t>(info.kind);
  head.page_bytes = static_cast<uint32_t>(manifest.page_bytes);
  head.segment_bytes = manifest.segment_bytes;
  head.begin = info.begin;
  head.boundary = manifest.boundary;
  head.flushed = manifest.flushed;
  head.end = info.end;
  head.index_buckets = manifest.index_buckets;
  head.index_tag_shift = manifest.index_tag_shift;
  head.live_records = info.live_records;
  head.live_bytes = manifest.live_bytes;
  head.bytes = info.bytes;
  if (const auto& image = manifest.index) {
    head.image_token = image->file.token;
    head.image_from = image->from;
    head.image_buckets = image->buckets;
    head.image_overflow_buckets = image->overflow_buckets;
    head.image_chunks = image->file.chunks;
    head.image_bytes = image->file.bytes;
    head.image_crc32c = image->file.crc32c;
  }
  FieldWriter fields;
  fields.put(head);
  fields.put(static_cast<uint32_t>(manifest.snapshots.size()));
  for (const ChunkFile& file : manifest.snapshots)
    fields.put(SnapshotEntry{file.token, file.chunks, file.bytes, file.crc32c, 0});
  fields.put(static_cast<uint32_t>(manifest.undone.size()));
  for (const UndoneRange& range : manifest.undone)
    fields.put(UndoneEntry{range.from, range.to, range.version, 0});
  fields.put(static_cast<uint32_t>(info.points.size()));
  for (const SessionPoint& point : info.points) {
    fields.put(point.session);
    fields.put(point.point);
  }
  fields.put_text(manifest.owner);
  fields.put_text(info.user_metadata);
  return {fields.bytes().begin(), fields.bytes().end()};
}

Result<Manifest> decode(const storage::Path& path, ByteSpan bytes) {
  FieldReader fields(bytes);
  const auto head = fields.take<ManifestHead>();
  Manifest manifest;
  CheckpointInfo& info = manifest.info;
  info.token = head.token;
  info.version = head.version;
  info.kind = static_cast<CheckpointKind>(head.kind);
  info.unix_time_ns = head.unix_time_ns;
  info.bytes = head.bytes;
  info.live_records = head.live_records;
  info.begin = head.begin;
  info.end = head.end;
  manifest.page_bytes = head.page_bytes;
  manifest.segment_bytes = head.segment_bytes;
  manifest.flushed = head.flushed;
  manifest.boundary = head.boundary;
  manifest.index_buckets = head.index_buckets;
  manifest.index_tag_shift = head.index_tag_shift;
  manifest.live_bytes = head.live_bytes;
  if (head.image_token != 0) {
    manifest.index =
        IndexImage{{head.image_token, head.image_chunks, head.image_bytes, head.image_crc32c},
                   head.image_from,
                   head.image_buckets,
                   head.image_overflow_buckets};
  }
  info.with_index = head.image_token == head.token;
  // Fields of an image that there is not.
  uint64_t reserved = head.image_token != 0
                          ? 0
                          : head.image_from | head.image_buckets | head.image_overflow_buckets |
                                head.image_chunks | head.image_bytes | head.image_crc32c;
  for (auto left = fields.take_count(sizeof(SnapshotEntry)); left > 0; --left) {
    const auto entry = fields.take<SnapshotEntry>();
    manifest.snapshots.push_back({entry.token, entry.chunks, entry.bytes, entry.crc32c});
    reserved |= entry.reserved;
  }
  for (auto left = fields.take_count(sizeof(UndoneEntry)); left > 0; --left) {
    const auto entry = fields.take<UndoneEntry>();
    manifest.undone.push_back({entry.from, entry.to, entry.version});
    reserved |= entry.reserved;
  }
  for (auto left = fields.take_count(sizeof(SessionPoint)); left > 0; --left) {
    const auto session = fields.take<uint64_t>();
    info.points.push_back({session, fields.take<uint64_t>()});
  }
  manifest.owner = fields.take_text();
  info.user_metadata = fields.take_text();
  if (!fields.ok() || fields.left() != 0 || reserved != 0 || head.kind < 1 || head.kind > 4) {
    return damaged(path, 0, "fields are missing, left over or unknown");
  }
  return manifest;
}

}  // namespace

std::vector<uint64_t> Manifest::needed_tokens() const {
  std::vector<uint64_t> tokens;
  if (index) tokens.push_back(index->file.token);
  for (const ChunkFile& file : snapshots)
    tokens.push_back(file.token);
  std::erase(tokens, info.token);
  return tokens;
}

Result<> check_manifest(const storage::Path& path, const Manifest& manifest) {
  const CheckpointInfo& info = manifest.info;
  const auto impossible = [&](const std::string& what) {
    return damaged(path, 0, what + " is impossible");
  };
  if (info.version == 0 || info.version >= UINT32_MAX) {
    return impossible("version " + std::to_string(info.version));
  }
  for (size_t i = 0; i < info.points.size(); ++i) {
    const SessionPoint& point = info.points[i];
    if (i > 0 && point.session <= info.points[i - 1].session) {
      return impossible("session " + std::to_string(point.session) + " twice or out of order");
    }
    if (point.point == UINT64_MAX) {
      return impossible("serial " + std::to_string(point.point) + " of session " +
                        std::to_string(point.session));
    }
  }
  if (manifest.format == 1) return {};

  constexpr uint64_t kBlock = storage::kBlockBytes;
  if (!std::has_single_bit(manifest.page_bytes) || manifest.page_bytes < kLeastPageBytes ||
      !std::has_single_bit(manifest.segment_bytes) ||
      manifest.segment_bytes < manifest.page_bytes) {
    return impossible("a page of " + std::to_string(manifest.page_bytes) +
                      " bytes in a segment of " + std::to_string(manifest.segment_bytes));
  }
  const auto bucket_bits = static_cast<unsigned>(std::countr_zero(manifest.index_buckets));
  if (!std::has_single_bit(manifest.index_buckets) ||
      manifest.index_tag_shift > std::min(bucket_bits, HashIndex::kMostTagShift) ||
      bucket_bits > manifest.index_tag_shift + HashTable::kTagBits) {
    return impossible("an index of " + std::to_string(manifest.index_buckets) +
                      " buckets with tags from bit " + std::to_string(manifest.index_tag_shift));
  }
  const auto extent = [&] {
    return "a log from " + std::to_string(info.begin) + " to " + std::to_string(info.end) +
           ", on disk to " + std::to_string(manifest.flushed) + ", boundary " +
           std::to_string(manifest.boundary);
  };
  const uint64_t header = page_header_bytes(manifest.page_bytes);
  const uint64_t end_in_page = info.end & (manifest.page_bytes - 1);
  if (info.begin < header || info.begin % Record::kAlignment != 0 ||
      info.begin > manifest.flushed || (end_in_page != 0 && end_in_page < header) ||
      manifest.flushed > info.end || info.end > HashIndex::kMostAddress || info.end % kBlock != 0 ||
      (manifest.flushed % kBlock != 0 && manifest.flushed != info.begin) ||
      manifest.boundary < info.begin || manifest.boundary > info.end) {
    return impossible(extent());
  }
  if (info.live_records > (info.end - info.begin) / Record::kAlignment) {
    return impossible(std::to_string(info.live_records) + " records in " + extent());
  }
  if (const auto& image = manifest.index) {
    if (image->file.token > info.token || image->from > info.end ||
        !std::has_single_bit(image->buckets) || image->buckets > manifest.index_buckets ||
        image->buckets >> manifest.index_tag_shift == 0) {
      return impossible("an index image of checkpoint " + std::to_string(image->file.token) +
                        " with " + std::to_string(image->buckets) + " buckets from " +
                        std::to_string(image->from));
    }
  }
  for (size_t i = 0; i < manifest.snapshots.size(); ++i) {
    const uint64_t token = manifest.snapshots[i].token;
    if (token == 0 || token > info.token || (i > 0 && token <= manifest.snapshots[i - 1].token)) {
      return impossible("a snapshot of checkpoint " + std::to_string(token));
    }
  }
  const bool snapshot = manifest.flushed < info.end;
  if (snapshot != !manifest.snapshots.empty() ||
      (snapshot && manifest.snapshots.back().token != info.token)) {
    return impossible(std::to_string(manifest.snapshots.size()) + " snapshots for " + extent());
  }
  LogAddress last = 0;
  for (const UndoneRange& range : manifest.undone) {
    if (range.from < last || range.to <= range.from || range.to > info.end) {
      return impossible("undone from " + std::to_string(range.from) + " to " +
                        std::to_string(range.to));
    }
    last = range.to;
  }
  return {};
}

// --- the directory ---

std::string token_directory_name(uint64_t token) {
  std::string digits = std::to_string(token);
  digits.insert(0, kTokenDigits - digits.size(), '0');
  return digits;
}

storage::Path CheckpointDirectory::path_of(uint64_t token) const {
  return root_ / token_directory_name(token);
}

Result<std::vector<uint64_t>> CheckpointDirectory::tokens() const {
  auto names = file_system_.list(root_);
  if (!names) {
    if (names.error().code == ErrorCode::kNotFound) return std::vector<uint64_t>{};
    return tl::unexpected(names.error());
  }
  std::vector<uint64_t> tokens;
  for (const std::string& name : *names) {
    uint64_t token = 0;
    const char* end = name.data() + name.size();
    const auto [stopped, error] = std::from_chars(name.data(), end, token);
    if (name.size() == kTokenDigits && error == std::errc() && stopped == end) {
      tokens.push_back(token);
    }
  }
  return tokens;  // names are sorted and of one length
}

Result<> CheckpointDirectory::create(uint64_t token) {
  TAILRACE_RETURN_IF_ERROR(file_system_.make_directory(path_of(token)));
  // The directories above may stem from an attempt that was cut off before it had synced them.
  TAILRACE_RETURN_IF_ERROR(file_system_.sync_directory(root_));
  return file_system_.sync_directory(root_.parent_path());
}

Result<> CheckpointDirectory::remove(uint64_t token, bool to_spare) {
  // The manifest first: a crash in between leaves what was never published, not half a checkpoint.
  const storage::Path path = path_of(token);
  const auto removed = file_system_.remove(path / "MANIFEST");
  if (!removed && removed.error().code != ErrorCode::kNotFound) return removed;
  TAILRACE_RETURN_IF_ERROR(file_system_.sync_directory(path));
  if (to_spare && has_spare() == false) {
    const auto renamed = file_system_.rename(snapshot_path(token), spare_path());
    if (!renamed && renamed.error().code != ErrorCode::kNotFound) return renamed;
  }
  TAILRACE_RETURN_IF_ERROR(file_system_.remove_directory(path));
  return file_system_.sync_directory(root_);
}

Result<> CheckpointDirectory::take_spare(uint64_t token) {
  TAILRACE_ASSIGN_OR_RETURN(const auto there, has_spare());
  if (!there) return {};
  TAILRACE_RETURN_IF_ERROR(file_system_.rename(spare_path(), snapshot_path(token)));
  // Were the old name to come back beside the new one, a later snapshot would be written over this.
  return file_system_.sync_directory(spare_path().parent_path());
}

Result<> CheckpointDirectory::drop_spare() {
  TAILRACE_ASSIGN_OR_RETURN(const auto there, has_spare());
  return there ? file_system_.remove(spare_path()) : Result<>{};
}

Result<> CheckpointDirectory::set_aside(uint64_t token, std::string_view suffix) {
  const storage::Path path = manifest_path(token);
  TAILRACE_RETURN_IF_ERROR(file_system_.rename(path, path.string().append(suffix)));
  return file_system_.sync_directory(path_of(token));
}

bool CheckpointDirectory::is_set_aside(uint64_t token) const {
  const auto damaged = file_system_.exists(damaged_manifest_path(token));
  return damaged && *damaged;
}

Result<> CheckpointDirectory::publish(const Manifest& manifest) {
  return storage::replace_atomic_file(file_system_, manifest_path(manifest.token()),
                                      kManifestFormat, encode(manifest));
}

Result<Manifest> CheckpointDirectory::manifest(uint64_t token) const {
  const storage::Path path = manifest_path(token);
  TAILRACE_ASSIGN_OR_RETURN(auto content,
                            storage::read_atomic_file(file_system_, path, kManifestFormat));
  TAILRACE_ASSIGN_OR_RETURN(auto manifest, content.version == 1
                                               ? decode_legacy_manifest(path, content.bytes)
                                               : decode(path, content.bytes));
  if (manifest.info.token != token) {
    return damaged(path, 0, "is the manifest of checkpoint " + std::to_string(manifest.token()));
  }
  TAILRACE_RETURN_IF_ERROR(check_manifest(path, manifest));
  return manifest;
}

}  // namespace tailrace::kv
