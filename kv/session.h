#pragma once
// A session: one writer's handle on the store. One thread at a time.
//
// Serials ascend (equal is allowed: one caller's operation may need several writes, and they are
// atomic with respect to a checkpoint's point).

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>

#include "core/bytes.h"
#include "core/result.h"
#include "kv/types/log_address.h"
#include "kv/types/operation.h"

namespace tailrace::kv {

class Engine;
class StoreImpl;
struct SessionCore;  // session_impl.h

struct SessionOptions {
  /// Where compaction wins no room at the disk budget the session's writes go on beyond it, as far
  /// as the disk has space: for an embedder that has decided already, and must not fail any more.
  bool beyond_disk_budget = false;
  /// With beyond_disk_budget: a write that finds the disk full waits for room, as long as this says
  /// so: it is asked ten times a second. Null: such a write fails.
  std::function<bool()> waits_for_disk = nullptr;
  /// Each serial is one write, done when the call returns: serials ascend strictly, and an idle
  /// session, or one whose thread has ended, holds up no checkpoint and no scan. Without it several
  /// writes may have one serial, and refresh() says that there are no more of it.
  bool one_write_a_serial = false;
};

class Session final {
 public:
  ~Session();
  SessionId id() const;
  /// The greatest serial that this session has done; of a session that a recovered checkpoint
  /// knows, the last one that is in it.
  Serial last_serial() const;

  /// kNotFound when absent. Waits for the disk where the record is there.
  Result<> read(ByteSpan key, std::string& value);
  /// In place where the mutable region and the record's room allow. Waits for a page where none is
  /// free; kResourceExhausted at the disk budget (nothing changed), kInvalidArgument above
  /// max_record_bytes, kClosed or the error itself after a failed write of the store.
  Result<> upsert(ByteSpan key, ByteSpan value, Serial serial);
  /// False when the key was absent.
  Result<bool> erase(ByteSpan key, Serial serial);
  /// Never a lost update, wherever the record is. What `modify` decided.
  Result<Modification> rmw(ByteSpan key, Modify modify, Serial serial);
  /// False when the key is present; then its value is in *present (may be null).
  Result<bool> insert_if_absent(ByteSpan key, ByteSpan value, Serial serial,
                                std::string* present = nullptr);
  /// False when the present value is not `expected`; then it is in *present (may be null).
  Result<bool> compare_and_swap(ByteSpan key, ByteSpan expected, ByteSpan value, Serial serial,
                                std::string* present = nullptr);

  /// The operations in their order, each as if called alone; a failure ends the batch, and
  /// *done_count (may be null) says how many were done before it. Memory is prefetched across the
  /// batch and records on disk are read at the same time: batches of 16 to 64 are the fastest way.
  /// A read sees the writes before it in the batch.
  Result<> run(std::span<Operation> operations, size_t* done_count = nullptr);

  /// A read that does not wait: `done` is called at once, or by poll() or wait_pending() of this
  /// session on the thread that calls it. It must not call the session.
  using ReadDone = std::function<void(Result<bool> found, std::string value)>;
  void read_async(ByteSpan key, ReadDone done);
  /// Takes in what has come from the disk; returns how many reads were completed.
  size_t poll();
  Result<> wait_pending();
  size_t pending() const;

  /// Starts loading what an operation on `key` will need. Optional; run() does it by itself.
  void prefetch(ByteSpan key);
  /// The same for all of them, beyond the index: they have come in about one miss of the cache
  /// each, side by side. Groups of 16 to 64 do most.
  void prefetch(std::span<const ByteSpan> keys);
  /// Adopts a checkpoint's phase between operations; cheap. Says that all operations with serials
  /// <= `serial` are done, whether or not they wrote (the point of an idle session moves too).
  void refresh(Serial serial);

 private:
  friend class StoreImpl;
  explicit Session(std::unique_ptr<SessionCore> core);
  Result<> read_anywhere(ByteSpan key, std::string& value);
  Result<> upsert_anywhere(ByteSpan key, ByteSpan value, Serial serial);
  Result<Modification> rmw_anywhere(ByteSpan key, Modify modify, Serial serial);

  std::unique_ptr<SessionCore> core_;
};

}  // namespace tailrace::kv
