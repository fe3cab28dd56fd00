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
#include <utility>
#include <vector>

#include "core/counter.h"

namespace tailrace::observability {

using tailrace::Counter;
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

  struct Snapshot {
    std::vector<double> bounds;
    std::vector<uint64_t> counts;  // one a bound and one for +Inf; not cumulative
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
  std::vector<double> bounds_;
  std::unique_ptr<Slot[]> slots_;
};

/// Seconds from 10 µs to 10 s: for latencies of disks and requests.
std::vector<double> latency_bounds_s();
/// Bytes from 512 to 64 MiB.
std::vector<double> size_bounds_bytes();

using Labels = std::vector<std::pair<std::string, std::string>>;

/// Names, help texts and labels for the primitives, and their Prometheus exposition. Metrics follow
/// the Prometheus conventions: base units, `_total` on counters, prefix `tailrace_`.
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

  void add_counter(Registration& to, std::string name, std::string help, Labels labels,
                   const Counter& counter);
  void add_counter(Registration& to, std::string name, std::string help, Labels labels,
                   std::function<double()> read);
  void add_gauge(Registration& to, std::string name, std::string help, Labels labels,
                 std::function<double()> read);
  void add_histogram(Registration& to, std::string name, std::string help, Labels labels,
                     const Histogram& histogram);
  /// Series whose labels change while running (one a follower, one an anchor).
  using Samples = std::vector<std::pair<Labels, double>>;
  void add_gauges(Registration& to, std::string name, std::string help,
                  std::function<Samples()> read);

  /// The Prometheus text format, version 0.0.4.
  std::string expose() const;

 private:
  std::shared_ptr<Registration::State> state_;
};

}  // namespace tailrace::observability
