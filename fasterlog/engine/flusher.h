#pragma once
// What moves bytes from memory to disk and `durable` up: a thread of its own, or in its place a
// waiter that finds it idle.

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <thread>
#include <vector>

#include "core/mutex.h"
#include "fasterlog/engine/log_core.h"
#include "fasterlog/engine/proven_writer.h"
#include "fasterlog/engine/segment_maker.h"
#include "storage/aligned_buffer.h"

namespace tailrace::fasterlog {

/// Group commit: whatever was enqueued while the flush before ran becomes the next batch; where
/// much waits, sooner (LogOptions::overlap_bytes). A batch is ended by a commit mark and written
/// with O_DIRECT. A small one is synced by the same request, a larger one once its own writes have
/// completed. It counts as durable only after all batches before it.
///
/// Whoever holds the baton flushes. The thread holds it while it has anything to do or in flight,
/// and lays it down to sleep; then a waiter may take it and flush for itself, which saves the two
/// wake-ups that a lone commit would cost (flusher_baton.cc). Or there is no thread: an event loop,
/// the host, takes the baton for a step at a time, none of which waits for the disk
/// (flusher_host.cc).
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

  // ---- Hosted (flusher_host.cc). host(), unhost(), stop(), rest(), start() follow each other.
  /// Ends the thread and leaves its work to step(). `wake` asks for a step; any thread calls it.
  /// kUnsupported where the I/O queue has no descriptor to wait at.
  Result<> host(std::function<void()> wake);
  /// The thread flushes again; `wake` is not called any more.
  void unhost();
  /// Does what there is to do now, and does not wait for the disk. The next step is due when the
  /// descriptor is readable, `wake` was called, or the time that is returned has passed.
  std::chrono::nanoseconds step();
  int descriptor() const { return queue_->descriptor(); }
  /// Of a waiter that may be the host's thread: flushes on the calling thread until `address`,
  /// which is requested, is durable, or is cut. False at once where there is no host.
  bool flush_until(Address address);

  /// After the tail moved to `end`. Any thread; cheap when the flusher is awake or has not enough
  /// to do yet.
  void enqueued(Address end) {
    const Sleep sleep = sleep_.load();
    if ((sleep == Sleep::kIdle || sleep == Sleep::kInQueue) &&
        end.value >= wake_at_.load(std::memory_order_relaxed))
      wake_for_bytes();
  }
  /// There is work beside new bytes: room is wanted, or was made. Any thread.
  void nudge() {
    if (sleep_.load() != Sleep::kAwake) wake();
  }
  /// The buffer was full for somebody. Any thread.
  void want_room() {
    room_wanted_.store(true);
    nudge();
  }
  /// Flush up to `address`, which is enqueued, whatever the policy says. Any thread.
  void request(Address address) {
    uint64_t requested = requested_.load(std::memory_order_relaxed);
    while (requested < address.value &&
           !requested_.compare_exchange_weak(requested, address.value)) {
    }
    nudge();
  }
  /// While it lives, a flush begins for whoever waits as soon as the tail has come to `address`,
  /// and not for what comes before. Any thread.
  class Awaited {
   public:
    Awaited(Flusher& flusher, Address address);
    ~Awaited();
    Awaited(const Awaited&) = delete;
    Awaited& operator=(const Awaited&) = delete;

   private:
    Flusher& flusher_;
    std::multiset<uint64_t>::iterator place_;
  };
  /// Flushes on the calling thread, if the flusher is idle and what waits is small. It blocks while
  /// the disk does. Any thread, outside the epoch.
  void flush_here();
  Address proven() const { return proven_writer_.proven(); }

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
  /// Up to here a flush is copied together and written in one piece.
  static constexpr uint64_t kSmallFlushBytes = 64u << 10;
  /// The longest sleep.
  static constexpr std::chrono::milliseconds kTick{500};
  /// While lone waiters flush one after the other, waking the thread for each one's bytes would
  /// cost what flushing them there saves. So it looks by itself so often; bytes that nobody waits
  /// for wait so long at most.
  static constexpr std::chrono::milliseconds kNap{1};
  /// So long after a flush for a lone waiter the thread naps and does not sleep.
  static constexpr std::chrono::milliseconds kLoneTime{20};

  /// What the thread does, for those who may have to wake it.
  enum class Sleep : uint8_t {
    kAwake,       // it looks for work again before it sleeps
    kInQueue,     // waits in the I/O queue, baton in hand
    kIdle,        // has laid the baton down
    kIdleNudged,  // the same, and was told of new bytes
    kNap,         // the same, for kNap at most, new bytes or not
  };

  struct Flush {
    enum class State { kFree, kWriting, kSyncing, kWritingSynced, kDone };
    State state = State::kFree;
    Address begin, end;
    size_t outstanding = 0;  // requests of this state
    std::vector<std::shared_ptr<storage::File>> files;
    storage::AlignedBuffer bounce;
    SteadyTime started;
  };

  void run();
  /// Begins whatever flushes are due; false when one would be and the mark finds no room yet.
  bool begin_due(SteadyTime now);
  /// Nothing is left to do, and nothing more shall come.
  bool is_over() const;
  bool idle() const { return order_.empty() && queue_->in_flight() == 0; }
  /// How long to sleep at most.
  std::chrono::nanoseconds time_to_sleep(SteadyTime now) const;
  /// Submits what was asked of the disk, waits for so long at most, and takes what has completed:
  /// how much that was.
  size_t reap(std::chrono::nanoseconds timeout);
  /// META says that all is durable, if the log is closing.
  void note_closed();

  // flusher_host.cc
  /// False, and it is not taken, while the flusher rests and the caller is not who lets it, and
  /// where the host has gone meanwhile.
  bool take_baton(bool to_rest);
  void lay_baton_down();
  void wake_host();
  /// With the baton, on whatever thread; it waits for the disk.
  void flush_here_until(const std::function<bool()>& over);

  // flusher_baton.cc
  void wake();
  void wake_for_bytes();
  bool try_take_baton();
  /// Of a waiter that flushed; the thread is woken if anything is left to do.
  void give_baton_back();
  /// A lone waiter was served lately, so the next bytes are probably from the same thread. Whether
  /// that thread flushed for itself does not matter: its enqueue often wakes the flusher, which
  /// then takes the baton first and would be woken for the next bytes again.
  bool nap_is_due(SteadyTime now) const;
  /// The thread lays the baton down until it is woken or the time is over.
  void sleep_idle(std::chrono::nanoseconds timeout, bool nap);
  /// Writes and syncs the flush, which fits in its bounce buffer, on this thread.
  void write_here(Flush& flush);

  /// Why a flush should begin now; nothing when none should.
  std::optional<FlushReason> due(SteadyTime now) const;
  /// Notes since when bytes wait, and from which address on enqueued() is to wake this thread.
  void note_waiting(SteadyTime now);
  void note_least_awaited() TAILRACE_REQUIRES(awaited_mutex_);
  /// The least awaited address that no flush reaches yet.
  Address next_awaited() const;
  /// How long the thread may sleep before due() changes by time alone.
  std::chrono::nanoseconds time_until_due(SteadyTime now) const;
  bool unflushed() const;
  /// A flush could begin now, if there is something to flush.
  bool may_start() const;
  /// The thread would find something to do at once.
  bool has_work(SteadyTime now) const;
  /// Ends the batch with its mark and waits until it is wholly in memory; what is still to do is
  /// the writing. Null when the mark finds no room yet.
  Flush* begin_flush(FlushReason reason);
  void write_flush(Flush& flush);
  /// The flush's bytes from `from`, a block's beginning, to its end and the block's: what others
  /// may be copying behind it must not be written.
  ByteSpan copy_to_bounce(Flush& flush, Address from) const;
  /// The file of that address, noted as one to be synced.
  std::shared_ptr<storage::File> file_for(Flush& flush, Address address) const;
  void submit_write(Flush& flush, Address from, ByteSpan bytes);
  void complete(const storage::Completion& completion);
  /// `own_waiters`: those on whose thread this runs.
  void advance(uint32_t own_waiters);
  /// Evicts pages, asks for segments and raises the limits.
  void make_room();
  /// Where memory would end if all that can be evicted were.
  Address wanted_memory_end() const;
  void note_proven_if_due(SteadyTime now);
  /// Tells the listeners if durable has moved, or the log has failed, since they were told.
  void tell_listeners();

  LogCore& core_;
  const uint64_t pressure_bytes_, overlap_bytes_;
  std::unique_ptr<storage::IoQueue> queue_;
  SegmentMaker segment_maker_;
  ProvenWriter proven_writer_;
  std::thread thread_;
  std::atomic<bool> hosted_{false};
  std::atomic<bool> yielding_{false};  // the thread shall end at once, whatever is left to do
  std::atomic<bool> pumping_{false};   // hosted, and a waiter has the baton
  Mutex host_mutex_;
  std::function<void()> wake_host_ TAILRACE_GUARDED_BY(host_mutex_);
  bool running_ = false;  // between start() and rest()
  std::vector<storage::Completion> completions_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> closing_{false};
  std::atomic<Sleep> sleep_{Sleep::kAwake};
  std::atomic<uint64_t> requested_{0};
  std::atomic<uint64_t> wake_at_{0};
  std::atomic<bool> room_wanted_{false};
  mutable Mutex awaited_mutex_;
  std::multiset<uint64_t> awaited_ TAILRACE_GUARDED_BY(awaited_mutex_);
  std::atomic<uint64_t> least_awaited_{Address::max().value};
  std::atomic<bool> lone_waiter_{true};  // no more than one waited for the newest flush

  Mutex baton_mutex_;
  Condition baton_changed_;
  bool baton_taken_ TAILRACE_GUARDED_BY(baton_mutex_) = true;
  bool woken_ TAILRACE_GUARDED_BY(baton_mutex_) = false;  // the thread shall look for work
  /// The same, unless whoever flushes now takes them along.
  bool bytes_came_ TAILRACE_GUARDED_BY(baton_mutex_) = false;
  bool resting_ TAILRACE_GUARDED_BY(baton_mutex_) = false;  // hosted: rest() has it
  int want_baton_ TAILRACE_GUARDED_BY(baton_mutex_) = 0;    // hosted: waiters for it
  /// The thread shall have the baton next.
  bool thread_wants_ TAILRACE_GUARDED_BY(baton_mutex_) = false;

  // The rest belongs to whoever holds the baton: the thread, when it runs, or its starter.
  std::vector<Flush> flushes_;
  std::deque<size_t> order_;  // flushes not yet durable, oldest first
  Address flushed_;           // the end of the newest flush begun: always the end of a commit mark
  Address writable_end_;      // memory
  std::optional<SteadyTime> waiting_since_;  // of the oldest byte that is not in a flush
  SteadyTime proven_at_;
  SteadyTime last_work_;
  bool nothing_waited_ = true;            // when durable moved last
  std::optional<SteadyTime> lone_flush_;  // when the last one that one thread waited for ended
  Address told_;                          // what the listeners know: durable,
  Address told_begun_;                    // and up to where flushes have begun
  bool told_failure_ = false;
};

}  // namespace tailrace::fasterlog
