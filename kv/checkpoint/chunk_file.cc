#include "kv/checkpoint/chunk_file.h"

#include <algorithm>

#include "core/check.h"
#include "kv/checkpoint/manifest_fields.h"
#include "storage/crc32c.h"

namespace tailrace::kv {

namespace {

constexpr size_t kChunksInFlight = 8;
constexpr std::chrono::seconds kLong{3600};

// Little-endian, at the start of a chunk's header block.
struct ChunkHeader {
  uint32_t magic;
  uint32_t crc32c;  // of the header block from `token` on and of the payload
  uint64_t token;
  uint64_t number;         // 0, 1, 2, …
  uint32_t payload_bytes;  // a multiple of 4096
  uint32_t items;          // buckets, or blocks
  uint64_t reserved[4];
};
static_assert(sizeof(ChunkHeader) == 64 && std::is_trivially_copyable_v<ChunkHeader>);
static_assert(offsetof(ChunkHeader, crc32c) == 4);
static_assert(offsetof(ChunkHeader, token) == 8);
static_assert(offsetof(ChunkHeader, number) == 16);
static_assert(offsetof(ChunkHeader, payload_bytes) == 24);
static_assert(offsetof(ChunkHeader, items) == 28);
static_assert(offsetof(ChunkHeader, reserved) == 32);
constexpr size_t kChecked = offsetof(ChunkHeader, token);
// The table of addresses, a u64 for each block of a snapshot's payload, fills from here.
static_assert(sizeof(ChunkHeader) + kBlocksOfChunk * sizeof(uint64_t) <= storage::kBlockBytes);

uint32_t chain_crc32c(uint32_t crc, uint32_t before) {
  std::byte bytes[sizeof crc];
  store(bytes, crc);
  return crc32c(bytes, before);
}

}  // namespace

// --- writing ---

Result<std::unique_ptr<ChunkWriter>> ChunkWriter::create(storage::FileSystem& file_system,
                                                         const storage::Path& path, uint32_t magic,
                                                         uint64_t token, uint64_t expected_bytes) {
  storage::OpenOptions options;
  options.mode = storage::OpenMode::kCreateReadWrite;
  options.direct = true;
  TAILRACE_ASSIGN_OR_RETURN(auto file, file_system.open(path, options));
  TAILRACE_ASSIGN_OR_RETURN(auto queue, file_system.make_queue(kChunksInFlight));
  std::unique_ptr<ChunkWriter> writer(
      new ChunkWriter(std::move(file), std::move(queue), magic, token));
  const uint64_t blocks = (expected_bytes + storage::kBlockBytes - 1) / storage::kBlockBytes;
  const uint64_t chunks = (blocks + kBlocksOfChunk - 1) / kBlocksOfChunk;
  const uint64_t wanted = (blocks + chunks) * storage::kBlockBytes;
  TAILRACE_ASSIGN_OR_RETURN(const auto has, writer->file_->size());
  if (has < wanted) TAILRACE_RETURN_IF_ERROR(writer->file_->allocate(wanted));
  writer->allocated_bytes_ = std::max(has, wanted);
  return writer;
}

ChunkWriter::ChunkWriter(std::unique_ptr<storage::File> file,
                         std::unique_ptr<storage::IoQueue> queue, uint32_t magic, uint64_t token)
    : file_(std::move(file)), queue_(std::move(queue)), magic_(magic), token_(token) {}

ChunkWriter::~ChunkWriter() {
  (void)wait(true);  // the buffers must outlive the writes
}

Result<> ChunkWriter::wait(bool for_all) {
  while (for_all ? queue_->in_flight() > 0 : free_.empty()) {
    completions_.clear();
    const auto got = queue_->wait(completions_, kLong);
    if (!got) {
      failure_ = got.error();
      return tl::unexpected(got.error());
    }
    for (storage::Completion& completion : completions_) {
      free_.push_back(completion.token);
      if (!completion.bytes && !failure_) failure_ = std::move(completion.bytes.error());
    }
  }
  if (failure_) return tl::unexpected(*failure_);
  return {};
}

Result<> ChunkWriter::begin_chunk() {
  if (current_ && used_bytes_ == kPayloadBytesOfChunk) TAILRACE_RETURN_IF_ERROR(end_chunk());
  if (current_) return {};
  if (free_.empty() && buffers_.size() < kChunksInFlight) {
    TAILRACE_ASSIGN_OR_RETURN(auto buffer, storage::AlignedBuffer::allocate(kChunkBytes));
    free_.push_back(buffers_.size());
    buffers_.push_back(std::move(buffer));
  }
  TAILRACE_RETURN_IF_ERROR(wait(false));
  current_ = free_.back();
  free_.pop_back();
  std::memset(buffers_[*current_].data(), 0, storage::kBlockBytes);
  used_bytes_ = 0;
  items_ = 0;
  return {};
}

Result<> ChunkWriter::end_chunk() {
  std::byte* at = buffers_[*current_].data();
  const uint64_t payload_bytes = align_up(used_bytes_, storage::kBlockBytes);
  std::memset(at + storage::kBlockBytes + used_bytes_, 0, payload_bytes - used_bytes_);
  const ByteSpan bytes(at, storage::kBlockBytes + payload_bytes);
  ChunkHeader header{};
  header.magic = magic_;
  header.token = token_;
  header.number = chunks_;
  header.payload_bytes = static_cast<uint32_t>(payload_bytes);
  header.items = items_;
  store(at, header);
  header.crc32c = crc32c(bytes.subspan(kChecked));
  store(at, header);
  crc32c_ = chain_crc32c(header.crc32c, crc32c_);

  queue_->write(*file_, file_bytes_, bytes, *current_);
  file_bytes_ += bytes.size();
  ++chunks_;
  current_.reset();
  used_bytes_ = 0;
  // Submits, and takes in what is there.
  completions_.clear();
  const auto got = queue_->wait(completions_, std::chrono::nanoseconds(0));
  if (!got) {
    failure_ = got.error();
    return tl::unexpected(got.error());
  }
  for (storage::Completion& completion : completions_) {
    free_.push_back(completion.token);
    if (!completion.bytes && !failure_) failure_ = std::move(completion.bytes.error());
  }
  if (failure_) return tl::unexpected(*failure_);
  return {};
}

Result<> ChunkWriter::put(ByteSpan bytes, uint32_t item_bytes) {
  while (!bytes.empty()) {
    TAILRACE_RETURN_IF_ERROR(begin_chunk());
    const size_t now = std::min<size_t>(bytes.size(), kPayloadBytesOfChunk - used_bytes_);
    std::memcpy(buffers_[*current_].data() + storage::kBlockBytes + used_bytes_, bytes.data(), now);
    used_bytes_ += now;
    items_ += static_cast<uint32_t>(now / item_bytes);
    bytes = bytes.subspan(now);
  }
  return {};
}

Result<MutableByteSpan> ChunkWriter::room() {
  TAILRACE_RETURN_IF_ERROR(begin_chunk());
  return buffers_[*current_].span().subspan(storage::kBlockBytes + used_bytes_);
}

void ChunkWriter::took_block(LogAddress address) {
  TAILRACE_CHECK(current_ && used_bytes_ < kPayloadBytesOfChunk, "a block without room");
  store(buffers_[*current_].data() + sizeof(ChunkHeader) + items_ * sizeof(uint64_t), address);
  ++items_;
  used_bytes_ += storage::kBlockBytes;
}

Result<ChunkFile> ChunkWriter::finish() {
  if (current_ && used_bytes_ > 0) TAILRACE_RETURN_IF_ERROR(end_chunk());
  TAILRACE_RETURN_IF_ERROR(wait(true));
  if (allocated_bytes_ > file_bytes_) TAILRACE_RETURN_IF_ERROR(file_->truncate(file_bytes_));
  TAILRACE_RETURN_IF_ERROR(file_->sync());
  return ChunkFile{token_, chunks_, file_bytes_, crc32c_};
}

// --- reading ---

Result<std::unique_ptr<ChunkReader>> ChunkReader::create(storage::FileSystem& file_system,
                                                         const storage::Path& path, uint32_t magic,
                                                         const ChunkFile& what) {
  storage::OpenOptions options;
  options.direct = true;
  auto file = file_system.open(path, options);
  if (!file) {
    if (file.error().code == ErrorCode::kNotFound) return damaged(path, 0, "the file is missing");
    return tl::unexpected(std::move(file.error()));
  }
  TAILRACE_ASSIGN_OR_RETURN(const auto size, (*file)->size());
  const uint64_t full = what.chunks == 0 ? 0 : (what.chunks - 1) * kChunkBytes;
  if (what.bytes % storage::kBlockBytes != 0 || what.bytes < full ||
      what.bytes - full > kChunkBytes ||
      (what.chunks > 0 && what.bytes - full <= storage::kBlockBytes)) {
    return damaged(path, 0,
                   "its manifest's " + std::to_string(what.bytes) + " bytes cannot be " +
                       std::to_string(what.chunks) + " chunks");
  }
  if (size < what.bytes) {
    return damaged(path, size,
                   "the file ends before the " + std::to_string(what.bytes) +
                       " bytes that its MANIFEST names");
  }
  const size_t depth = std::clamp<size_t>(what.chunks, 1, kChunksInFlight);
  TAILRACE_ASSIGN_OR_RETURN(auto queue, file_system.make_queue(depth));
  std::unique_ptr<ChunkReader> reader(
      new ChunkReader(path, std::move(*file), std::move(queue), magic, what));
  for (size_t i = 0; i < depth; ++i) {
    TAILRACE_ASSIGN_OR_RETURN(auto buffer, storage::AlignedBuffer::allocate(kChunkBytes));
    reader->buffers_.push_back(std::move(buffer));
  }
  reader->arrived_.resize(depth);
  return reader;
}

ChunkReader::ChunkReader(storage::Path path, std::unique_ptr<storage::File> file,
                         std::unique_ptr<storage::IoQueue> queue, uint32_t magic,
                         const ChunkFile& what)
    : path_(std::move(path)),
      file_(std::move(file)),
      queue_(std::move(queue)),
      magic_(magic),
      what_(what) {}

ChunkReader::~ChunkReader() {
  while (queue_->in_flight() > 0) {  // the buffers must outlive the reads
    completions_.clear();
    if (!queue_->wait(completions_, kLong)) return;
  }
}

size_t ChunkReader::bytes_of(uint64_t number) const {
  return std::min<uint64_t>(kChunkBytes, what_.bytes - number * kChunkBytes);
}

void ChunkReader::start_reads() {
  // The chunk handed out last is not needed any more: its buffer is read into again.
  if (started_ == what_.chunks) return;
  while (started_ < what_.chunks && started_ < next_ + buffers_.size()) {
    const size_t slot = started_ % buffers_.size();
    arrived_[slot].reset();
    queue_->read(*file_, started_ * kChunkBytes, buffers_[slot].span().first(bytes_of(started_)),
                 started_);
    ++started_;
  }
  collect(std::chrono::nanoseconds(0));  // submits them
}

void ChunkReader::collect(std::chrono::nanoseconds timeout) {
  completions_.clear();
  if (const auto got = queue_->wait(completions_, timeout); !got) failure_ = got.error();
  for (storage::Completion& completion : completions_) {
    arrived_[completion.token % buffers_.size()] = std::move(completion.bytes);
  }
}

Result<> ChunkReader::wait_for(uint64_t number) {
  const size_t slot = number % buffers_.size();
  while (!arrived_[slot]) {
    if (failure_) return tl::unexpected(*failure_);
    collect(kLong);
  }
  const Result<size_t>& bytes = *arrived_[slot];
  if (!bytes) return tl::unexpected(bytes.error());
  if (*bytes < bytes_of(number)) {
    return damaged(path_, number * kChunkBytes + *bytes, "the file ends within a chunk");
  }
  return {};
}

Result<ChunkReader::Chunk> ChunkReader::check(uint64_t number) {
  const size_t bytes = bytes_of(number);
  const ByteSpan chunk = ByteSpan(buffers_[number % buffers_.size()].span()).first(bytes);
  const auto header = load<ChunkHeader>(chunk.data());
  const uint64_t offset = number * kChunkBytes;
  if (header.magic != magic_ || header.token != what_.token || header.number != number ||
      header.payload_bytes != bytes - storage::kBlockBytes ||
      header.items > header.payload_bytes / 64) {
    return damaged(path_, offset, "not the header of chunk " + std::to_string(number));
  }
  if (crc32c(chunk.subspan(kChecked)) != header.crc32c) {
    return damaged(path_, offset,
                   "the checksum of chunk " + std::to_string(number) + " does not match");
  }
  crc32c_ = chain_crc32c(header.crc32c, crc32c_);
  Chunk result;
  result.number = number;
  result.items = header.items;
  result.table = chunk.first(storage::kBlockBytes).subspan(sizeof header);
  result.payload = chunk.subspan(storage::kBlockBytes);
  return result;
}

Result<std::optional<ChunkReader::Chunk>> ChunkReader::next() {
  if (next_ == what_.chunks) {
    if (crc32c_ != what_.crc32c) {
      return damaged(path_, 0, "the chunks are not those of the MANIFEST");
    }
    return std::optional<Chunk>();
  }
  start_reads();
  TAILRACE_RETURN_IF_ERROR(wait_for(next_));
  TAILRACE_ASSIGN_OR_RETURN(auto chunk, check(next_));
  ++next_;
  return std::optional<Chunk>(chunk);
}

Result<> check_chunks(storage::FileSystem& file_system, const storage::Path& path, uint32_t magic,
                      const ChunkFile& what) {
  TAILRACE_ASSIGN_OR_RETURN(auto reader, ChunkReader::create(file_system, path, magic, what));
  for (;;) {
    TAILRACE_ASSIGN_OR_RETURN(auto chunk, reader->next());
    if (!chunk) return {};
  }
}

// --- snapshots ---

Result<std::unique_ptr<SnapshotReader>> SnapshotReader::create(storage::FileSystem& file_system,
                                                               const storage::Path& path,
                                                               const ChunkFile& what) {
  TAILRACE_ASSIGN_OR_RETURN(auto chunks,
                            ChunkReader::create(file_system, path, kSnapshotChunk, what));
  return std::unique_ptr<SnapshotReader>(new SnapshotReader(std::move(chunks)));
}

Result<std::optional<SnapshotReader::Block>> SnapshotReader::next_below(LogAddress limit) {
  while (!ended_ && (!chunk_ || block_ == chunk_->items)) {
    TAILRACE_ASSIGN_OR_RETURN(chunk_, chunks_->next());
    block_ = 0;
    ended_ = !chunk_.has_value();
    if (chunk_ && (chunk_->items > kBlocksOfChunk ||
                   chunk_->items * storage::kBlockBytes != chunk_->payload.size())) {
      return damaged(chunks_->path(), chunk_->number * kChunkBytes,
                     "blocks are missing or left over");
    }
  }
  if (ended_) return std::optional<Block>();
  const LogAddress address = chunk_->address_of(block_);
  if (address >= limit) return std::optional<Block>();
  if (address % storage::kBlockBytes != 0 || (last_ != 0 && address <= last_)) {
    return damaged(chunks_->path(), chunk_->number * kChunkBytes,
                   "block " + std::to_string(block_) + " has the impossible address " +
                       std::to_string(address));
  }
  last_ = address;
  const Block block{address,
                    chunk_->payload.subspan(block_ * storage::kBlockBytes, storage::kBlockBytes)};
  ++block_;
  return std::optional<Block>(block);
}

}  // namespace tailrace::kv
