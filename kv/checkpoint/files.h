#pragma once
// Checkpoints on disk (docs/formats/fasterkv.md has the fields).
//
//   DIRECTORY/checkpoints/<token, 20 digits>/index      an image of the index, in chunks
//   DIRECTORY/checkpoints/<token, 20 digits>/snapshot   blocks of the log that were in memory only
//   DIRECTORY/checkpoints/<token, 20 digits>/MANIFEST   an atomic file: what the checkpoint
//   consists
//                                                       of, files of earlier checkpoints among it
//
// Order: directory, index, snapshot, their fsync, the log's, MANIFEST by atomic replacement. A
// crash before the last leaves a directory without a MANIFEST: never a checkpoint, removed at the
// next publication. Afterwards nothing in the directory is written again.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "core/result.h"
#include "kv/checkpoint/chunk_file.h"
#include "kv/engine/visibility.h"
#include "kv/types/checkpoint.h"
#include "kv/types/options.h"
#include "storage/file_system.h"

namespace tailrace::kv {

/// An image of the index. Entries are as they were at some moment after the tail was at `from`:
/// recovery sets those of all records from there on.
struct IndexImage {
  ChunkFile file;
  LogAddress from = 0;
  uint64_t buckets = 0;
  uint64_t overflow_buckets = 0;
  bool operator==(const IndexImage&) const = default;
};

/// What MANIFEST says.
struct Manifest {
  /// Of the format. 1: pairs, see legacy_checkpoint.h; `pairs` is set, and what is about the log is
  /// not.
  uint32_t format = 2;
  std::string owner;
  CheckpointInfo info;
  uint64_t page_bytes = 0;
  uint64_t segment_bytes = 0;
  /// The log's files have it up to here; from here to info.end the snapshots do.
  LogAddress flushed = 0;
  LogAddress boundary = 0;       // visibility.h
  uint64_t index_buckets = 0;    // of the table at the end: records before it were chained by it
  uint32_t index_tag_shift = 0;  // where the tags begin in the hash (hash_index.h)
  uint64_t live_bytes = 0;
  std::optional<IndexImage> index;   // none: recovery reads the log from its beginning
  std::vector<ChunkFile> snapshots;  // oldest first; a later one's blocks take precedence
  std::vector<UndoneRange> undone;   // by earlier recoveries
  std::optional<ChunkFile> pairs;

  uint64_t token() const { return info.token; }
  /// Other checkpoints whose files this one needs.
  std::vector<uint64_t> needed_tokens() const;
};

/// Of its directory below checkpoints/.
std::string token_directory_name(uint64_t token);

class CheckpointDirectory {
 public:
  CheckpointDirectory(storage::FileSystem& file_system, storage::Path store_directory)
      : file_system_(file_system), root_(std::move(store_directory) / "checkpoints") {}

  storage::Path path_of(uint64_t token) const;
  storage::Path index_path(uint64_t token) const { return path_of(token) / "index"; }
  storage::Path snapshot_path(uint64_t token) const { return path_of(token) / "snapshot"; }
  storage::Path manifest_path(uint64_t token) const { return path_of(token) / "MANIFEST"; }

  /// Tokens of all directories there, published or not, ascending; empty when there is none yet.
  Result<std::vector<uint64_t>> tokens() const;
  /// kNotFound: never published. kCorruption: damaged, or what cannot be. kUnsupported: of a newer
  /// version.
  Result<Manifest> manifest(uint64_t token) const;
  Result<> publish(const Manifest& manifest);
  Result<> create(uint64_t token);
  Result<> remove(uint64_t token) { return remove(token, false); }

  // The spare: the file of a removed snapshot, over which the next one is written. Blocks that were
  // written before take a quarter less time than new ones, and giving back so many takes time, too.

  storage::Path spare_path() const { return root_.parent_path() / "snapshot.spare"; }
  /// remove(), but its snapshot becomes the spare if there is none.
  Result<> remove_to_spare(uint64_t token) { return remove(token, true); }
  /// The spare, if there is one, becomes the checkpoint's snapshot, whatever is in it. It has no
  /// second name any more, even after a crash.
  Result<> take_spare(uint64_t token);
  Result<> drop_spare();

  /// Renames MANIFEST to MANIFEST.retired: it is no checkpoint any more, only its files are needed.
  Result<> retire(uint64_t token) { return set_aside(token, ".retired"); }
  /// Renames MANIFEST to MANIFEST.damaged: the log from where an older checkpoint ends is about to
  /// be written again.
  Result<> set_aside_damaged(uint64_t token) { return set_aside(token, ".damaged"); }
  storage::Path damaged_manifest_path(uint64_t token) const {
    return path_of(token) / "MANIFEST.damaged";
  }
  bool is_set_aside(uint64_t token) const;

  storage::FileSystem& file_system() const { return file_system_; }

 private:
  Result<> set_aside(uint64_t token, std::string_view suffix);
  Result<> remove(uint64_t token, bool to_spare);
  Result<bool> has_spare() const { return file_system_.exists(spare_path()); }

  storage::FileSystem& file_system_;
  const storage::Path root_;
};

/// What cannot be, although the checksum matches, as kCorruption. `path` is the manifest's.
Result<> check_manifest(const storage::Path& path, const Manifest& manifest);

}  // namespace tailrace::kv
