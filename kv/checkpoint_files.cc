#include "kv/checkpoint_files.h"

#include <charconv>

#include "core/crc32c.h"
#include "storage/atomic_file.h"

namespace tailrace::kv {

namespace {

constexpr storage::AtomicFileFormat kManifestFormat{storage::four_letters("KVCP"), 1};
constexpr uint32_t kChunkMagic = storage::four_letters("KVCH");
constexpr size_t kTokenDigits = 20;
constexpr size_t kChunkTarget = 1u << 20;

// Little-endian, 40 bytes before the pairs of a chunk.
struct ChunkHeader {
  uint32_t magic;
  uint32_t crc32c;  // of the header from `token` on and of the payload
  uint64_t token;
  uint64_t number;         // 0, 1, 2, …
  uint64_t payload_bytes;  // the chunk ends at the next multiple of 4096
  uint32_t records;
  uint32_t reserved;
};
static_assert(sizeof(ChunkHeader) == 40 && std::is_trivially_copyable_v<ChunkHeader>);
static_assert(offsetof(ChunkHeader, crc32c) == 4);
static_assert(offsetof(ChunkHeader, token) == 8);
static_assert(offsetof(ChunkHeader, number) == 16);
static_assert(offsetof(ChunkHeader, payload_bytes) == 24);
static_assert(offsetof(ChunkHeader, records) == 32);
static_assert(offsetof(ChunkHeader, reserved) == 36);
constexpr size_t kChecked = offsetof(ChunkHeader, token);

// Before each pair.
struct PairHeader {
  uint32_t key_bytes;
  uint32_t value_bytes;
};
static_assert(sizeof(PairHeader) == 8 && std::is_trivially_copyable_v<PairHeader>);
static_assert(offsetof(PairHeader, value_bytes) == 4);

template <typename T>
void put(std::vector<std::byte>& to, const T& value) {
  const size_t at = to.size();
  to.resize(at + sizeof value);
  store(to.data() + at, value);
}

void put_text(std::vector<std::byte>& to, std::string_view text) {
  put(to, static_cast<uint32_t>(text.size()));
  const ByteSpan bytes = as_bytes(text);
  to.insert(to.end(), bytes.begin(), bytes.end());
}

// Takes fields from the front; once something is missing, all later ones are zero and ok() is
// false.
class Fields {
 public:
  explicit Fields(ByteSpan bytes) : rest_(bytes) {}
  template <typename T>
  T take() {
    if (rest_.size() < sizeof(T)) {
      ok_ = false;
      rest_ = {};
      return T{};
    }
    const T value = load<T>(rest_.data());
    rest_ = rest_.subspan(sizeof(T));
    return value;
  }
  std::string take_text() {
    const auto bytes = take<uint32_t>();
    if (rest_.size() < bytes) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    std::string text = to_string(rest_.first(bytes));
    rest_ = rest_.subspan(bytes);
    return text;
  }
  bool ok() const { return ok_; }
  size_t left() const { return rest_.size(); }

 private:
  ByteSpan rest_;
  bool ok_ = true;
};

tl::unexpected<Error> damaged(const storage::Path& path, uint64_t offset, const std::string& what) {
  return make_error(ErrorCode::kCorruption,
                    path.string() + ", offset " + std::to_string(offset) + ": " + what);
}

}  // namespace

// --- the directory ---

storage::Path CheckpointDirectory::path_of(uint64_t token) const {
  std::string digits = std::to_string(token);
  digits.insert(0, kTokenDigits - digits.size(), '0');
  return root_ / digits;
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

Result<> CheckpointDirectory::remove(uint64_t token) {
  // The manifest first: a crash in between leaves what was never published, not half a checkpoint.
  const storage::Path path = path_of(token);
  const auto removed = file_system_.remove(path / "MANIFEST");
  if (!removed && removed.error().code != ErrorCode::kNotFound) return removed;
  TAILRACE_RETURN_IF_ERROR(file_system_.sync_directory(path));
  TAILRACE_RETURN_IF_ERROR(file_system_.remove_directory(path));
  return file_system_.sync_directory(root_);
}

Result<> CheckpointDirectory::publish(const Manifest& manifest) {
  const CheckpointInfo& info = manifest.info;
  std::vector<std::byte> bytes;
  put(bytes, info.token);
  put(bytes, info.version);
  put(bytes, info.unix_time_ns);
  put(bytes, info.bytes);
  put(bytes, info.live_records);
  put(bytes, manifest.chunks);
  put(bytes, manifest.chunks_crc32c);
  put(bytes, static_cast<uint32_t>(info.points.size()));
  for (const SessionPoint& point : info.points) {
    put(bytes, point.session);
    put(bytes, point.point);
  }
  put_text(bytes, manifest.owner);
  put_text(bytes, info.user_metadata);
  return storage::replace_atomic_file(file_system_, path_of(info.token) / "MANIFEST",
                                      kManifestFormat, bytes);
}

Result<Manifest> CheckpointDirectory::manifest(uint64_t token) const {
  const storage::Path path = path_of(token) / "MANIFEST";
  auto content = storage::read_atomic_file(file_system_, path, kManifestFormat);
  if (!content) return tl::unexpected(content.error());
  Fields fields(content->bytes);
  Manifest manifest;
  CheckpointInfo& info = manifest.info;
  info.token = fields.take<uint64_t>();
  info.version = fields.take<uint64_t>();
  info.unix_time_ns = fields.take<uint64_t>();
  info.bytes = fields.take<uint64_t>();
  info.live_records = fields.take<uint64_t>();
  manifest.chunks = fields.take<uint64_t>();
  manifest.chunks_crc32c = fields.take<uint32_t>();
  const auto points = fields.take<uint32_t>();
  if (points > fields.left() / sizeof(SessionPoint)) {
    return damaged(path, 0, "says it has " + std::to_string(points) + " sessions");
  }
  for (uint32_t i = 0; i < points; ++i) {
    const auto session = fields.take<uint64_t>();
    info.points.push_back({session, fields.take<uint64_t>()});
  }
  manifest.owner = fields.take_text();
  info.user_metadata = fields.take_text();
  if (!fields.ok() || fields.left() != 0)
    return damaged(path, 0, "fields are missing or left over");
  if (info.token != token) {
    return damaged(path, 0, "is the manifest of checkpoint " + std::to_string(info.token));
  }
  if (info.version == 0 || info.version >= UINT32_MAX) {
    return damaged(path, 0, "version " + std::to_string(info.version) + " is impossible");
  }
  return manifest;
}

// --- writing ---

Result<std::unique_ptr<SnapshotWriter>> SnapshotWriter::create(CheckpointDirectory& directory,
                                                               uint64_t token) {
  storage::OpenOptions options;
  options.mode = storage::OpenMode::kCreateReadWrite;
  options.direct = true;
  auto file = directory.file_system().open(directory.path_of(token) / "records", options);
  if (!file) return tl::unexpected(file.error());
  return std::unique_ptr<SnapshotWriter>(new SnapshotWriter(std::move(*file), token));
}

SnapshotWriter::SnapshotWriter(std::unique_ptr<storage::File> file, uint64_t token)
    : file_(std::move(file)), token_(token) {
  chunk_.reserve(kChunkTarget + kChunkTarget / 4);
  chunk_.resize(sizeof(ChunkHeader));
}

void SnapshotWriter::add(ByteSpan key, ByteSpan value) {
  put(chunk_, PairHeader{static_cast<uint32_t>(key.size()), static_cast<uint32_t>(value.size())});
  chunk_.insert(chunk_.end(), key.begin(), key.end());
  chunk_.insert(chunk_.end(), value.begin(), value.end());
  ++chunk_records_;
}

Result<> SnapshotWriter::flush_if_full() {
  if (chunk_.size() < kChunkTarget) return {};
  return write_chunk();
}

Result<> SnapshotWriter::write_chunk() {
  ChunkHeader header{};
  header.magic = kChunkMagic;
  header.token = token_;
  header.number = chunks_;
  header.payload_bytes = chunk_.size() - sizeof header;
  header.records = chunk_records_;
  store(chunk_.data(), header);
  header.crc32c = crc32c(ByteSpan(chunk_).subspan(kChecked));
  store(chunk_.data(), header);

  const size_t padded = align_up(chunk_.size(), storage::kBlockBytes);
  if (block_.size() < padded) {
    auto block = storage::AlignedBuffer::allocate(padded);
    if (!block) return tl::unexpected(block.error());
    block_ = std::move(*block);
  }
  std::memcpy(block_.data(), chunk_.data(), chunk_.size());
  std::memset(block_.data() + chunk_.size(), 0, padded - chunk_.size());
  TAILRACE_RETURN_IF_ERROR(file_->write_at(offset_, ByteSpan(block_.span()).first(padded)));

  std::byte crc[sizeof header.crc32c];
  store(crc, header.crc32c);
  chunks_crc32c_ = crc32c(crc, chunks_crc32c_);
  offset_ += padded;
  records_ += chunk_records_;
  ++chunks_;
  chunk_.resize(sizeof(ChunkHeader));
  chunk_records_ = 0;
  return {};
}

Result<> SnapshotWriter::finish(Manifest& manifest) {
  if (chunk_records_ > 0) TAILRACE_RETURN_IF_ERROR(write_chunk());
  TAILRACE_RETURN_IF_ERROR(file_->sync());
  manifest.info.bytes = offset_;
  manifest.info.live_records = records_;
  manifest.chunks = chunks_;
  manifest.chunks_crc32c = chunks_crc32c_;
  return {};
}

// --- reading ---

namespace {

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

Result<> read_snapshot(CheckpointDirectory& directory, const Manifest& manifest,
                       const std::function<Result<>(ByteSpan, ByteSpan)>& visit) {
  const storage::Path path = directory.path_of(manifest.info.token) / "records";
  auto opened = directory.file_system().open(path, {});
  if (!opened) {
    if (opened.error().code == ErrorCode::kNotFound) return damaged(path, 0, "the file is missing");
    return tl::unexpected(opened.error());
  }
  storage::File& file = **opened;
  const auto size = file.size();
  if (!size) return tl::unexpected(size.error());
  if (*size < manifest.info.bytes) {
    return damaged(path, *size,
                   "the file ends before the " + std::to_string(manifest.info.bytes) +
                       " bytes that its MANIFEST names");
  }

  std::vector<std::byte> chunk;
  uint64_t offset = 0;
  uint64_t records = 0;
  uint32_t crcs = 0;
  for (uint64_t number = 0; number < manifest.chunks; ++number) {
    chunk.resize(sizeof(ChunkHeader));
    if (offset > manifest.info.bytes || manifest.info.bytes - offset < sizeof(ChunkHeader)) {
      return damaged(path, offset, "a chunk is missing");
    }
    auto got = file.read_at(offset, chunk);
    if (!got) return tl::unexpected(got.error());
    if (*got < chunk.size()) return damaged(path, offset, "the file ends within a chunk");
    const auto header = load<ChunkHeader>(chunk.data());
    if (header.magic != kChunkMagic || header.token != manifest.info.token ||
        header.number != number || header.reserved != 0 ||
        header.payload_bytes > manifest.info.bytes - offset - sizeof header) {
      return damaged(path, offset, "not the header of chunk " + std::to_string(number));
    }
    chunk.resize(sizeof header + header.payload_bytes);
    got = file.read_at(offset + sizeof header, MutableByteSpan(chunk).subspan(sizeof header));
    if (!got) return tl::unexpected(got.error());
    if (*got < header.payload_bytes || crc32c(ByteSpan(chunk).subspan(kChecked)) != header.crc32c) {
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
      crcs != manifest.chunks_crc32c) {
    return damaged(path, offset, "chunks, records or checksums are not those of the MANIFEST");
  }
  return {};
}

}  // namespace tailrace::kv
