#include <algorithm>
#include <map>

#include <fmt/format.h>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include "core/check.h"
#include "core/mutex.h"
#include "observability/metric_table.h"
#include "observability/metrics.h"
#include "observability/open_metrics.h"

namespace tailrace::observability {

namespace {

std::vector<prometheus::ClientMetric::Label> labels_of(const Labels& labels) {
  std::vector<prometheus::ClientMetric::Label> result;
  for (const auto& [name, value] : labels) {
    result.push_back({name, value});
  }
  return result;
}

prometheus::MetricType type_of(MetricType type) {
  switch (type) {
    case MetricType::kCounter:
      return prometheus::MetricType::Counter;
    case MetricType::kGauge:
      return prometheus::MetricType::Gauge;
    case MetricType::kHistogram:
      return prometheus::MetricType::Histogram;
  }
  return prometheus::MetricType::Untyped;
}

Series histogram_series(const Labels& labels, Histogram::Snapshot now) {
  Series series;
  prometheus::ClientMetric& metric = series.metric;
  metric.label = labels_of(labels);
  uint64_t cumulative = 0;
  for (size_t bound = 0; bound < now.counts.size(); ++bound) {
    cumulative += now.counts[bound];
    const bool last = bound == now.bounds.size();
    metric.histogram.bucket.push_back(
        {cumulative, last ? std::numeric_limits<double>::infinity() : now.bounds[bound]});
  }
  metric.histogram.sample_count = now.count;
  metric.histogram.sample_sum = now.sum;
  series.examples = std::move(now.examples);
  return series;
}

/// The series of `family` that an old name stands for, under that name.
Family under_old_name(const Family& family, const OldName& old) {
  Family result{std::string(old.name), fmt::format("Old name of {}.", old.now), family.type, {}};
  for (const Series& each : family.series) {
    Series series = each;
    auto& labels = series.metric.label;
    if (!old.label.empty()) {
      const auto found = std::find_if(labels.begin(), labels.end(), [&](const auto& label) {
        return label.name == old.label && label.value == old.value;
      });
      if (found == labels.end()) continue;
      labels.erase(found);
    }
    result.series.push_back(std::move(series));
  }
  return result;
}

bool is_old(const MetricInfo& info) {
  return std::any_of(std::begin(kOldMetrics), std::end(kOldMetrics),
                     [&](const MetricInfo& old) { return old.name == info.name; });
}

}  // namespace

struct MetricRegistry::Registration::State {
  /// One add call: which metric, and how to read its series now.
  struct Source {
    MetricInfo info;
    std::function<void(std::vector<Series>&)> collect;
  };

  mutable Mutex mutex;
  uint64_t next_id TAILRACE_GUARDED_BY(mutex) = 1;
  std::map<uint64_t, Source> sources TAILRACE_GUARDED_BY(mutex);  // in the order of addition
  bool old_names TAILRACE_GUARDED_BY(mutex) = true;

  uint64_t add(Source source) {
    const MutexLock lock(mutex);
    const uint64_t id = next_id++;
    sources.emplace(id, std::move(source));
    return id;
  }

  /// Series of one name stand together, as the formats demand, whoever added them.
  std::vector<Family> collect() const TAILRACE_REQUIRES(mutex) {
    std::vector<Family> families;
    std::map<std::string_view, size_t> places;
    for (const auto& [id, source] : sources) {
      if (!old_names && is_old(source.info)) continue;
      const auto [place, is_new] = places.try_emplace(source.info.name, families.size());
      if (is_new)
        families.push_back({std::string(source.info.name),
                            std::string(source.info.help),
                            type_of(source.info.type),
                            {}});
      source.collect(families[place->second].series);
    }
    tell_left_out(families);
    if (!old_names) return families;
    for (const OldName& old : kOldNames) {
      const auto place = places.find(old.now);
      if (place == places.end()) continue;
      Family family = under_old_name(families[place->second], old);
      if (!family.series.empty()) families.push_back(std::move(family));
    }
    return families;
  }

  /// Cuts what is too much, and says how much that was where somebody has asked for it.
  static void tell_left_out(std::vector<Family>& families) {
    size_t left_out = 0;
    for (Family& family : families) {
      if (family.series.size() <= kMostSeries) continue;
      left_out += family.series.size() - kMostSeries;
      family.series.resize(kMostSeries);
    }
    for (Family& family : families) {
      if (family.name != metric("tailrace_metrics_series_left_out").name) continue;
      for (Series& series : family.series)
        series.metric.gauge.value = static_cast<double>(left_out);
    }
  }
};

MetricRegistry::MetricRegistry() : state_(std::make_shared<Registration::State>()) {}
MetricRegistry::~MetricRegistry() = default;

MetricRegistry::Registration::Registration(Registration&& other) noexcept
    : state_(std::move(other.state_)), ids_(std::move(other.ids_)) {
  other.ids_.clear();
}

MetricRegistry::Registration& MetricRegistry::Registration::operator=(
    Registration&& other) noexcept {
  if (this != &other) {
    Registration gone(std::move(*this));
    state_ = std::move(other.state_);
    ids_ = std::move(other.ids_);
    other.ids_.clear();
  }
  return *this;
}

MetricRegistry::Registration::~Registration() {
  if (!state_) return;
  // Under the lock of expose(): when this returns, nothing reads the module any more.
  const MutexLock lock(state_->mutex);
  for (const uint64_t id : ids_) {
    state_->sources.erase(id);
  }
}

MetricRegistry::Registration MetricRegistry::registration() {
  Registration result;
  result.state_ = state_;
  return result;
}

void MetricRegistry::add_counter(Registration& to, const MetricInfo& metric, Labels labels,
                                 const tailrace::Counter& counter) {
  add_counter(to, metric, std::move(labels),
              [&counter] { return static_cast<double>(counter.value()); });
}

void MetricRegistry::add_counter(Registration& to, const MetricInfo& metric, Labels labels,
                                 std::function<double()> read) {
  add_gauge(to, metric, std::move(labels), std::move(read));
}

void MetricRegistry::add_gauge(Registration& to, const MetricInfo& metric, Labels labels,
                               std::function<double()> read) {
  add_series(to, metric, [labels = std::move(labels), read = std::move(read)] {
    return Samples{{labels, read()}};
  });
}

void MetricRegistry::add_series(Registration& to, const MetricInfo& metric,
                                std::function<Samples()> read) {
  TAILRACE_CHECK(metric.type != MetricType::kHistogram, "a histogram is added as such");
  const bool counter = metric.type == MetricType::kCounter;
  auto collect = [counter, read = std::move(read)](auto& into) {
    for (const auto& [labels, value] : read()) {
      Series series;
      series.metric.label = labels_of(labels);
      (counter ? series.metric.counter.value : series.metric.gauge.value) = value;
      into.push_back(std::move(series));
    }
  };
  to.ids_.push_back(state_->add({metric, std::move(collect)}));
}

void MetricRegistry::add_histogram(Registration& to, const MetricInfo& metric, Labels labels,
                                   const Histogram& histogram) {
  add_histogram(to, metric, std::move(labels), [&histogram] { return histogram.snapshot(); });
}

void MetricRegistry::add_histogram(Registration& to, const MetricInfo& metric, Labels labels,
                                   std::function<Histogram::Snapshot()> read) {
  TAILRACE_CHECK(metric.type == MetricType::kHistogram, "only histograms have buckets");
  auto collect = [labels = std::move(labels), read = std::move(read)](auto& into) {
    into.push_back(histogram_series(labels, read()));
  };
  to.ids_.push_back(state_->add({metric, std::move(collect)}));
}

void MetricRegistry::tell_old_names(bool tell) {
  const MutexLock lock(state_->mutex);
  state_->old_names = tell;
}

std::string MetricRegistry::expose(Exposition how) const {
  std::vector<Family> families;
  {
    const MutexLock lock(state_->mutex);
    families = state_->collect();
  }
  if (how == Exposition::kOpenMetrics) return open_metrics_text(families);
  std::vector<prometheus::MetricFamily> plain;
  for (Family& family : families) {
    prometheus::MetricFamily& each =
        plain.emplace_back(prometheus::MetricFamily{family.name, family.help, family.type, {}});
    for (Series& series : family.series)
      each.metric.push_back(std::move(series.metric));
  }
  return prometheus::TextSerializer().Serialize(plain);
}

}  // namespace tailrace::observability
