#include <map>

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include "core/mutex.h"
#include "observability/metrics.h"

namespace tailrace::observability {

namespace {

std::vector<prometheus::ClientMetric::Label> labels_of(const Labels& labels) {
  std::vector<prometheus::ClientMetric::Label> result;
  for (const auto& [name, value] : labels) {
    result.push_back({name, value});
  }
  return result;
}

prometheus::ClientMetric histogram_metric(const Labels& labels, const Histogram& histogram) {
  const Histogram::Snapshot now = histogram.snapshot();
  prometheus::ClientMetric metric;
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
  return metric;
}

}  // namespace

struct MetricRegistry::Registration::State {
  /// One add call: a family's name and help, and how to read its series now.
  struct Source {
    std::string name;
    std::string help;
    prometheus::MetricType type;
    std::function<void(std::vector<prometheus::ClientMetric>&)> collect;
  };

  mutable Mutex mutex;
  uint64_t next_id TAILRACE_GUARDED_BY(mutex) = 1;
  std::map<uint64_t, Source> sources TAILRACE_GUARDED_BY(mutex);  // in the order of addition

  uint64_t add(Source source) {
    const MutexLock lock(mutex);
    const uint64_t id = next_id++;
    sources.emplace(id, std::move(source));
    return id;
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

void MetricRegistry::add_counter(Registration& to, std::string name, std::string help,
                                 Labels labels, const Counter& counter) {
  add_counter(to, std::move(name), std::move(help), std::move(labels),
              [&counter] { return static_cast<double>(counter.value()); });
}

void MetricRegistry::add_counter(Registration& to, std::string name, std::string help,
                                 Labels labels, std::function<double()> read) {
  auto collect = [labels = std::move(labels), read = std::move(read)](auto& into) {
    prometheus::ClientMetric metric;
    metric.label = labels_of(labels);
    metric.counter.value = read();
    into.push_back(std::move(metric));
  };
  to.ids_.push_back(state_->add(
      {std::move(name), std::move(help), prometheus::MetricType::Counter, std::move(collect)}));
}

void MetricRegistry::add_gauge(Registration& to, std::string name, std::string help, Labels labels,
                               std::function<double()> read) {
  add_gauges(to, std::move(name), std::move(help),
             [labels = std::move(labels), read = std::move(read)] {
               return Samples{{labels, read()}};
             });
}

void MetricRegistry::add_gauges(Registration& to, std::string name, std::string help,
                                std::function<Samples()> read) {
  auto collect = [read = std::move(read)](auto& into) {
    for (const auto& [labels, value] : read()) {
      prometheus::ClientMetric metric;
      metric.label = labels_of(labels);
      metric.gauge.value = value;
      into.push_back(std::move(metric));
    }
  };
  to.ids_.push_back(state_->add(
      {std::move(name), std::move(help), prometheus::MetricType::Gauge, std::move(collect)}));
}

void MetricRegistry::add_histogram(Registration& to, std::string name, std::string help,
                                   Labels labels, const Histogram& histogram) {
  auto collect = [labels = std::move(labels), &histogram](auto& into) {
    into.push_back(histogram_metric(labels, histogram));
  };
  to.ids_.push_back(state_->add(
      {std::move(name), std::move(help), prometheus::MetricType::Histogram, std::move(collect)}));
}

std::string MetricRegistry::expose() const {
  // Series of one name stand together, as the text format demands, whoever added them.
  std::vector<prometheus::MetricFamily> families;
  std::map<std::string, size_t> places;
  {
    const MutexLock lock(state_->mutex);
    for (const auto& [id, source] : state_->sources) {
      const auto [place, is_new] = places.try_emplace(source.name, families.size());
      if (is_new) families.push_back({source.name, source.help, source.type, {}});
      source.collect(families[place->second].metric);
    }
  }
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace tailrace::observability
