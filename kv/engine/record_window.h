#pragma once
// Records of the log in the order of their addresses, copied, a window at a time: what compaction
// and scans walk over. What is asked about each of them, whether it is its key's newest, is asked
// for all of a window together, so that chains that go to disk are followed at the same time.

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/result.h"
#include "kv/engine/cold_fetcher.h"
#include "kv/engine/engine.h"
#include "kv/log/walker.h"
#include "storage/file_system.h"

namespace tailrace::kv {

/// One thread.
class RecordWindow {
 public:
  static constexpr size_t kMostRecords = 256;
  static constexpr uint64_t kMostBytes = 1u << 20;

  struct Entry {
    LogAddress address = 0;
    bool wanted = false;  // the caller's: what has been found out
    bool open = false;
    std::vector<uint64_t> copy;
    ColdFetcher::Fetch fetch;
    Record& record() { return *reinterpret_cast<Record*>(copy.data()); }
  };

  RecordWindow(storage::FileSystem& file_system, Engine& engine);
  ~RecordWindow();

  void clear();
  bool full() const { return used_ == kMostRecords || bytes_ >= kMostBytes; }
  /// Copies it; word by word, for the record may be in the mutable region.
  void add(LogAddress address, Record& record);
  std::span<Entry> entries() { return {entries_.data(), used_}; }
  uint64_t bytes() const { return bytes_; }

  /// Calls `attempt` under protection for each entry until it returns anything but kCold (the chain
  /// is followed from waiting.address, as of `point` where that is not null), kNeedsRoom or
  /// kShifted
  /// (`provide` is called outside protection, then the attempt again).
  template <typename Attempt, typename Provide>
  Result<> settle(const PointInLog* point, const Attempt& attempt, const Provide& provide) {
    for (Entry& entry : entries())
      entry.open = true;
    const auto settled = settle_open(point, attempt, provide);
    if (!settled) drain();
    return settled;
  }

 private:
  template <typename Attempt, typename Provide>
  Result<> settle_open(const PointInLog* point, const Attempt& attempt, const Provide& provide) {
    for (bool all = false; !all;) {
      all = true;
      for (Entry& entry : entries()) {
        while (entry.open && entry.fetch.done) {
          if (entry.fetch.error) return tl::unexpected(*entry.fetch.error);
          Engine::Waiting waiting;
          Engine::Outcome outcome;
          {
            const storage::EpochProtection::Guard guard(engine_.protection());
            outcome = attempt(entry, waiting);
          }
          if (outcome == Engine::Outcome::kCold) {
            TAILRACE_RETURN_IF_ERROR(follow(entry, point, waiting.address));
          } else if (outcome == Engine::Outcome::kNeedsRoom ||
                     outcome == Engine::Outcome::kShifted) {
            TAILRACE_RETURN_IF_ERROR(provide(outcome, waiting));
          } else {
            entry.open = false;
          }
        }
        all &= !entry.open;
      }
      if (!all) TAILRACE_RETURN_IF_ERROR(fetcher_.poll(std::chrono::milliseconds(100), nullptr));
    }
    return {};
  }
  Result<> follow(Entry& entry, const PointInLog* point, LogAddress from);
  void drain();

  Engine& engine_;
  std::vector<Entry> entries_;  // as many as there may be: a fetch stays where it is
  size_t used_ = 0;
  uint64_t bytes_ = 0;
  ColdFetcher fetcher_;
};

/// Walks the records of [from, until), whatever they are.
class RecordStream {
 public:
  /// Beyond safe_read_only() only while nobody writes.
  RecordStream(storage::FileSystem& file_system, Engine& engine, LogAddress from, LogAddress until)
      : file_system_(file_system), engine_(engine), address_(from), until_(until) {}

  /// Fills the window; it is empty at the end.
  Result<> fill(RecordWindow& window);
  /// No record that begins below has not been handed out; where one begins, or nothing is yet.
  LogAddress position() const { return address_; }

 private:
  Result<bool> open_walker();

  storage::FileSystem& file_system_;
  Engine& engine_;
  LogAddress address_;
  const LogAddress until_;
  LogAddress walked_until_ = 0;
  std::unique_ptr<LogWalker> walker_;  // of what does not change any more
};

}  // namespace tailrace::kv
