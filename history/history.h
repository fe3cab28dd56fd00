#pragma once
// What a node keeps of the events that its log no longer has: opened, written and read.
//
//   data_dir/history/    event files (catalogue.h)
//   data_dir/outcomes/   what became of transactions that are in no event file yet
//                        (statemachine/outcomes/)
//
// Nothing of it is read at a start but the names of the files.

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include "core/result.h"
#include "fasterlog/log.h"
#include "history/block_cache.h"
#include "history/catalogue.h"
#include "history/event_cursor.h"
#include "history/historian.h"
#include "history/logged_outcomes.h"
#include "history/scavenge_host.h"
#include "observability/metrics.h"
#include "statemachine/anchors.h"
#include "statemachine/outcomes/outcome_log.h"

namespace tailrace::history {

struct HistoryStatus {
  HistorianStatus historian;
  AddressRange range;  // from the first file's begin to where history is complete
  uint64_t files = 0;
  uint64_t bytes = 0;    // of the files, on disk
  uint64_t missing = 0;  // bytes of log that no file covers, but for what nobody has
  ScavengeStatus scavenge;
  uint64_t removed = 0;  // events, by the scavenger, since the start
};

/// Any thread, but for start() and stop().
class History final : public ScavengeHost {
 public:
  static constexpr size_t kCacheBytes = 32u << 20;

  /// All outlive it. The state machine that fills `outcomes` has been created.
  static Result<std::unique_ptr<History>> open(storage::FileSystem& file_system,
                                               storage::Path directory, fasterlog::Log& log,
                                               statemachine::AnchorRegistry& anchors,
                                               statemachine::OutcomeLog& outcomes,
                                               HistorianOptions options);
  /// Sets the anchor `history`, and writes from now on: before anything truncates the log.
  Result<> start() { return historian_.start(); }
  void stop() { historian_.stop(); }

  /// Events of a stream from `version` on, or from it down, as long as `visit` says so and they are
  /// in one file: that which has the record at `record`, where the version stands. kNotFound:
  /// neither this node nor another has the file. kUnavailable: it is not here, and may still come;
  /// one that was found damaged is named in the node's log, and is one no more where another member
  /// can give it anew; else the error names it. kNotFound also for an event that has become
  /// unreadable since its place was looked up: whoever asks looks again.
  using Visitor = std::function<bool(const EventEntry& event)>;
  Result<> read_stream(std::string_view stream, uint64_t version, Address record, Order order,
                       const Visitor& visit);
  /// Whether a file has the events of the record at that address.
  bool covers(Address record) const { return catalogue_->find(record).has_value(); }

  Catalogue& catalogue() override { return *catalogue_; }
  Address complete() const override { return historian_.status().complete; }
  HistoryStatus status() const;

  // ---- For whoever fetches files (rpc/history/fetcher.h).

  /// Stretches of the log below complete() that no file here covers, but for those that
  /// nobody_has() has named last.
  std::vector<AddressRange> missing() const override;
  void nobody_has(std::vector<AddressRange> gaps);
  /// Whether there are other members: only then is a damaged file put aside.
  void set_others(bool any) { has_others_.store(any); }
  /// kResourceExhausted when a file of so many bytes would take what is kept free.
  Result<> check_room(uint64_t bytes) const override;
  /// Takes a file that stands in the catalogue's directory under a temporary name, if it is whole
  /// and the one that was promised.
  Result<> adopt(const storage::Path& temporary, const EventFileInfo& promised);
  /// Reads all of a file; a damaged one is one no more. kCorruption, naming it.
  Result<> verify(const EventFileInfo& info);

  // ---- For whoever must know where events still are.

  /// How many events of the stream a file has. Errors as reading it.
  Result<uint64_t> count_events(const EventFileInfo& info, std::string_view stream);
  /// Files in the directory that may have events and that nobody reads: put aside as damaged, or
  /// being written or fetched.
  Result<std::vector<storage::Path>> unread_files() const;

  // ---- For whoever leaves out dead events (scavenge/scavenger.h).

  Result<> replace(const EventFileInfo& before, const EventFileInfo& now,
                   uint32_t removed) override;
  void found_damaged(const EventFileInfo& info, const Error& error) override;
  void set_scavenge_status(ScavengeStatus status) override;

  void register_metrics(observability::MetricRegistry& registry);

 private:
  History(storage::FileSystem& file_system, std::unique_ptr<Catalogue> catalogue,
          fasterlog::Log& log, statemachine::AnchorRegistry& anchors,
          statemachine::OutcomeLog& outcomes, const HistorianOptions& options);

  const std::unique_ptr<Catalogue> catalogue_;
  BlockCache cache_{kCacheBytes};
  LoggedOutcomes logged_;
  Historian historian_;
  storage::FileSystem& file_system_;
  const uint64_t reserve_disk_bytes_;
  mutable Mutex files_mutex_;
  std::vector<AddressRange> nobody_has_ TAILRACE_GUARDED_BY(files_mutex_);
  std::atomic<bool> has_others_{false};
  observability::Counter fetched_, damaged_, removed_;
  ScavengeStatus scavenge_ TAILRACE_GUARDED_BY(files_mutex_);
  /// Those that were read last stay open.
  std::vector<std::pair<EventFileInfo, std::shared_ptr<const EventFile>>> open_files_
      TAILRACE_GUARDED_BY(files_mutex_);
  observability::MetricRegistry::Registration metrics_;  // last: goes before what it reads

  Result<std::shared_ptr<const EventFile>> file_of(const EventFileInfo& info);
  Result<> read_file(const EventFile& file, std::string_view stream, uint64_t version, Order order,
                     const Visitor& visit) const;
  bool is_lost(const Error& error) const;
  void drop(const EventFileInfo& info, const Error& why);
  void close(const EventFileInfo& info);
  /// Other files are there than the scavenger knew.
  void forget_scavenged();
};

}  // namespace tailrace::history
