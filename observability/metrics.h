#pragma once
// Metric primitives that cost a few nanoseconds where they are counted, and are summed when they
// are read. A module keeps its own in a small struct (its probe) and registers it; nothing here
// knows any module, and no header here includes prometheus-cpp.

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/counter.h"
#include "core/mutex.h"

namespace tailrace::observability {

#ifdef TAILRACE_NO_METRICS
/// Of a program that is built to show what counting costs.
class Counter : public tailrace::Counter {
 public:
  void add(uint64_t /*amount*/ = 1) {}
};
#else
using tailrace::Counter;
#endif
using tailrace::kSlots;
using tailrace::thread_slot;

/// Of a gauge for what has not happened yet, and of which 0 would say something else: the time of
/// the last one, how long it took. No condition of an alert is true of it.
inline constexpr double kNotKnown = std::numeric_limits<double>::quiet_NaN();

/// The last value set. Any thread.
class Gauge {
 public:
  explicit Gauge(double before_any = 0) : value_(before_any) {}
  void set(double value) { value_.store(value, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_;
};

/// Counts of observations at or below each bound, their sum and number. Any thread.
class Histogram {
 public:
  /// `bounds`: ascending upper bounds, without +Inf, at most kMostBounds.
  explicit Histogram(std::vector<double> bounds);
  static constexpr size_t kMostBounds = 24;

  void observe(double value);
  /// The same, and remembers it as the example of its bucket: which record of the log it was. For
  /// some of the observations: it may take a lock, and looks at the clock.
  void observe_example(double value, uint64_t address) TAILRACE_EXCLUDES(examples_mutex_);

  /// One observation of a bucket, so that a slow one can be looked for in the log.
  struct Example {
    double value = 0;
    double unix_time_s = 0;  // 0: there is none
    uint64_t address = 0;
  };
  struct Snapshot {
    std::vector<double> bounds;
    std::vector<uint64_t> counts;   // one a bound and one for +Inf; not cumulative
    std::vector<Example> examples;  // the same; empty: none was ever given
    uint64_t count = 0;
    double sum = 0;
    /// The bound that `quantile` (0–1) of the observations do not exceed.
    double quantile(double quantile) const;
  };
  Snapshot snapshot() const;

 private:
  struct alignas(64) Slot {
    std::atomic<uint64_t> counts[kMostBounds + 1] = {};
    std::atomic<double> sum{0};
  };
  size_t bucket_of(double value) const;

  std::vector<double> bounds_;
  std::unique_ptr<Slot[]> slots_;
  mutable Mutex examples_mutex_;
  std::vector<Example> examples_ TAILRACE_GUARDED_BY(examples_mutex_);
};

/// Seconds from 10 µs to 10 s: for latencies of disks and requests.
std::vector<double> latency_bounds_s();
/// Seconds from 1 ms to 5 s: for the lateness of event loops.
std::vector<double> lateness_bounds_s();
/// Bytes from 512 to 64 MiB.
std::vector<double> size_bounds_bytes();

using Labels = std::vector<std::pair<std::string, std::string>>;

enum class MetricType : uint8_t { kCounter, kGauge, kHistogram };
std::string_view name_of(MetricType type);

/// What is the same for all series of one name: a row of the table (metric_table.h), or of one that
/// an embedder has. All texts outlive the registry.
struct MetricInfo {
  std::string_view name;  // base units, `_total` on counters
  MetricType type = MetricType::kGauge;
  /// Names and values, as "watermark=begin|tail anchor=NAME": a value in capitals stands for any.
  std::string_view labels;
  std::string_view told_by;  // "leader", "etcd" (a node with that coordinator); empty: every node
  std::string_view help;
};

/// How an exposition is written.
enum class Exposition : uint8_t {
  kText,         // Prometheus' text format 0.0.4
  kOpenMetrics,  // OpenMetrics 1.0.0: the same, with examples
};

/// The series of the primitives, and their exposition. Labels have few values by design; whatever
/// happens, a family has at most kMostSeries series (tailrace_metrics_series_left_out counts the
/// rest).
///
/// What is added is read from the scraping thread until the Registration is gone. Any thread.
class MetricRegistry {
 public:
  MetricRegistry();
  ~MetricRegistry();
  MetricRegistry(const MetricRegistry&) = delete;
  MetricRegistry& operator=(const MetricRegistry&) = delete;

  /// Takes out what was added through it. Destroy it before what it reads.
  class Registration {
   public:
    Registration() = default;
    Registration(Registration&& other) noexcept;
    Registration& operator=(Registration&& other) noexcept;
    ~Registration();

   private:
    friend class MetricRegistry;
    struct State;
    std::shared_ptr<State> state_;
    std::vector<uint64_t> ids_;
  };

  /// A Registration to pass to the add calls; one a module.
  Registration registration();

  void add_counter(Registration& to, const MetricInfo& metric, Labels labels,
                   const tailrace::Counter& counter);
  void add_counter(Registration& to, const MetricInfo& metric, Labels labels,
                   std::function<double()> read);
  void add_gauge(Registration& to, const MetricInfo& metric, Labels labels,
                 std::function<double()> read);
  void add_histogram(Registration& to, const MetricInfo& metric, Labels labels,
                     const Histogram& histogram);
  void add_histogram(Registration& to, const MetricInfo& metric, Labels labels,
                     std::function<Histogram::Snapshot()> read);
  /// Series whose labels change while running (one a follower, one an anchor), of a gauge or a
  /// counter.
  using Samples = std::vector<std::pair<Labels, double>>;
  void add_series(Registration& to, const MetricInfo& metric, std::function<Samples()> read);

  static constexpr size_t kMostSeries = 200;

  /// Whether the names of before (kOldNames) are told as well; they are at first.
  void tell_old_names(bool tell);
  std::string expose(Exposition how = Exposition::kText) const;

 private:
  std::shared_ptr<Registration::State> state_;
};

}  // namespace tailrace::observability
