#pragma once
// Copying a checkpoint to another place while the store goes on working: for a node that is so far
// behind that it wants all of a peer's store.
//
//   source                                     receiver
//   Store::open_checkpoint_source()            an empty directory
//   files(), fingerprint()                ->   makes the files
//   read(), from any offset               ->   writes, and syncs files and directories
//                                              adopt_checkpoint_copy(), for another owner
//                                              check_checkpoint_copy()
//                                              Store::open(): the checkpoint's state
//
// docs/formats/fasterkv.md says what a copy is.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "kv/store.h"
#include "kv/types/copied_file.h"
#include "storage/file_system.h"

namespace tailrace::kv {

/// The bytes of a published checkpoint's copy. While it exists nothing of them is removed or
/// written over, however many checkpoints and compactions there are: they take disk space, also
/// from the store's budget (StoreOptions::disk_bytes), which is given back by the first checkpoint
/// after its end. Any thread, several at a time; only the end is one thread's, before the store's.
class CheckpointSource {
 public:
  virtual ~CheckpointSource() = default;
  CheckpointSource(const CheckpointSource&) = delete;
  CheckpointSource& operator=(const CheckpointSource&) = delete;

  virtual const CheckpointInfo& info() const = 0;

  using File = CopiedFile;
  /// Each once. The checkpoint's MANIFEST is the last: without it a directory is no checkpoint. All
  /// others are whole blocks of 4096 bytes.
  virtual const std::vector<File>& files() const = 0;
  /// Of all files together.
  virtual uint64_t bytes() const = 0;
  /// Of the files' names and sizes and of the MANIFEST's bytes. As long as it is the same for a
  /// token, so is every byte that read() gives, also after the store was closed and opened again: a
  /// copy may go on where it stopped. Another one: the directory became another store's, begin
  /// anew.
  virtual uint64_t fingerprint() const = 0;
  /// Fills `into` from `offset` of the files, one behind the other in the order of files(). Blocks;
  /// a mebibyte or a few at a time are fast, into memory that begins with a block of
  /// 4096 bytes, from a block's beginning, the fastest. kInvalidArgument beyond the end;
  /// kCorruption when a file is shorter than it was. What the disk gives is not checked here, the
  /// receiver does.
  virtual Result<> read(uint64_t offset, std::span<std::byte> into) const = 0;

 protected:
  CheckpointSource() = default;
};

/// Makes `options.owner` the owner of the copy in `options.directory`, which must be `from`'s or
/// already be that: Store::open refuses the checkpoints of another owner. Atomic and durable;
/// nothing but the MANIFEST is read or written. kFailedPrecondition: it is somebody else's, or more
/// than one checkpoint is there; kNotFound: none is; kCorruption.
Result<> adopt_checkpoint_copy(storage::FileSystem& file_system, const StoreOptions& options,
                               std::string_view from);

/// Whether `options.directory` holds a whole copy, and nothing else that Store::open would look at.
/// Reads all of it, compares every checksum and changes nothing: a bit that is not as it was at the
/// source is found, wherever it is. Takes a page of memory and some mebibytes for each of the
/// checkpoint's files. kCorruption, naming file and offset: damaged, missing, short or left over;
/// kFailedPrecondition: of other page or segment sizes or another owner than the options say, or
/// no copy; kNotFound: there is no checkpoint; kUnsupported: of another version. Before
/// Store::open, which adds to the files.
Result<CheckpointInfo> check_checkpoint_copy(storage::FileSystem& file_system,
                                             const StoreOptions& options);

}  // namespace tailrace::kv
