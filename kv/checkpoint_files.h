#pragma once
// Checkpoints on disk (docs/formats/fasterkv.md has the fields).
//
//   DIRECTORY/checkpoints/<token, 20 digits>/records     the live pairs in checksummed chunks
//   DIRECTORY/checkpoints/<token, 20 digits>/MANIFEST    an atomic file: what is in `records`, and
//   why
//
// Order: directory, records, fsync of records, MANIFEST by atomic replacement. A crash before the
// last leaves a directory without a MANIFEST: never a checkpoint, removed at the next publication.
// Afterwards nothing in the directory is written again.
//
// The snapshot holds pairs rather than pages: it has no garbage, does not depend on where records
// lay in memory, and the index is rebuilt from it, so there is no second file that could disagree.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "core/result.h"
#include "kv/store.h"
#include "storage/aligned_buffer.h"
#include "storage/file_system.h"

namespace tailrace::kv {

/// What MANIFEST says.
struct Manifest {
  std::string owner;
  CheckpointInfo info;  // bytes: of `records`; live_records: pairs in it
  uint64_t chunks = 0;
  uint32_t chunks_crc32c = 0;  // of all chunks' own checksums, in order
};

class CheckpointDirectory {
 public:
  CheckpointDirectory(storage::FileSystem& file_system, storage::Path store_directory)
      : file_system_(file_system), root_(std::move(store_directory) / "checkpoints") {}

  storage::Path path_of(uint64_t token) const;
  /// Tokens of all directories there, published or not, ascending; empty when there is none yet.
  Result<std::vector<uint64_t>> tokens() const;
  /// kNotFound: never published. kCorruption: damaged. kUnsupported: of a newer version.
  Result<Manifest> manifest(uint64_t token) const;
  Result<> publish(const Manifest& manifest);
  Result<> create(uint64_t token);
  Result<> remove(uint64_t token);

  storage::FileSystem& file_system() const { return file_system_; }

 private:
  storage::FileSystem& file_system_;
  const storage::Path root_;
};

/// Writes `records`. One thread.
class SnapshotWriter {
 public:
  static Result<std::unique_ptr<SnapshotWriter>> create(CheckpointDirectory& directory,
                                                        uint64_t token);
  /// Buffers the pair. Never fails: what went wrong is told by flush_if_full() and finish().
  void add(ByteSpan key, ByteSpan value);
  /// Writes the chunk when it has grown large.
  Result<> flush_if_full();
  /// Writes the rest, syncs, and fills in bytes, live_records, chunks and checksum.
  Result<> finish(Manifest& manifest);
  uint64_t bytes_written() const { return offset_; }

 private:
  SnapshotWriter(std::unique_ptr<storage::File> file, uint64_t token);
  Result<> write_chunk();

  const std::unique_ptr<storage::File> file_;
  const uint64_t token_;
  std::vector<std::byte> chunk_;  // header and pairs so far
  storage::AlignedBuffer block_;  // the chunk as it is written
  uint32_t chunk_records_ = 0;
  uint64_t offset_ = 0;
  uint64_t records_ = 0;
  uint64_t chunks_ = 0;
  uint32_t chunks_crc32c_ = 0;
};

/// Reads all pairs of a checkpoint, checking everything the manifest says. kCorruption names file
/// and offset; what was visited before must then be thrown away. An error of `visit` ends the
/// reading.
Result<> read_snapshot(CheckpointDirectory& directory, const Manifest& manifest,
                       const std::function<Result<>(ByteSpan key, ByteSpan value)>& visit);

}  // namespace tailrace::kv
