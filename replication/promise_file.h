#pragma once
// The promise on disk: DIRECTORY/PROMISE, replaced atomically. docs/formats/promise.md.

#include <string>
#include <vector>

#include "core/bytes.h"
#include "core/result.h"
#include "replication/protocol/events.h"
#include "storage/file_system.h"

namespace tailrace::replication {

/// One thread at a time.
class PromiseFile {
 public:
  PromiseFile(storage::FileSystem& file_system, storage::Path directory, NodeId node,
              std::string cluster);

  /// Reads the file and changes nothing. kNotFound when it is absent, kFailedPrecondition when it
  /// belongs to another node or cluster, kCorruption when it does not check, kUnsupported when it
  /// is of a newer version.
  Result<Promise> read() const;
  /// As read(), but when the file is absent, creates it with epoch 0 and `new_incarnation`, and
  /// counts that as its first start. Other starts are for the caller to count, and to write.
  Result<Promise> open(uint64_t new_incarnation);
  /// Keeps room for the promises to come (storage/atomic_file.h). A disk that has none gets a
  /// warning, and is to be asked again; asking costs nothing while the room is there.
  Result<> keep_room();
  /// Durable when it returns; also on a disk that is full, where room was kept. A promise that
  /// counts no starts is written as version 2, which leaves out what version 3 has beyond it.
  Result<> write(const Promise& promise);

 private:
  storage::FileSystem& file_system_;
  const storage::Path directory_, path_;
  const NodeId node_;
  const std::string cluster_;
  enum class Room : uint8_t { kUnknown, kKept, kMissing };
  Room room_ = Room::kUnknown;  // missing: and that was said
};

}  // namespace tailrace::replication
