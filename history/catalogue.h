#pragma once
// The event files of a node: one directory, whose names say all that is known here. Opening reads
// that list and no file, so ten thousand files cost what one does.
//
//   *.events    a file (format/file_name.h): whole, for it got its name when it was
//   *.tmp       what was being written or fetched: removed by open()
//   *.damaged   a file that was dropped: kept until there is another one of its range
//   EMPTY       an atomic file: the stretch of log behind the last file that has no events
//
// Ranges do not overlap. Between them there may be gaps: of files that are to be fetched.

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "core/mutex.h"
#include "core/result.h"
#include "history/event_file.h"
#include "history/format/event_entry.h"
#include "storage/file_system.h"

namespace tailrace::history {

/// Any thread. What changes it waits for what else does.
class Catalogue {
 public:
  /// Makes the directory if it is absent, removes leftovers, and makes durable the names that are
  /// there. Of two files with one range the one of the lower revision is removed. kCorruption,
  /// naming both: two files overlap in another way, or have the same range and revision;
  /// kCorruption for a name that ends in ".events" and is not such a name.
  static Result<std::unique_ptr<Catalogue>> open(storage::FileSystem& file_system,
                                                 storage::Path directory);

  const storage::Path& directory() const { return directory_; }
  /// By range.
  std::vector<EventFileInfo> files() const;
  /// The file with events of that log address; nothing: there is none.
  std::optional<EventFileInfo> find(Address address) const;
  /// The first file whose range ends behind the address.
  std::optional<EventFileInfo> first_behind(Address address) const;
  /// The end of the last file, or of the empty stretch behind it; 0 when there is neither.
  Address end() const;
  /// Where the next file is to begin: behind the last one, so that it takes in the empty stretch.
  Address next_begin() const;
  /// The stretches of `range` that neither a file nor the empty stretch covers, ascending.
  std::vector<AddressRange> gaps(AddressRange range) const;
  /// Of all files on disk; dropped ones do not count.
  uint64_t total_bytes() const;

  /// Opens one of files(). kNotFound when it is not there any more; kCorruption also when it is not
  /// what its name says.
  Result<std::shared_ptr<const EventFile>> open_file(const EventFileInfo& info,
                                                     BlockCache& cache) const;

  /// Bytes of one of files() as they are on disk, fewer at its end. kNotFound when it is not there.
  Result<std::vector<std::byte>> read_piece(const EventFileInfo& info, uint64_t offset,
                                            size_t bytes) const;

  /// A file that EventFileWriter has finished. One of the same range and a lower revision is
  /// removed, and a dropped one of its range. kFailedPrecondition when it overlaps others.
  Result<> add(const EventFileInfo& info);
  /// Removes what add() has replaced, if it could not; no name of a replaced file is on the disk
  /// when it returns.
  Result<> remove_replaced();
  /// A file that came from elsewhere and stands in the directory as `temporary`, whose name ends in
  /// ".tmp": reads and verifies all of it, makes it durable under its own name and adds it. After
  /// kCorruption it is removed.
  Result<EventFileInfo> adopt(const storage::Path& temporary, BlockCache& cache);
  /// A file that was found damaged, or is not there: it is one no more, and kept aside. Durable
  /// when it returns. kNotFound: it was one no more before, or another revision has its place.
  Result<> drop(const EventFileInfo& info);
  /// The log has no events in this stretch behind end(), so no file is written. Durable when it
  /// returns. One that does not begin at end() leaves a gap, and takes the place of one before it.
  Result<> note_empty(Address from, Address to);

 private:
  using Files = std::map<Address, EventFileInfo>;  // by begin

  Catalogue(storage::FileSystem& file_system, storage::Path directory)
      : file_system_(file_system), directory_(std::move(directory)) {}

  Result<> load();
  Result<> add_now(const EventFileInfo& info) TAILRACE_REQUIRES(changes_);
  Result<> take(const EventFileInfo& info) TAILRACE_REQUIRES(mutex_);
  Result<> read_empty();
  Result<> remove_damaged(const EventFileInfo& info);
  std::optional<EventFileInfo> overlapping(const EventFileInfo& info) const
      TAILRACE_REQUIRES(mutex_);
  Address end_of_files() const TAILRACE_REQUIRES(mutex_);
  storage::Path path_of(const EventFileInfo& info) const;

  storage::FileSystem& file_system_;
  const storage::Path directory_;
  Mutex changes_;  // taken before mutex_
  mutable Mutex mutex_;
  Files files_ TAILRACE_GUARDED_BY(mutex_);
  AddressRange empty_ TAILRACE_GUARDED_BY(mutex_);
  uint64_t total_bytes_ TAILRACE_GUARDED_BY(mutex_) = 0;
};

}  // namespace tailrace::history
