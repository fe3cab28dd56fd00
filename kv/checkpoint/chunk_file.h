#pragma once
// A file of checksummed chunks: the index image and the snapshot of a checkpoint
// (docs/formats/fasterkv.md has the fields). Each chunk is a header block of 4096 bytes and up to
// 255 blocks of payload; all but the last are full, so a chunk's place follows from its number and
// several can be read at a time. Every byte of the file is under a checksum.
//
// Both sides keep several chunks in flight, past the page cache, and use a few MiB of memory
// however long the file is.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "core/result.h"
#include "kv/log/record.h"
#include "storage/aligned_buffer.h"
#include "storage/atomic_file.h"
#include "storage/file_system.h"

namespace tailrace::kv {

inline constexpr uint32_t kIndexChunk = storage::four_letters("KVIX");
inline constexpr uint32_t kSnapshotChunk = storage::four_letters("KVSN");
inline constexpr uint64_t kBlocksOfChunk = 255;
inline constexpr uint64_t kPayloadBytesOfChunk = kBlocksOfChunk * storage::kBlockBytes;
inline constexpr uint64_t kChunkBytes = kPayloadBytesOfChunk + storage::kBlockBytes;

/// What a manifest says about one.
struct ChunkFile {
  uint64_t token = 0;  // of the checkpoint that wrote it
  uint64_t chunks = 0;
  uint64_t bytes = 0;
  uint32_t crc32c = 0;  // of the chunks' own checksums, in order
  bool operator==(const ChunkFile&) const = default;
};

/// One thread.
class ChunkWriter {
 public:
  /// `expected_bytes` of payload are given disk space at once. It may become more or less. What is
  /// in the file already is written over, or cut off.
  static Result<std::unique_ptr<ChunkWriter>> create(storage::FileSystem& file_system,
                                                     const storage::Path& path, uint32_t magic,
                                                     uint64_t token, uint64_t expected_bytes);
  ~ChunkWriter();

  /// Any bytes, one behind the other; `items` of them are counted into the chunk where they begin.
  Result<> put(ByteSpan bytes, uint32_t item_bytes);
  /// Where the next blocks go, at least one of them. Waits when all buffers are on their way.
  Result<MutableByteSpan> room();
  /// The first block of room() has been filled with the log's block at `address`.
  void took_block(LogAddress address);

  /// Writes the rest and syncs the file.
  Result<ChunkFile> finish();
  uint64_t bytes_written() const { return chunks_ * kChunkBytes + used_bytes_; }

 private:
  ChunkWriter(std::unique_ptr<storage::File> file, std::unique_ptr<storage::IoQueue> queue,
              uint32_t magic, uint64_t token);
  Result<> begin_chunk();
  Result<> end_chunk();
  /// Takes in completions; waits until a buffer is free, or until all are.
  Result<> wait(bool for_all);

  const std::unique_ptr<storage::File> file_;
  const std::unique_ptr<storage::IoQueue> queue_;
  const uint32_t magic_;
  const uint64_t token_;
  std::vector<storage::AlignedBuffer> buffers_;
  std::vector<size_t> free_;       // of buffers_
  std::optional<size_t> current_;  // the chunk being filled
  std::vector<storage::Completion> completions_;
  uint64_t used_bytes_ = 0;       // of the current one's payload
  uint32_t items_ = 0;            // of the current one
  uint64_t allocated_bytes_ = 0;  // that the file has before it is written
  uint64_t chunks_ = 0;           // ended
  uint64_t file_bytes_ = 0;
  uint32_t crc32c_ = 0;
  std::optional<Error> failure_;
};

/// One thread.
class ChunkReader {
 public:
  static Result<std::unique_ptr<ChunkReader>> create(storage::FileSystem& file_system,
                                                     const storage::Path& path, uint32_t magic,
                                                     const ChunkFile& what);
  ~ChunkReader();

  struct Chunk {
    uint64_t number = 0;
    uint32_t items = 0;
    ByteSpan table;  // what follows the header's fields: the addresses of a snapshot's blocks
    ByteSpan payload;
    LogAddress address_of(size_t block) const { return load<uint64_t>(table.data() + block * 8); }
  };
  /// The next chunk, checked, valid until the next call; nothing at the end, when the whole file is
  /// what the manifest says. kCorruption names file and offset.
  Result<std::optional<Chunk>> next();

  const storage::Path& path() const { return path_; }
  uint64_t bytes_read() const { return next_ * kChunkBytes; }

 private:
  ChunkReader(storage::Path path, std::unique_ptr<storage::File> file,
              std::unique_ptr<storage::IoQueue> queue, uint32_t magic, const ChunkFile& what);
  size_t bytes_of(uint64_t number) const;
  void start_reads();
  void collect(std::chrono::nanoseconds timeout);
  Result<> wait_for(uint64_t number);
  Result<Chunk> check(uint64_t number);

  const storage::Path path_;
  const std::unique_ptr<storage::File> file_;
  const std::unique_ptr<storage::IoQueue> queue_;
  const uint32_t magic_;
  const ChunkFile what_;
  std::vector<storage::AlignedBuffer> buffers_;  // chunk n in n % buffers
  std::vector<std::optional<Result<size_t>>> arrived_;
  std::vector<storage::Completion> completions_;
  uint64_t next_ = 0;     // to be handed out
  uint64_t started_ = 0;  // reads
  uint32_t crc32c_ = 0;
  std::optional<Error> failure_;  // of the queue
};

/// Reads a whole file and checks it.
Result<> check_chunks(storage::FileSystem& file_system, const storage::Path& path, uint32_t magic,
                      const ChunkFile& what);

/// The blocks of a snapshot in ascending order of address.
class SnapshotReader {
 public:
  static Result<std::unique_ptr<SnapshotReader>> create(storage::FileSystem& file_system,
                                                        const storage::Path& path,
                                                        const ChunkFile& what);
  struct Block {
    LogAddress address = 0;
    ByteSpan bytes;
  };
  /// The next block below `limit`; nothing when the next one is not below it. Valid until the next
  /// call. kCorruption also when addresses do not ascend.
  Result<std::optional<Block>> next_below(LogAddress limit);
  uint64_t bytes_read() const { return chunks_->bytes_read(); }

 private:
  explicit SnapshotReader(std::unique_ptr<ChunkReader> chunks) : chunks_(std::move(chunks)) {}
  std::unique_ptr<ChunkReader> chunks_;
  std::optional<ChunkReader::Chunk> chunk_;
  size_t block_ = 0;
  LogAddress last_ = 0;
  bool ended_ = false;
};

}  // namespace tailrace::kv
