#pragma once
// Reading an event file. Opening reads its head, its foot and the directory of blocks: 24 bytes for
// each 64 KiB of events. All else is read when it is needed, and checked then: what does not check
// is kCorruption, naming file and byte, and is never served.

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "core/cluster_identity.h"
#include "core/result.h"
#include "history/block_cache.h"
#include "history/format/event_entry.h"
#include "storage/file_system.h"

namespace tailrace::history {

/// What head and foot say. Positions and times are those of the events: zeros if there are none.
struct EventFileSummary {
  EventFileInfo info;
  ClusterIdentity cluster;  // not known if it was not when the file was written
  Epoch epoch;              // of the last record before the range's end
  uint32_t events = 0, floors = 0;
  Address first_position, last_position;
  uint64_t least_time_ns = 0, greatest_time_ns = 0;
  uint64_t entry_bytes = 0;  // of the events, not compressed
};

class EventCursor;
class FloorCursor;
struct EntryBlock;
struct FileParts;
struct Leaf;
struct LeafDirectory;
struct LeafRow;

/// Any thread; cursors keep it alive.
class EventFile : public std::enable_shared_from_this<EventFile> {
 public:
  /// kNotFound; kUnsupported for a newer format; kCorruption for what is not such a file, or does
  /// not end as one (it was torn). `file_system` and `cache` outlive the file.
  static Result<std::shared_ptr<const EventFile>> open(storage::FileSystem& file_system,
                                                       const storage::Path& path,
                                                       BlockCache& cache);
  ~EventFile();
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;

  const storage::Path& path() const { return file_->path(); }
  const EventFileSummary& summary() const { return summary_; }

  /// Events from position `from` on; backwards, from it down.
  EventCursor events(Address from, Order order) const;
  /// Those of them that are of a stream, a category, a type or a tag. A name that the file does not
  /// have has no events.
  EventCursor events_of(IndexKind kind, std::string_view name, Address from, Order order) const;
  /// Those of a stream from version `from` on; backwards, from it down.
  EventCursor events_of_stream(std::string_view stream, uint64_t from, Order order) const;

  /// The floors that the range has set: for each stream that lost events in it, below which version
  /// none is readable at its end.
  FloorCursor floors() const;

  /// Reads all of it: each checksum, the digest, and whether the index is that of the events. So
  /// whatever it says is what was written, or from the start a lie about the log. Takes memory for
  /// the index (kMostIndexBytes); does not use the cache.
  Result<> verify() const;

 private:
  friend class EventCursor;
  friend class FloorCursor;
  friend class PostingWalk;
  friend class StreamWalk;
  friend class FileCheck;

  EventFile(std::unique_ptr<storage::File> file, std::unique_ptr<const FileParts> parts,
            BlockCache& cache);

  /// Those that read go past the cache.
  Result<std::shared_ptr<const EntryBlock>> read_entries(size_t block) const;
  Result<std::shared_ptr<const EntryBlock>> entries(size_t block) const;
  Result<std::shared_ptr<const LeafDirectory>> read_leaf_directory() const;
  Result<std::shared_ptr<const LeafDirectory>> leaf_directory() const;
  Result<std::shared_ptr<const Leaf>> read_leaf(const LeafRow& row) const;
  Result<std::shared_ptr<const Leaf>> leaf(const LeafRow& row) const;
  /// The block with that entry, which is below summary().events.
  size_t block_of(uint32_t entry) const;
  /// The number of the first event at or above the position; summary().events if there is none.
  Result<uint32_t> entry_at(Address position) const;

  const std::unique_ptr<storage::File> file_;
  const std::unique_ptr<const FileParts> parts_;
  BlockCache& cache_;
  const uint64_t number_;  // in the cache
  const EventFileSummary summary_;
};

}  // namespace tailrace::history
