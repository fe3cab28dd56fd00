#pragma once
// What became of the log's transactions: which of their events were appended, with which versions,
// and which became unreadable by them. Only applying finds that out, and whoever takes events from
// the log needs it for as long as they are nowhere else (history/). It follows from the log alone,
// so it is the same on every node, and yet no part of the state: no digest has it, and no copy.
//
// A directory of files, each a row of blocks. A file's name is the log address where its first
// block begins, in 20 digits, and ".outcomes". A new one begins with each kFileBytes of log.
//
//    0  u32  magic "TRTO"
//    4  u32  bytes of the payload
//    8  u64  from    the block has what became of the records in [from, to)
//   16  u64  to
//   24  u64  XXH3-64 of the bytes 0 to 24
//   32  u64  XXH3-64 of the payload
//   40  the payload: chunks, each a varint with its length, and entries (outcome_recorder.h)
//
// The order, each step over before the next:
//
//   a stretch is applied                    its outcomes are in memory
//   flush() for a checkpoint                a block with them is written and synced
//   the checkpoint is published             statemachine/checkpointer.h
//   history is complete up to an address    release() removes files that lie below
//
// A crash loses what was not flushed, and that is applied again from the checkpoint. The state may
// then be older than the last block: open() cuts off the blocks that begin there or later, and of
// the one before, what lies behind the next block's begin counts no more. A block at a file's end
// that is not whole was being written: no checkpoint needs it. Files that do not reach the state
// are damage, and refused by name. Where a copy of another node's state is installed the directory
// goes: history then begins with that.
//
// Room is made before a block is written, so that a full disk is found while nothing has changed: a
// checkpoint that cannot write it is not published, and tried again. Any other failure is final.

#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "core/address.h"
#include "core/mutex.h"
#include "core/result.h"
#include "storage/file_system.h"

namespace tailrace::statemachine {

/// Of a stretch of the log.
struct StretchOutcomes {
  struct Appended {
    uint64_t dense_id = 0;
    uint64_t first = 0;
    uint32_t ordinal = 0, events = 0;  // of the record's events, from that one on
  };
  struct Record {
    Address address;
    size_t first_append = 0, appends = 0;
  };
  /// Below that version no event of a stream is readable at the stretch's end.
  struct Floor {
    uint64_t version = 0;
    Address record;       // that has set it: the last one of the stretch that did
    uint32_t effect = 0;  // of the record; those of `then` come first
  };
  std::vector<Record> records;  // that have done something to a stream, ascending
  std::vector<Appended> appends;
  /// By dense id. Of streams whose floor moved within the stretch.
  std::unordered_map<uint64_t, Floor> floors;
  /// Where records of the stretch have asked for a stretch to end; ascending.
  std::vector<Address> ends;
};

class OutcomeLog {
 public:
  static constexpr uint64_t kFileBytes = 64u << 20;  // of the log

  OutcomeLog(storage::FileSystem& file_system, storage::Path directory)
      : file_system_(file_system), directory_(std::move(directory)) {}

  /// Applying goes on at `from`. `none_before`: no transaction before it did anything to a stream,
  /// so nothing is missing there. Once, before all else. kCorruption, naming the file and what to
  /// do.
  Result<> open(Address from, bool none_before);

  /// All up to `to` is applied; `entries` are those of the records since the last call, and there
  /// may be none. The applier's thread, before anyone learns that this is applied.
  void applied(Address to, ByteSpan entries);
  /// Makes durable all that applied() was told. kResourceExhausted: nothing has changed, and it may
  /// succeed later. After any other error every call fails.
  Result<> flush();

  /// From here on the outcomes of all records are known; 0: from the log's very beginning.
  Address known_from() const;
  /// Of a stretch that lies below a published checkpoint. kNotFound: not all of it is known.
  /// kCorruption, naming the file.
  Result<StretchOutcomes> read(AddressRange range) const;
  /// Nobody asks for outcomes below any more: removes files. An error leaves them there.
  Result<> release(Address below);

  uint64_t bytes_on_disk() const;

 private:
  struct Block {
    Address file;  // its name
    uint64_t offset = 0;
    uint32_t payload_bytes = 0;
    AddressRange range;
  };
  struct Pending {
    AddressRange range;
    std::vector<std::byte> payload;
  };

  storage::Path path_of(Address file) const;
  Result<> load_blocks();
  Result<> load_file(Address name);
  Result<> cut(Address from);
  Result<> write(const Pending& pending);
  Result<> read_block(const Block& block, AddressRange range, StretchOutcomes& into) const;

  storage::FileSystem& file_system_;
  const storage::Path directory_;

  // Of flush(), which checkpoints call one after the other.
  std::unique_ptr<storage::File> file_;
  Address file_name_;
  uint64_t file_end_ = 0;
  std::optional<Error> failure_;
  std::optional<Error> doubt_;  // of open(): what is not whole may only be the last block

  mutable Mutex mutex_;
  Pending pending_ TAILRACE_GUARDED_BY(mutex_);
  std::vector<Block> blocks_ TAILRACE_GUARDED_BY(mutex_);  // durable, ascending
  Address known_from_ TAILRACE_GUARDED_BY(mutex_);
};

}  // namespace tailrace::statemachine
