#pragma once
// Writing an event file:
//
//   1. all of it into <from>.<revision>.tmp, past the page cache
//   2. fdatasync
//   3. rename to the name that says what is in it (format/file_name.h)
//   4. sync of the directory: from here on it is durable
//
// A crash before step 3 leaves no file, and what there is goes when the catalogue is opened; one
// behind it leaves the file or nothing. A failed write is final: the writer fails, nothing is
// renamed, and another one begins from scratch.

#include <cstdint>
#include <memory>

#include "core/address.h"
#include "core/result.h"
#include "history/format/event_entry.h"
#include "history/types/options.h"
#include "storage/file_system.h"

namespace tailrace::history {

/// One thread. Memory: a piece, a block, the index and the floors (kMostIndexBytes together, and
/// what one record may add), 24 bytes for each block.
class EventFileWriter {
 public:
  /// For a file in `directory`, which is there, whose range begins at `from`. kResourceExhausted:
  /// the disk is full.
  static Result<std::unique_ptr<EventFileWriter>> create(storage::FileSystem& file_system,
                                                         const storage::Path& directory,
                                                         Address from, EventFileOptions options);
  /// Removes what was written, unless finish() has succeeded.
  ~EventFileWriter();
  EventFileWriter(const EventFileWriter&) = delete;
  EventFileWriter& operator=(const EventFileWriter&) = delete;

  /// The next event; positions ascend, and so do the versions of a stream. kInvalidArgument, naming
  /// the event: it cannot stand in the file. Whatever the error, the writer is of no more use.
  Result<> add(const EventEntry& entry);
  /// A floor that the range sets; in any order, and of several of one stream the greatest counts.
  /// Errors as add().
  Result<> add_floor(const StreamFloor& floor);
  /// No more records should come: finish() behind this one. The same on all nodes, as it rests on
  /// what was added alone.
  bool is_full() const;
  uint32_t events() const;

  /// The range ends before `to`, which is above all that was added; `epoch` is that of the last
  /// record before it. The file is durable when it returns. A file of that name is replaced: it
  /// held the same.
  Result<EventFileInfo> finish(Address to, Epoch epoch);

 private:
  class Impl;
  explicit EventFileWriter(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace tailrace::history
