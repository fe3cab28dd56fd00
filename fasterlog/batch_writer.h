#pragma once
// Gathers the small records of one thread and enqueues them together.
//
// Every enqueue moves the log's tail, one word that all writing threads share, and leaves records
// side by side in memory, so that two threads write into the same cache line at each boundary. On
// two cores both together cost about as much as the record itself. A thread with a stream of small
// records pays that once for hundreds of them here. (C# FasterLog and Kafka's producer do the same
// with a block for each thread; the price is the same, too: a record has its place in the log, and
// is seen by readers, only after enqueue().)

#include <algorithm>
#include <cstddef>
#include <vector>

#include "fasterlog/log.h"

namespace tailrace::fasterlog {

/// One thread at a time; as many of them beside each other, and beside Log::enqueue(), as there
/// are threads. Between the records that one enqueue() writes no other writer's stand, and after a
/// crash all of them are there or none. What was added and not enqueued is nowhere but here: it is
/// lost with this object.
class BatchWriter {
 public:
  /// Enqueues by itself when `gathered_bytes` are exceeded: log bytes, headers included; at most
  /// what fits in a page (see Log::max_payload_bytes()).
  explicit BatchWriter(Log& log, size_t gathered_bytes = 16u << 10);
  // What is gathered points into the writer's own buffer, and would be enqueued by both.
  BatchWriter(const BatchWriter&) = delete;
  BatchWriter& operator=(const BatchWriter&) = delete;

  /// Copies the payload. When there is no room beside what was added before, enqueues that first,
  /// waiting for room in the log until the deadline. A record larger than `gathered_bytes` is
  /// enqueued at once, after the others. On an error, one of Log::enqueue()'s, this record is not
  /// taken, and those before it are still gathered, or enqueued if they were.
  Result<> add(RecordKind kind, ByteSpan payload, SteadyTime deadline = SteadyTime::max());

  /// Enqueues what was added. Where it stands: its end is what Log::wait_durable() wants. Empty at
  /// enqueued_end() when there is nothing. On an error all of it is still gathered.
  Result<AddressRange> enqueue(SteadyTime deadline = SteadyTime::max());

  /// The end of the last enqueue, its own ones in add() included; 0 before the first. Never beyond
  /// the log's tail, so that who waits for it is not left waiting for other records: when
  /// truncate_after() cut the log meanwhile, it says no more that what was enqueued is there.
  Address enqueued_end() const { return std::min(enqueued_end_, log_.tail()); }
  size_t gathered_records() const { return records_.size(); }

 private:
  Log& log_;
  const size_t most_log_bytes_;
  size_t log_bytes_ = 0;          // of what is gathered
  std::vector<std::byte> bytes_;  // payloads, one after the other; never grows
  std::vector<RecordView> records_;
  Address enqueued_end_;
};

}  // namespace tailrace::fasterlog
