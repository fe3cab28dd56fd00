#pragma once
// The one thread that moves bytes from memory to disk and `durable` up.

#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "fasterlog/log_core.h"
#include "fasterlog/segment_maker.h"
#include "storage/aligned_buffer.h"

namespace tailrace::fasterlog {

/// Group commit: whatever was enqueued while the flushes before ran becomes the next batch. It is
/// ended by a commit mark, written with O_DIRECT, fsynced once its own writes have completed, and
/// counts as durable only after all batches before it.
class Flusher {
 public:
  /// The core's ring, durable and segments are at the recovered end.
  Flusher(LogCore& core, std::unique_ptr<storage::IoQueue> queue);
  ~Flusher();
  Flusher(const Flusher&) = delete;
  Flusher& operator=(const Flusher&) = delete;

  void start();
  /// Flushes what there is, writes the proven watermark and ends the thread.
  void stop();
  /// After the tail moved to `end`. Any thread; cheap when the flusher is awake or has not enough
  /// to do yet.
  void enqueued(Address end) {
    if (asleep_.load() && end.value >= wake_at_.load(std::memory_order_relaxed)) nudge();
  }
  /// There is work beside new bytes: room is wanted, or was made. Any thread.
  void nudge() {
    if (asleep_.load() && asleep_.exchange(false)) queue_->wake();
  }
  /// The buffer was full for somebody. Any thread.
  void want_room() {
    room_wanted_.store(true);
    nudge();
  }
  /// Flush up to `address`, whatever the policy says. Any thread.
  void request(Address address) {
    uint64_t requested = requested_.load(std::memory_order_relaxed);
    while (requested < address.value &&
           !requested_.compare_exchange_weak(requested, address.value)) {
    }
    nudge();
  }
  Address proven() const { return Address{proven_.load()}; }

  // ---- For truncate_after(), on its thread; nobody enqueues meanwhile.
  /// Flushes what there is and ends the thread; start() follows.
  void rest();
  /// While it rests: the ring, durable and the segments were set back to `to`.
  void reset_to(Address to);
  /// Any thread. The log takes no more writes; waiters get the error.
  void fail(Error error);

  /// Most flushes' writes and syncs at once.
  static size_t queue_depth(const LogOptions& options);

 private:
  struct Flush {
    enum class State { kFree, kWriting, kSyncing, kDone };
    State state = State::kFree;
    Address begin, end;
    size_t outstanding = 0;  // requests of this state
    std::vector<std::shared_ptr<storage::File>> files;
    storage::AlignedBuffer bounce;
    SteadyTime started;
  };

  void run();
  /// Why a flush should begin now; nothing when none should.
  std::optional<FlushReason> due(SteadyTime now) const;
  /// Notes since when bytes wait, and from which address on enqueued() is to wake this thread.
  void note_waiting(SteadyTime now);
  /// How long the thread may sleep before due() changes by time alone.
  std::chrono::nanoseconds time_until_due(SteadyTime now) const;
  bool unflushed() const;
  /// A flush could begin now, if there is something to flush.
  bool may_start() const;
  /// False when the mark finds no room yet.
  bool start_flush(FlushReason reason);
  void write_flush(Flush& flush, Address from, Address end);
  void submit_write(Flush& flush, Address from, ByteSpan bytes);
  void complete(const storage::Completion& completion);
  void advance();
  /// Evicts pages, asks for segments and raises the limits.
  void make_room();
  /// Where memory would end if all that can be evicted were.
  Address wanted_memory_end() const;
  void write_proven_if_due(SteadyTime now);
  Result<> write_proven(bool clean);
  void tell_listener(Address durable, const Error* failure);

  LogCore& core_;
  const uint64_t pressure_bytes_;
  std::unique_ptr<storage::IoQueue> queue_;
  SegmentMaker segment_maker_;
  std::thread thread_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> closing_{false};
  std::atomic<bool> asleep_{false};
  std::atomic<uint64_t> proven_;
  std::atomic<uint64_t> requested_{0};
  std::atomic<uint64_t> wake_at_{0};
  std::atomic<bool> room_wanted_{false};

  // The rest belongs to the flusher's thread.
  std::vector<Flush> flushes_;
  std::deque<size_t> order_;  // flushes not yet durable, oldest first
  Address flushed_;           // the end of the newest flush begun: always the end of a commit mark
  Address writable_end_;      // memory
  std::optional<SteadyTime> waiting_since_;  // of the oldest byte that is not in a flush
  SteadyTime proven_at_;
  SteadyTime last_work_;
};

}  // namespace tailrace::fasterlog
