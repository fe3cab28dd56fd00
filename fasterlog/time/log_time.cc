#include "fasterlog/time/log_time.h"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "observability/logging.h"
#include "observability/metric_table.h"

namespace tailrace::fasterlog {

namespace {

constexpr int kSlew = 16;
constexpr Nanoseconds kWarnAgain = std::chrono::minutes(10);

std::string in_seconds(int64_t ns) {
  return std::to_string(std::abs(ns) / 1'000'000'000) + " s";
}

bool says_something(uint64_t wall_ns) {
  return wall_ns >= LogTimeRule::kLeastWall && wall_ns <= LogTimeRule::kMostWall;
}

}  // namespace

// ---- The rule.

void LogTimeRule::see(uint64_t applied_log_time_ns, ClockReading now) {
  if (applied_log_time_ns > seen_ns_) {
    seen_ns_ = applied_log_time_ns;
    seen_at_ = now.elapsed;
  }
  if (!writes_) end();
}

void LogTimeRule::begin() {
  end();
  writes_ = true;
}

void LogTimeRule::end() {
  writes_ = false;
  doubt_.reset();
  time_ns_ = seen_ns_;
  elapsed_ = seen_at_;
  budget_ = kMostStep;
  ahead_ns_ = 0;
  ahead_known_ = false;
}

uint64_t LogTimeRule::advance(ClockReading now) {
  if (!writes_) begin();
  const Nanoseconds passed =
      time_ns_ == 0 ? Nanoseconds(0) : std::max(Nanoseconds(0), now.elapsed - elapsed_);
  elapsed_ = std::max(elapsed_, now.elapsed);
  if (time_ns_ == 0) {
    // The first stamp of a log: there is nothing else to go by.
    elapsed_ = now.elapsed;
    time_ns_ = std::clamp(now.wall_ns, kLeastWall, kMostWall);
  }
  budget_ = std::min(kMostStep, budget_ + passed / kSlew);
  if (says_something(now.wall_ns) && time_ns_ <= kMostWall) {
    steer(now.wall_ns, passed);
    ahead_ns_ = static_cast<int64_t>(time_ns_ - now.wall_ns);
    ahead_known_ = true;
  } else {
    doubt_.reset();
    time_ns_ += static_cast<uint64_t>(passed.count());
  }
  return time_ns_ = std::max(time_ns_, seen_ns_);
}

void LogTimeRule::steer(uint64_t wall_ns, Nanoseconds passed) {
  const uint64_t by_elapsed = time_ns_ + static_cast<uint64_t>(passed.count());
  if (wall_ns <= by_elapsed) {
    doubt_.reset();
    const auto held =
        std::min<uint64_t>(by_elapsed - wall_ns, static_cast<uint64_t>((passed / kSlew).count()));
    time_ns_ = by_elapsed - held;
    return;
  }
  const Nanoseconds step(static_cast<int64_t>(wall_ns - by_elapsed));
  time_ns_ = by_elapsed;
  if (step <= budget_) {
    doubt_.reset();
    budget_ -= step;
    time_ns_ = wall_ns;
  } else {
    doubt(static_cast<int64_t>(wall_ns) - elapsed_.count(), wall_ns, passed);
  }
}

void LogTimeRule::doubt(int64_t offset_ns, uint64_t wall_ns, Nanoseconds passed) {
  if (!doubt_ || std::abs(offset_ns - doubt_->offset_ns) > kMostStep.count()) {
    doubt_ = Doubt{offset_ns};
    ++doubts_begun_;
    return;
  }
  doubt_->lasted += std::min(passed, kMostGap);
  if (doubt_->lasted < kDoubt) return;
  doubt_.reset();
  ++jumps_;
  budget_ = kMostStep;
  time_ns_ = wall_ns;
}

// ---- With a clock.

LogTime::LogTime(const Clock& clock) : clock_(clock) {}

void LogTime::marked(uint64_t unix_time_ns) {
  uint64_t before = marked_ns_.load(std::memory_order_relaxed);
  while (before < unix_time_ns &&
         !marked_ns_.compare_exchange_weak(before, unix_time_ns, std::memory_order_relaxed)) {
  }
}

void LogTime::see(uint64_t applied_log_time_ns, const ClockReading& now) {
  rule_.see(std::max(applied_log_time_ns, marked_ns_.load(std::memory_order_relaxed)), now);
}

void LogTime::begin() {
  const ClockReading now = read();
  const MutexLock lock(mutex_);
  see(0, now);
  rule_.begin();
  publish();
}

uint64_t LogTime::stamp() {
  const ClockReading now = read();
  const MutexLock lock(mutex_);
  const uint64_t stamp = rule_.advance(now);
  publish();
  return stamp;
}

void LogTime::write(uint64_t applied_log_time_ns) {
  const ClockReading now = read();
  std::string told;
  {
    const MutexLock lock(mutex_);
    see(applied_log_time_ns, now);
    rule_.advance(now);
    publish();
    told = warning(now);
  }
  // Outside: the flusher waits for the lock.
  if (!told.empty()) observability::log_warning("{}", told);
}

void LogTime::follow(uint64_t applied_log_time_ns) {
  const ClockReading now = read();
  const MutexLock lock(mutex_);
  rule_.end();
  see(applied_log_time_ns, now);
  publish();
}

uint64_t LogTime::now(const std::atomic<int64_t>& offset_ns) const {
  if (!known_.load(std::memory_order_acquire)) return clock_.unix_time_ns();
  return static_cast<uint64_t>(clock_.elapsed().count() +
                               offset_ns.load(std::memory_order_relaxed));
}

void LogTime::publish() {
  if (rule_.time_ns() == 0) return known_.store(false, std::memory_order_release);
  const int64_t elapsed_ns = rule_.elapsed().count();
  offset_ns_.store(static_cast<int64_t>(rule_.time_ns()) - elapsed_ns, std::memory_order_relaxed);
  reckoned_offset_ns_.store(static_cast<int64_t>(rule_.reckon_ns()) - elapsed_ns,
                            std::memory_order_relaxed);
  known_.store(true, std::memory_order_release);
}

std::string LogTime::warning(const ClockReading& now) {
  constexpr auto kDoubtSeconds =
      std::chrono::duration_cast<std::chrono::seconds>(LogTimeRule::kDoubt).count();
  if (rule_.jumps() != jumps_told_) {
    jumps_told_ = rule_.jumps();
    return "log time jumps to this node's clock, which has stayed ahead of it for " +
           std::to_string(kDoubtSeconds) + " s: what was to expire by then expires";
  }
  const bool behind = rule_.ahead_ns() > LogTimeRule::kMostStep.count();
  if (!rule_.doubts() && !behind) return {};
  // A new doubt at once, unless it is one of many.
  const bool is_new = rule_.doubts() && rule_.doubts_begun() != doubts_warned_;
  const Nanoseconds pause = is_new ? LogTimeRule::kDoubt : kWarnAgain;
  if (warned_ && now.elapsed - *warned_ < pause) return {};
  warned_ = now.elapsed;
  doubts_warned_ = rule_.doubts_begun();
  if (behind)
    return "log time is " + in_seconds(rule_.ahead_ns()) +
           " ahead of this node's clock: it goes on at 15/16 of elapsed time until the clock has "
           "caught up; set the clock if it is wrong";
  return "this node's clock is " + in_seconds(rule_.ahead_ns()) +
         " ahead of log time: it is not believed before it has stayed so for " +
         std::to_string(kDoubtSeconds) +
         " s; set the clock if it is wrong, unless nothing was written for so long";
}

void LogTime::register_metrics(observability::MetricRegistry& registry) {
  metrics_ = registry.registration();
  const auto gauge = [&](const observability::MetricInfo& metric, auto read) {
    registry.add_gauge(metrics_, metric, {}, [this, read] {
      const MutexLock lock(mutex_);
      return static_cast<double>(read(rule_));
    });
  };
  gauge(observability::metric("tailrace_log_time_ahead_seconds"), [](const LogTimeRule& rule) {
    return rule.is_ahead_known() ? static_cast<double>(rule.ahead_ns()) * 1e-9
                                 : observability::kNotKnown;
  });
  gauge(observability::metric("tailrace_clock_doubted"),
        [](const LogTimeRule& rule) { return rule.doubts(); });
  const auto counter = [&](const observability::MetricInfo& metric, auto read) {
    registry.add_counter(metrics_, metric, {}, [this, read] {
      const MutexLock lock(mutex_);
      return static_cast<double>(read(rule_));
    });
  };
  counter(observability::metric("tailrace_clock_doubts_total"),
          [](const LogTimeRule& rule) { return rule.doubts_begun(); });
  counter(observability::metric("tailrace_log_time_jumps_total"),
          [](const LogTimeRule& rule) { return rule.jumps(); });
}

}  // namespace tailrace::fasterlog
