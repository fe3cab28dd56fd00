#pragma once
// FasterLog: a durable commit log.
//
// Records are enqueued lock-free by any number of threads into a ring of memory pages; one flusher
// thread writes what has accumulated, ends it with a commit mark and makes it durable (group
// commit). What is durable can be read, tailed and shipped as raw bytes. docs/formats/fasterlog.md
// describes the bytes on disk.
//
//     begin <= durable <= flushing <= tail
//
//   tail      next byte to be reserved
//   flushing  end of the newest commit mark whose flush has begun
//   durable   end of the newest commit mark that is on this disk, fsynced, with all before it
//   begin     first byte still kept

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "core/address.h"
#include "core/bytes.h"
#include "core/clock.h"
#include "core/result.h"
#include "fasterlog/types/options.h"
#include "fasterlog/types/reader.h"
#include "fasterlog/types/records.h"
#include "observability/metrics.h"
#include "storage/file_system.h"

namespace tailrace::fasterlog {

class Log {
 public:
  /// Creates the log when the directory is absent or empty; else recovers it. Parses everything
  /// before it changes anything. kInUse, kUnsupported (newer format), kFailedPrecondition (another
  /// owner or page size), kCorruption (below the proven watermark: names address and file).
  static Result<std::unique_ptr<Log>> open(storage::FileSystem& file_system, LogOptions options,
                                           const Clock& clock = system_clock());
  virtual ~Log() = default;
  /// Makes an empty log that begins at `begin`; open() finds it so. It is for a copy of another
  /// log, and `begin` is the end of a commit mark there. `epochs` are the entries of that log's
  /// epoch_table() before `begin`; none when `begin` is the first address. `configurations` are its
  /// configuration records before `begin`; the last one is in force there. Durable when it returns.
  /// kFailedPrecondition when the directory holds a log.
  static Result<> create_at(storage::FileSystem& file_system, const LogOptions& options,
                            Address begin, std::vector<EpochStart> epochs,
                            ConfigurationTable configurations = {});

  // ---- Writing as the log's own writer (single node, leader). Any thread. --------------------
  /// From now on enqueue is allowed and records carry `epoch`. Not below the last record's epoch.
  virtual Result<> become_writer(Epoch epoch) = 0;
  /// From now on only append_raw is allowed. Waits until what was enqueued is flushed.
  virtual Result<> become_copy() = 0;

  /// Enqueued, not durable. kWouldBlock when the buffer is full; kResourceExhausted when the disk
  /// nearly is; kInvalidArgument above max_payload_bytes() (or kMostConfigurationBytes) or for a
  /// kind that is not the embedder's; after a failed flush that failure.
  virtual Result<AddressRange> try_enqueue(RecordKind kind, ByteSpan payload) = 0;
  /// The payload is the parts one after the other.
  virtual Result<AddressRange> try_enqueue(RecordKind kind, std::span<const ByteSpan> parts) = 0;
  /// Neighbours in the log, and atomic: after a crash all are there or none. All of them fit in one
  /// page. `addresses`, when given, receives each record's address.
  virtual Result<AddressRange> try_enqueue_batch(std::span<const RecordView> records,
                                                 std::vector<Address>* addresses = nullptr) = 0;
  /// As try_enqueue_batch(), but only while `epoch` is the one that the log is written in: that is
  /// looked at in the same step as the reservation. kFailedPrecondition in any other epoch or role,
  /// and nothing is reserved. For whoever has checked something that holds in that epoch alone.
  virtual Result<AddressRange> try_enqueue_in(Epoch epoch, std::span<const RecordView> records) = 0;
  /// As the try forms, but wait for room until the deadline (kTimedOut).
  virtual Result<AddressRange> enqueue(RecordKind kind, ByteSpan payload,
                                       SteadyTime deadline = SteadyTime::max()) = 0;
  virtual Result<AddressRange> enqueue(RecordKind kind, std::span<const ByteSpan> parts,
                                       SteadyTime deadline = SteadyTime::max()) = 0;
  virtual Result<AddressRange> enqueue_batch(std::span<const RecordView> records,
                                             SteadyTime deadline = SteadyTime::max(),
                                             std::vector<Address>* addresses = nullptr) = 0;
  virtual size_t max_payload_bytes() const = 0;

  // ---- Writing as a copy (follower). One thread. ----------------------------------------------
  /// `bytes` are whole batches, ending in a commit mark, that stand at `at` on the sender; `at` is
  /// this log's tail. Each record is checked (checksum, address, epoch order) before any is taken:
  /// kCorruption names the address. kWouldBlock when the buffer has no room: call again later with
  /// the same bytes. kFailedPrecondition when `at` is not the tail.
  virtual Result<> try_append_raw(Address at, ByteSpan bytes) = 0;

  // ---- Durability. Any thread.
  // -------------------------------------------------------------------
  /// Begins to make everything enqueued so far durable, without waiting; returns the address to
  /// wait for. Needed with CommitPolicy::on_request() only.
  virtual Address request_commit() = 0;
  /// Makes everything below `address` durable, whatever the policy ("strong" commit). If part of it
  /// is not enqueued yet, the flush begins once all of it is. Returns when durable() >= address, or
  /// fails: kTimedOut, kCancelled, or the flush failure.
  virtual Result<> wait_durable(Address address, SteadyTime deadline = SteadyTime::max(),
                                std::stop_token stop = {}) = 0;
  /// For callers that wait by a listener (rpc/awaitables/durable_wait.h). While the handle lives, a
  /// flush begins as soon as the tail reaches `address` and `address` is not durable, whatever the
  /// policy; bytes before that begin no flush. After a truncate_after() it applies again. Drop the
  /// handle before the log.
  using DurableInterest = std::shared_ptr<void>;
  [[nodiscard]] virtual DurableInterest want_durable(Address address) = 0;
  /// Called on the thread that flushes (the log's own, the host's, or with a host that of whoever
  /// waits) after moves of durable, downwards too when truncate_after() cuts, and once after a
  /// failure, with the error; on close()'s thread once with kClosed (on the adding thread when the
  /// log is closed already). From now on until the returned handle is dropped, which waits for a
  /// call that runs. Must be short and call nothing of this log that waits.
  using DurableListener = fasterlog::DurableListener;
  using ListenerHandle = std::shared_ptr<void>;
  [[nodiscard]] virtual ListenerHandle add_durable_listener(DurableListener listener) = 0;
  /// The same, called also after flushes have begun, that is after moves of flushing().
  [[nodiscard]] virtual ListenerHandle add_flush_listener(DurableListener listener) = 0;
  /// The sticky failure of a write or fsync, if there was one.
  virtual std::optional<Error> failure() const = 0;
  /// While the disk has no room for the next segment, and something was refused for that, or of a
  /// writer the largest record would be: with which words. (What room there is may last for long.)
  /// Ends by itself when there is room.
  virtual std::optional<Error> shortage() const = 0;

  /// From now on until the handle is dropped an event loop flushes, and not the log's own thread:
  /// whoever ships what is flushed, and counts it when it is durable, changes no thread in between.
  /// `wake` asks for a step; it is called on any thread, must be short, and calls nothing of this
  /// log. kUnsupported where the system has nothing for a loop to wait at (no io_uring). Whoever
  /// waits for durability without a deadline, the loop's own thread too, flushes for itself. Drop
  /// the handle before the log, and not beside a step.
  class FlushSteps {
   public:
    virtual ~FlushSteps() = default;
    /// Readable when a flush has come further.
    virtual int descriptor() const = 0;
    /// Does what there is to do, never waits for the disk, and tells the listeners. Again when the
    /// descriptor is readable, when `wake` was called, or when the time that is returned has
    /// passed.
    virtual std::chrono::nanoseconds step() = 0;
  };
  virtual Result<std::unique_ptr<FlushSteps>> host_flushes(std::function<void()> wake) = 0;

  virtual Address begin() const = 0;
  virtual Address durable() const = 0;
  /// What lies below may be read as batches, though it is not durable and perhaps never will be
  /// (read_raw_flushing(), ScanOptions::with_unflushed); its bytes do not change any more unless
  /// truncate_after() cuts them.
  virtual Address flushing() const = 0;
  virtual Address tail() const = 0;
  virtual Epoch last_epoch() const = 0;
  /// Each epoch's first address, ascending; reaches back to the epoch of the record that ends at
  /// `begin`, so that two logs can be compared there.
  virtual std::vector<EpochStart> epoch_table() const = 0;
  /// The epoch of the record that ends at `end`, or in which `end` lies; 0 when that is not known,
  /// below begin. Without a copy of the table. It lasts for what is committed.
  virtual Epoch epoch_before(Address end) const = 0;
  /// Every configuration record from begin on, ascending, what is not durable yet included; and
  /// before them the one that was in force at begin. Never null, never changed: a change makes
  /// another table. Any thread.
  virtual std::shared_ptr<const ConfigurationTable> configurations() const = 0;
  virtual const RecoveryReport& recovery() const = 0;

  // ---- Reading what is durable. Any thread.
  // -------------------------------------------------------
  /// The record at `address`, its payload copied into `buffer`. kTruncated below begin, kOutOfRange
  /// at or above durable, kInvalidArgument when no record begins there.
  virtual Result<Record> read(Address address, std::vector<std::byte>& buffer) = 0;
  /// Visits the record at each address, in the order given; ascending addresses share their reads.
  /// Ends at the first error, and once the visitor returns false. A record's payload lives until it
  /// returns.
  virtual Result<> read_batch(std::span<const Address> addresses,
                              const std::function<bool(const Record&)>& visit) = 0;
  using ScanOptions = fasterlog::ScanOptions;
  /// A forward scan from a record boundary (or begin); each scanner belongs to one thread.
  virtual std::unique_ptr<LogScanner> scan(Address from, ScanOptions options) = 0;
  std::unique_ptr<LogScanner> scan(Address from) { return scan(from, ScanOptions{}); }
  /// Raw bytes from `from` (the end of a commit mark, or begin): whole batches, as many as fit in
  /// `most_bytes`, at least one if any is durable (then it may be longer). Replaces `into`. Empty
  /// at durable. This is what a leader ships.
  virtual Result<> read_raw(Address from, size_t most_bytes, std::vector<std::byte>& into) = 0;
  /// The same up to flushing(): what a leader ships in parallel with its own flush. After a failed
  /// flush only what is durable.
  virtual Result<> read_raw_flushing(Address from, size_t most_bytes,
                                     std::vector<std::byte>& into) = 0;

  /// The greatest end of a commit mark (or begin) that is not above `address` <= durable.
  /// kTruncated below begin, kOutOfRange above durable.
  virtual Result<Address> mark_end_at(Address address) const = 0;

  // ---- Space -----------------------------------------------------------------------------------
  /// Drops what lies before `address`, which may be any address <= durable, and before no
  /// consumer's pin; lands on the greatest commit-mark end (or begin) that is not above, and
  /// returns that. Never backwards. Metadata is durable before whole segments are deleted. Any
  /// thread.
  virtual Result<Address> truncate_before(Address address) = 0;
  /// Drops what lies behind `address`, which may be any address from begin to tail; lands on the
  /// greatest commit-mark end (or begin) that is not above it, and returns that: tail and durable
  /// are then there. What was dropped can never be read again, after a crash at any moment either.
  /// The log's present role goes on; enqueues that come meanwhile are refused. Scanners beyond the
  /// cut get kOutOfRange, wait_durable() for an address beyond it waits for new bytes.
  virtual Result<Address> truncate_after(Address address) = 0;
  /// By how much truncate_before(limit) would let disk_bytes() fall now: consumers' pins hold it
  /// back, and the segments that it keeps as spares do not count. A limit above durable counts as
  /// durable. 0 as well when what truncate_before() has to look at cannot be read.
  virtual uint64_t reclaimable_bytes(Address limit) const = 0;
  /// And how many segments it would take from the log, to delete or to use again.
  virtual uint64_t reclaimable_segments(Address limit) const = 0;
  virtual uint64_t disk_bytes() const = 0;  // of segment files, spare ones included
  /// Deletes spare segments with bytes from before `address`, and from now on
  /// deletes such segments instead of keeping them as spares. What the log has no file for then is
  /// made anew, which is slower. Any thread.
  virtual Result<> discard_before(Address address) = 0;
  /// The first byte that a segment file has: begin() lies within its segment.
  virtual Address first_byte() const = 0;
  /// Where bytes from before begin()'s segment are still on the disk, or may be.
  virtual std::vector<OldBytes> old_bytes() const = 0;

  // ---- Consumers: named readers whose position outlives them. -----------------------------------
  /// Goes on at the stored position of `name` (1–255 bytes), or stores the wanted one first.
  /// kAlreadyExists while it is open. Close it before the log.
  virtual Result<std::unique_ptr<Consumer>> open_consumer(const std::string& name,
                                                          ConsumerOptions options) = 0;
  Result<std::unique_ptr<Consumer>> open_consumer(const std::string& name) {
    return open_consumer(name, ConsumerOptions{});
  }
  /// Durably. kNotFound, or kFailedPrecondition while it is open.
  virtual Result<> remove_consumer(const std::string& name) = 0;
  virtual std::vector<ConsumerStatus> consumers() const = 0;

  /// Flushes everything, makes it durable and proven (durable only, on a disk that is full), stops
  /// the flusher. Whoever waits gets kClosed, and further calls do.
  virtual Result<> close() = 0;

  /// kNo: somebody else tells tailrace_log_address_bytes, with more watermarks than the log has.
  enum class TellAddresses : uint8_t { kNo, kYes };
  virtual void register_metrics(observability::MetricRegistry& registry,
                                TellAddresses addresses = TellAddresses::kYes) = 0;
};

}  // namespace tailrace::fasterlog
