#pragma once
// The thread that has events outlive the log. Each step is durable before the next:
//
//   checkpoint published, its anchor moved     statemachine/checkpointer.h
//   event file written, synced, renamed        stretch_writer.h
//   the anchor `history` moves
//   truncation may pass
//
// So a slow or a full disk holds truncation back, and the anchor tells by what. A crash between two
// steps writes a stretch again that was written, or none.

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <thread>

#include "core/mutex.h"
#include "core/result.h"
#include "fasterlog/log.h"
#include "history/catalogue.h"
#include "history/event_outcomes.h"
#include "history/types/options.h"
#include "statemachine/anchors.h"
#include "storage/file_system.h"

namespace tailrace::history {

inline constexpr const char* kHistoryAnchor = "history";

class StretchWriter;

struct HistorianStatus {
  Address complete;        // history is durable up to here
  uint64_t stretches = 0;  // written since start()
  /// What it waits for: kResourceExhausted while the disk is full. Nothing: for the next
  /// checkpoint, if for anything. It tries again by itself.
  std::optional<Error> trouble;
};

/// Any thread.
class Historian {
 public:
  /// All outlive it.
  Historian(storage::FileSystem& file_system, fasterlog::Log& log,
            statemachine::AnchorRegistry& anchors, Catalogue& catalogue, EventOutcomes& outcomes,
            const HistorianOptions& options);
  /// As stop().
  ~Historian();

  /// Sets the anchor and begins. Once, before anything truncates the log. kFailedPrecondition as
  /// StretchWriter::complete().
  Result<> start();
  /// Gives up the file that is being written, and waits for that. The anchor stays.
  void stop();
  /// An anchor has moved, or there may be room on the disk again. Without it a look is taken every
  /// HistorianOptions::interval.
  void wake();
  /// History is wanted up to there, although other anchors hold the log: then it is enough that a
  /// checkpoint is beyond.
  void want(Address to);
  HistorianStatus status() const;

 private:
  void run();
  /// Writes all that may be written.
  Result<> work();
  /// No anchor but its own holds the log below, or but the checkpoint's, while more is wanted; 0
  /// without a checkpoint.
  Address bound() const;
  void note(const Result<>& worked);

  statemachine::AnchorRegistry& anchors_;
  const HistorianOptions options_;
  const std::unique_ptr<StretchWriter> writer_;  // of the thread, once that runs

  mutable Mutex mutex_;
  Condition work_;
  bool awake_ TAILRACE_GUARDED_BY(mutex_) = false;
  bool stopping_ TAILRACE_GUARDED_BY(mutex_) = false;
  Address wanted_ TAILRACE_GUARDED_BY(mutex_);
  HistorianStatus status_ TAILRACE_GUARDED_BY(mutex_);
  std::stop_source stop_;
  std::thread thread_;
};

}  // namespace tailrace::history
