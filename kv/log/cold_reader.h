#pragma once
// Reads records of the part of the log that is only on disk. One thread at a time; several reads in
// flight. A read takes the blocks of the record (the first guess is one or two blocks; a longer
// record costs a second read), checks every block's checksum and hands out a copy of the record.
//
// Nothing is protected while a read is in flight: begin may pass the address meanwhile, and the
// segment's file may be removed. The read then ends with `gone`, and the caller starts again from
// the index.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "core/result.h"
#include "kv/log/hybrid_log.h"
#include "kv/log/segments.h"
#include "kv/log/walker.h"
#include "storage/aligned_buffer.h"
#include "storage/file_system.h"

namespace tailrace::kv {

class ColdReader {
 public:
  /// `depth`: reads in flight at a time; more are queued.
  static Result<std::unique_ptr<ColdReader>> create(storage::FileSystem& file_system,
                                                    HybridLog& log, size_t depth = 64);
  ~ColdReader();

  struct Completion {
    uint64_t token = 0;
    bool gone = false;         // the address is below begin by now
    Record* record = nullptr;  // valid until the next call of poll(); null when gone or failed
    LogAddress address = 0;
    std::optional<Error> error;  // kCorruption names file and offset; kIo
  };

  /// Starts reading the record at `address`, which is below head(). `token` is the caller's.
  void start(LogAddress address, uint64_t token);
  /// Replaces `completions` by those that are there; waits for one until `timeout` when there is
  /// none and one is in flight. The records handed out before are gone. An error is the queue's,
  /// not a read's.
  Result<> poll(std::vector<Completion>& completions, std::chrono::nanoseconds timeout);
  /// Started, and not handed out yet.
  size_t in_flight() const { return reading_ + waiting_.size() + ready_.size(); }
  /// Makes a poll() that waits return. Any thread.
  void wake();

 private:
  struct Request {
    LogAddress address = 0;
    uint64_t token = 0;
  };
  struct Slot {
    Request request;
    MutableByteSpan small;            // two blocks
    storage::AlignedBuffer long_one;  // for a record that needs more
    MutableByteSpan blocks;           // of one of the two: what is being read
    LogSegments::FilePointer file;
  };

  ColdReader(HybridLog& log) : log_(log) {}
  void issue();
  bool read(Slot& slot, uint64_t bytes);
  /// Nothing: a second read was started.
  std::optional<Completion> finish(Slot& slot, const Result<size_t>& bytes);
  Completion failed(const Slot& slot, Error error) const;
  static Completion gone(const Request& request) {
    return {request.token, true, nullptr, request.address, std::nullopt};
  }

  HybridLog& log_;
  storage::AlignedBuffer memory_;
  std::vector<Slot> slots_;
  std::vector<size_t> free_;
  std::vector<size_t> handed_out_;
  std::deque<Request> waiting_;    // for a slot
  std::vector<Completion> ready_;  // without a read
  size_t reading_ = 0;
  std::vector<uint32_t> sums_;
  std::vector<storage::Completion> arrived_;
  std::atomic<bool> woken_{false};
  // Last: its end waits for what is in flight.
  std::unique_ptr<storage::IoQueue> queue_;
};

}  // namespace tailrace::kv
