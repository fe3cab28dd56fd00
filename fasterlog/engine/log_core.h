#pragma once
// The state that the log's entry points (log.cc) and its flusher share.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <iterator>
#include <list>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "core/mutex.h"
#include "fasterlog/engine/consumers.h"
#include "fasterlog/engine/page_ring.h"
#include "fasterlog/engine/probe.h"
#include "fasterlog/engine/recovery.h"
#include "fasterlog/format/log_metadata.h"
#include "fasterlog/format/segment_files.h"
#include "fasterlog/time/log_time.h"
#include "fasterlog/types/options.h"
#include "fasterlog/types/records.h"
#include "storage/epoch_protection.h"

namespace tailrace::fasterlog {

/// Who may write. Between two roles, and before the first, nobody may.
enum class Mode : uint8_t { kNone, kWriter, kCopy, kClosed };

/// META in memory and on disk. Any thread.
class MetadataKeeper {
 public:
  MetadataKeeper(storage::FileSystem& file_system, storage::Path directory, LogMetadata metadata)
      : file_system_(file_system),
        directory_(std::move(directory)),
        metadata_(std::move(metadata)) {}

  /// Changes a copy, makes it durable, then takes it over. The mutex is held meanwhile, so updates
  /// follow each other.
  template <typename Change>
  Result<> update(Change change) {
    const MutexLock lock(mutex_);
    LogMetadata next = metadata_;
    change(next);
    TAILRACE_RETURN_IF_ERROR(write_log_metadata(file_system_, directory_, next));
    metadata_ = std::move(next);
    return {};
  }

 private:
  storage::FileSystem& file_system_;
  const storage::Path directory_;
  Mutex mutex_;
  LogMetadata metadata_ TAILRACE_GUARDED_BY(mutex_);
};

/// The page that `tail` lies in must be in memory, for its next bytes are written beside the old
/// ones: reads and checks it, and sets head and tail. Nobody else uses the ring. (open.cc)
struct LogCore;
Result<> load_tail_page(LogCore& core, Address tail);

struct LogCore {
  LogCore(storage::FileSystem& fs, LogOptions log_options, const Clock& the_clock,
          LogMetadata metadata)
      : file_system(fs),
        options(std::move(log_options)),
        clock(the_clock),
        segments(fs, options.directory, options.segment_bytes, options.spare_segments),
        keeper(fs, options.directory, std::move(metadata)),
        consumers(fs, options.directory) {}

  storage::FileSystem& file_system;
  const LogOptions options;
  const Clock& clock;
  /// For a commit mark.
  uint64_t stamp() const { return options.time ? options.time->stamp() : clock.unix_time_ns(); }
  storage::EpochProtection protection;
  PageRing ring;
  SegmentFiles segments;
  MetadataKeeper keeper;
  ConsumerTable consumers;
  LogProbe probe;

  std::atomic<Mode> mode{Mode::kNone};  // read inside the epoch, so a change can wait for readers
  std::atomic<uint64_t> epoch{0};       // of what is written now; set while nobody writes
  std::atomic<uint64_t> begin{0};
  std::atomic<uint64_t> durable{0};
  Address proven_at_open;  // what META says until the flusher writes it
  std::atomic<uint64_t> flushing{
      0};  // durable <= flushing <= tail: ends of flushes that have begun
  /// The next segment could not be made: the disk has not enough to spare.
  std::atomic<bool> disk_full{false};
  /// Something was refused for that since; of use only while disk_full.
  mutable std::atomic<bool> refused_for_room{false};

  mutable Mutex index_mutex;
  MarkIndex marks TAILRACE_GUARDED_BY(index_mutex);  // first entry <= begin
  std::vector<EpochStart> epochs TAILRACE_GUARDED_BY(index_mutex);
  /// The table itself never changes.
  std::shared_ptr<const ConfigurationTable> configurations TAILRACE_GUARDED_BY(index_mutex) =
      std::make_shared<const ConfigurationTable>();
  /// Where truncate_after() has cut the log since it was opened, in this order. The count is raised
  /// after durable went down and before any byte changes.
  std::vector<Address> cuts TAILRACE_GUARDED_BY(index_mutex);
  std::atomic<uint64_t> cut_count{0};
  /// Calls of truncate_after() that are over, whatever came of them: who waits looks again.
  std::atomic<uint64_t> cuts_over{0};

  /// Puts what lies below `metadata.proven` of the two tables into `metadata`. As the tables are
  /// now: inside MetadataKeeper::update, so that no older look at them follows a newer one there.
  void describe_proven(LogMetadata& metadata) const {
    const MutexLock lock(index_mutex);
    metadata.epochs.clear();
    std::copy_if(epochs.begin(), epochs.end(), std::back_inserter(metadata.epochs),
                 [&](const EpochStart& each) { return each.start < metadata.proven; });
    metadata.configurations.clear();
    std::copy_if(configurations->begin(), configurations->end(),
                 std::back_inserter(metadata.configurations),
                 [&](const ConfigurationRecord& each) { return each.end <= metadata.proven; });
  }

  /// The least of the cuts after the first `seen`; nothing when there were none.
  std::optional<Address> least_cut_since(uint64_t seen) {
    if (cut_count.load() == seen) return std::nullopt;
    const MutexLock lock(index_mutex);
    return *std::min_element(cuts.begin() + static_cast<std::ptrdiff_t>(seen), cuts.end());
  }

  // Waiters for durable, for room, and for the failure. A waiter counts itself, then looks; the
  // flusher changes, then looks at the count: one of them sees the other.
  Mutex wait_mutex;
  /// Or flushing. No Condition, for a std::stop_token ends its waits too.
  std::condition_variable_any durable_moved;
  Condition room_made;
  std::atomic<uint32_t> durable_waiters{0};
  std::atomic<uint32_t> room_waiters{0};
  std::atomic<bool> failed{false};
  std::optional<Error> failure TAILRACE_GUARDED_BY(wait_mutex);  // set once, before `failed`
  std::atomic<bool> closed{false};

  /// Waits until `there()`; else kTimedOut, kCancelled, kClosed or the failure.
  template <typename There>
  Result<> wait_for(There there, std::string_view what, SteadyTime deadline, std::stop_token stop) {
    MutexLock lock(wait_mutex);
    durable_waiters.fetch_add(1);
    const auto over = [&] { return there() || failed.load() || closed.load(); };
    // wait_until converts the deadline; the greatest time point would overflow there.
    if (deadline == SteadyTime::max()) {
      (void)durable_moved.wait(lock, stop, over);
    } else {
      (void)durable_moved.wait_until(lock, stop, deadline, over);
    }
    durable_waiters.fetch_sub(1);
    if (there()) return {};
    if (failure) return tl::unexpected(*failure);
    if (closed.load()) return make_error(ErrorCode::kClosed, "the log was closed");
    if (stop.stop_requested()) return make_error(ErrorCode::kCancelled, "the wait was cancelled");
    return make_error(ErrorCode::kTimedOut, std::string(what) + " in time");
  }

  /// Handles outlive the log at worst, so they share this.
  struct Listeners {
    struct One {
      DurableListener call;
      bool of_begins;  // also when a flush has begun
    };
    Mutex mutex;  // held while they run
    std::list<One> all TAILRACE_GUARDED_BY(mutex);
    std::atomic<size_t> count{0};                            // of all
    std::atomic<size_t> of_begins{0};                        // of those
    std::optional<Error> closed TAILRACE_GUARDED_BY(mutex);  // what those hear who come too late

    void note_counts() TAILRACE_REQUIRES(mutex) {
      count.store(all.size());
      of_begins.store(static_cast<size_t>(
          std::count_if(all.begin(), all.end(), [](const One& one) { return one.of_begins; })));
    }

    void close(Address durable) {
      const MutexLock lock(mutex);
      closed = Error{ErrorCode::kClosed, "the log was closed"};
      for (const One& one : all)
        one.call(durable, &*closed);
    }
    void tell(Address durable, const Error* failure) {
      const MutexLock lock(mutex);
      for (const One& one : all)
        one.call(durable, failure);
    }
    void tell_begun(Address durable) {
      const MutexLock lock(mutex);
      for (const One& one : all)
        if (one.of_begins) one.call(durable, nullptr);
    }
  };
  const std::shared_ptr<Listeners> listeners = std::make_shared<Listeners>();

  std::optional<Error> failure_copy() {
    if (!failed.load()) return std::nullopt;
    const MutexLock lock(wait_mutex);
    return failure;
  }
};

}  // namespace tailrace::fasterlog
