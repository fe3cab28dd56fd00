#pragma once
// Log time: what commit marks are stamped with, so that all nodes agree on when something was.
//
// Wall clocks are wrong now and then: by ten years for a second at boot, by an hour for a day. What
// hangs on log time (keys and sessions that expire) must not go with them. So log time is moved by
// elapsed time, and the wall clock of whoever writes the log only steers it:
//
//   near    Ahead of log time by no more than a budget of kMostStep, which is refilled by a
//           sixteenth of elapsed time: log time follows at once.
//   ahead   By more: the clock is doubted. Log time goes on by elapsed time, until the clock has
//           kept the same distance for kDoubt, over readings at most kMostGap apart (a longer gap
//           counts as that); then it is believed, and log time jumps there.
//   behind  Log time never goes back. It goes on at 15/16 of elapsed time until the clock is even.
//   absurd  A clock that says a year before 2024 or after 2262 says nothing: elapsed time alone.
//
// What is to live for a while is reckoned from log time; while the clock is doubted, from the
// clock, as long as that is no more than kMostReckoned ahead: if it is believed in the end, after
// an outage for instance, the jump takes nothing from what was put meanwhile, and if not, that
// lives longer.
//
// So one wrong clock can do this at most, and only while its node leads: being ahead for less than
// kDoubt, it moves log time by kMostStep and a sixteenth of the time; being ahead for longer, by
// its error, once. After either, and when it is behind, durations are up to a sixteenth too long
// until log time is right again. Nothing else: no duration is too short but by such a move, and
// nothing stops expiring.
//
// A new leader goes on from the log: from the newest mark that stands in it, applied or not, and
// from what has elapsed since it saw that. What it stamped itself, when it led before, is of no
// importance.

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "core/clock.h"
#include "core/mutex.h"
#include "observability/metrics.h"

namespace tailrace::fasterlog {

/// What the clocks say in one moment.
struct ClockReading {
  uint64_t wall_ns = 0;    // unix time
  Nanoseconds elapsed{0};  // monotonic, suspension included
};

/// The rule above; pure. All times are unix times in nanoseconds.
class LogTimeRule {
 public:
  static constexpr Nanoseconds kMostStep = std::chrono::seconds(2);
  static constexpr Nanoseconds kDoubt = std::chrono::seconds(60);
  static constexpr Nanoseconds kMostGap = std::chrono::seconds(1);
  static constexpr Nanoseconds kMostReckoned = std::chrono::hours(90 * 24);
  static constexpr uint64_t kLeastWall = 1'704'067'200'000'000'000;  // 2024
  static constexpr uint64_t kMostWall = 9'214'646'400'000'000'000;   // 2262

  /// What this node has applied, or holds, has this log time (0: none yet). Often, whether it
  /// writes or not; less than before says nothing.
  void see(uint64_t applied_log_time_ns, ClockReading now);
  /// From now on it writes the log: log time is what it has seen, and what has elapsed since then.
  void begin();
  void end();
  /// Of the writer, at each stamp and often enough in between: log time now. Never below what it
  /// was since begin(), nor below what was seen.
  uint64_t advance(ClockReading now);

  uint64_t time_ns() const { return time_ns_; }
  /// From where a time to live counts.
  uint64_t reckon_ns() const {
    // A log that began under an absurd clock began in 2024: that is no time worth keeping to.
    const bool near = -ahead_ns_ <= kMostReckoned.count() ||
                      time_ns_ < kLeastWall + static_cast<uint64_t>(kMostReckoned.count());
    const bool by_clock = doubt_ && ahead_ns_ < 0 && near;
    return by_clock ? time_ns_ + static_cast<uint64_t>(-ahead_ns_) : time_ns_;
  }
  Nanoseconds elapsed() const { return elapsed_; }  // when it was that
  /// How far log time was ahead of the wall clock at the last reading; negative: behind.
  int64_t ahead_ns() const { return ahead_ns_; }
  /// Whether there was one since begin(): what is read while others write says nothing of log time.
  bool is_ahead_known() const { return ahead_known_; }
  bool doubts() const { return doubt_.has_value(); }
  uint64_t doubts_begun() const { return doubts_begun_; }
  uint64_t jumps() const { return jumps_; }  // doubts that ended in belief

 private:
  struct Doubt {
    int64_t offset_ns;  // of the wall clock from elapsed time, when it began
    Nanoseconds lasted{0};
  };
  void steer(uint64_t wall_ns, Nanoseconds passed);
  void doubt(int64_t offset_ns, uint64_t wall_ns, Nanoseconds passed);

  uint64_t time_ns_ = 0;  // 0: not known yet
  Nanoseconds elapsed_{0};
  Nanoseconds budget_ = kMostStep;
  std::optional<Doubt> doubt_;
  bool writes_ = false;
  uint64_t seen_ns_ = 0;    // applied
  Nanoseconds seen_at_{0};  // first
  int64_t ahead_ns_ = 0;
  bool ahead_known_ = false;
  uint64_t doubts_begun_ = 0, jumps_ = 0;
};

/// The rule with a clock, for several threads.
class LogTime {
 public:
  explicit LogTime(const Clock& clock = system_clock());

  /// The log is written here from now on: stamps go on from what was seen of it.
  void begin();
  /// For the next commit mark. The log's flusher.
  uint64_t stamp();
  /// A commit mark of that time stands in the log, whether or not it is applied yet: what is
  /// written behind it is not earlier. Any thread; no lock.
  void marked(uint64_t unix_time_ns);
  /// Now and then, while this node writes the log, or does not: what it has applied has this log
  /// time. Warns of clocks that are doubted.
  void write(uint64_t applied_log_time_ns);
  void follow(uint64_t applied_log_time_ns);
  /// What log time is now, as far as this node knows; and from where a time to live counts, which
  /// may be later. Any thread; no lock.
  uint64_t now_ns() const { return now(offset_ns_); }
  uint64_t reckon_ns() const { return now(reckoned_offset_ns_); }

  void register_metrics(observability::MetricRegistry& registry);

 private:
  ClockReading read() const { return {clock_.unix_time_ns(), clock_.elapsed()}; }
  uint64_t now(const std::atomic<int64_t>& offset_ns) const;
  void see(uint64_t applied_log_time_ns, const ClockReading& now) TAILRACE_REQUIRES(mutex_);
  void publish() TAILRACE_REQUIRES(mutex_);
  /// What is to be told of the clock now; empty: nothing.
  std::string warning(const ClockReading& now) TAILRACE_REQUIRES(mutex_);

  const Clock& clock_;
  mutable Mutex mutex_;
  LogTimeRule rule_ TAILRACE_GUARDED_BY(mutex_);
  std::optional<Nanoseconds> warned_ TAILRACE_GUARDED_BY(mutex_);  // when
  uint64_t doubts_warned_ TAILRACE_GUARDED_BY(mutex_) = 0;
  uint64_t jumps_told_ TAILRACE_GUARDED_BY(mutex_) = 0;
  std::atomic<int64_t> offset_ns_{0};           // of log time from elapsed time
  std::atomic<int64_t> reckoned_offset_ns_{0};  // as well
  std::atomic<bool> known_{false};
  std::atomic<uint64_t> marked_ns_{0};                   // the greatest
  observability::MetricRegistry::Registration metrics_;  // last: goes before what it reads
};

}  // namespace tailrace::fasterlog
