#include "rpc/server/measure/probe.h"

#include <cmath>

#include "observability/metric_table.h"

namespace tailrace::rpc {

std::string_view name_of(RequestResult result) {
  switch (result) {
    case RequestResult::kOk:
      return "ok";
    case RequestResult::kRefused:
      return "refused";
    case RequestResult::kNotLeader:
      return "not_leader";
    case RequestResult::kElsewhere:
      return "elsewhere";
    case RequestResult::kUnknownOutcome:
      return "unknown_outcome";
    case RequestResult::kFailed:
      return "failed";
  }
  return "unknown";
}

RequestResult result_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kNotLeader:
      return RequestResult::kNotLeader;
    case ErrorCode::kUnknownOutcome:
      return RequestResult::kUnknownOutcome;
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kFailedPrecondition:
    case ErrorCode::kResourceExhausted:
    case ErrorCode::kTruncated:
    case ErrorCode::kOutOfRange:
    case ErrorCode::kNotFound:
    case ErrorCode::kUnsupported:
      return RequestResult::kRefused;
    default:
      return RequestResult::kFailed;
  }
}

std::string_view name_of(Stage stage) {
  switch (stage) {
    case Stage::kHeld:
      return "held";
    case Stage::kEnqueue:
      return "enqueue";
    case Stage::kFlush:
      return "flush";
    case Stage::kCommit:
      return "commit";
    case Stage::kApply:
      return "apply";
    case Stage::kAnswer:
      return "answer";
  }
  return "unknown";
}

std::string_view name_of(ReadLevelKind level) {
  switch (level) {
    case ReadLevelKind::kLinearizable:
      return "linearizable";
    case ReadLevelKind::kAny:
      return "any";
    case ReadLevelKind::kAtLeast:
      return "at_least";
    case ReadLevelKind::kBounded:
      return "bounded";
  }
  return "unknown";
}

std::span<const double> request_bounds_s() {
  static const std::vector<double> bounds = observability::latency_bounds_s();
  return bounds;
}

Probe::Probe() {
  for (auto& histogram : stages)
    histogram = std::make_unique<observability::Histogram>(observability::latency_bounds_s());
}

RequestCounts& Probe::add_thread() {
  return *threads_.emplace_back(std::make_unique<RequestCounts>());
}

uint64_t Probe::requests(RequestKind kind, RequestCounts::Place place) const {
  return sum([&](const RequestCounts& of) -> auto& {
    return of.requests[static_cast<size_t>(kind)][place];
  });
}

uint64_t Probe::records(RequestKind kind) const {
  return sum([&](const RequestCounts& of) -> auto& {
    return of.records[static_cast<size_t>(kind)];
  });
}

uint64_t Probe::record_bytes(RequestKind kind) const {
  return sum([&](const RequestCounts& of) -> auto& {
    return of.record_bytes[static_cast<size_t>(kind)];
  });
}

int64_t Probe::in_flight() const {
  int64_t all = 0;
  for (const auto& thread : threads_)
    all += thread->in_flight();
  return all;
}

observability::Histogram::Snapshot Probe::seconds(RequestKind kind) const {
  observability::Histogram::Snapshot all;
  all.bounds.assign(request_bounds_s().begin(), request_bounds_s().end());
  all.counts.resize(all.bounds.size() + 1);
  for (const auto& thread : threads_)
    thread->seconds[static_cast<size_t>(kind)].add_to(all);
  return all;
}

namespace {
/// Errors that count against the cluster are told before the first one comes: a rate does not see
/// the step from nothing to a number. The others are told once they have come, for brevity.
bool is_told_from_start(const RequestInfo& request, RequestCounts::Place place) {
  if (place == RequestCounts::kOk) return true;
  if (place == RequestCounts::kElsewhere || request.of_operators) return false;
  switch (static_cast<ErrorCode>(place - 1)) {
    case ErrorCode::kUnknownOutcome:
      return request.writes;
    case ErrorCode::kTimedOut:
    case ErrorCode::kWouldBlock:
    case ErrorCode::kResourceExhausted:
    case ErrorCode::kCorruption:
    case ErrorCode::kIo:
    case ErrorCode::kUnavailable:
      return true;
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kNotFound:
    case ErrorCode::kAlreadyExists:
    case ErrorCode::kCancelled:
    case ErrorCode::kClosed:
    case ErrorCode::kFailedPrecondition:
    case ErrorCode::kInUse:
    case ErrorCode::kTruncated:
    case ErrorCode::kOutOfRange:
    case ErrorCode::kUnsupported:
    case ErrorCode::kNotLeader:
      return false;
  }
  return false;
}
}  // namespace

observability::MetricRegistry::Samples Probe::request_samples() const {
  observability::MetricRegistry::Samples samples;
  for (const RequestInfo& request : kRequests) {
    for (RequestCounts::Place place = 0; place <= RequestCounts::kElsewhere; ++place) {
      const uint64_t count = requests(request.kind, place);
      if (count == 0 && !is_told_from_start(request, place)) continue;
      std::string_view name = name_of(RequestResult::kOk), code = name;
      if (place == RequestCounts::kElsewhere) {
        name = name_of(RequestResult::kElsewhere);
        code = name_of(ErrorCode::kUnavailable);
      } else if (place != RequestCounts::kOk) {
        const auto error = static_cast<ErrorCode>(place - 1);
        name = name_of(result_of(error));
        code = name_of(error);
      }
      samples.push_back({{{"kind", std::string(request.name)},
                          {"result", std::string(name)},
                          {"code", std::string(code)}},
                         static_cast<double>(count)});
    }
  }
  return samples;
}

void Probe::register_requests(observability::MetricRegistry& registry) {
  auto& to = registration_;
  registry.add_series(to, observability::metric("tailrace_rpc_requests_total"),
                      [this] { return request_samples(); });
  const auto count = [&](const observability::MetricInfo& metric, observability::Labels labels,
                         auto read) {
    registry.add_counter(to, metric, std::move(labels),
                         [read] { return static_cast<double>(read()); });
  };
  for (const RequestInfo& request : kRequests) {
    const RequestKind kind = request.kind;
    const observability::Labels labels{{"kind", std::string(request.name)}};
    registry.add_histogram(to, observability::metric("tailrace_rpc_request_duration_seconds"),
                           labels, [this, kind] { return seconds(kind); });
    if (!request.writes) continue;
    count(observability::metric("tailrace_rpc_records_total"), labels,
          [this, kind] { return records(kind); });
    count(observability::metric("tailrace_rpc_record_bytes_total"), labels,
          [this, kind] { return record_bytes(kind); });
  }
  for (size_t stage = 0; stage < kStages; ++stage)
    registry.add_histogram(to, observability::metric("tailrace_rpc_request_stage_duration_seconds"),
                           {{"stage", std::string(name_of(static_cast<Stage>(stage)))}},
                           *stages[stage]);
  for (size_t level = 0; level < kReadLevels; ++level)
    for (size_t from = 0; from < kReadFroms; ++from)
      count(observability::metric("tailrace_rpc_reads_total"),
            {{"level", std::string(name_of(static_cast<ReadLevelKind>(level)))},
             {"from", from == static_cast<size_t>(ReadFrom::kMemory) ? "memory" : "disk"}},
            [this, level, from] {
              return sum([&](const RequestCounts& of) -> auto& { return of.reads[level][from]; });
            });
}

void Probe::register_at(observability::MetricRegistry& registry) {
  registration_ = registry.registration();
  register_requests(registry);
  registry.add_histogram(registration_, observability::metric("tailrace_loop_lateness_seconds"),
                         {{"loop", "clients"}}, lateness);
  registry.add_gauge(registration_, observability::metric("tailrace_loop_since_turn_seconds"),
                     {{"loop", "clients"}}, [this] {
                       double longest = observability::kNotKnown;
                       for (const auto& thread : threads_)
                         longest = std::fmax(longest, thread->turns.since());
                       return longest;
                     });
  registry.add_counter(registration_, observability::metric("tailrace_rpc_received_bytes_total"),
                       {}, traffic.bytes_in);
  registry.add_counter(registration_, observability::metric("tailrace_rpc_sent_bytes_total"), {},
                       traffic.bytes_out);
  registry.add_counter(registration_, observability::metric("tailrace_rpc_bad_frames_total"), {},
                       traffic.bad_frames);
  registry.add_counter(registration_,
                       observability::metric("tailrace_rpc_accepted_connections_total"), {},
                       accepted);
  registry.add_counter(
      registration_, observability::metric("tailrace_rpc_evicted_connections_total"), {}, evicted);
  registry.add_counter(registration_,
                       observability::metric("tailrace_rpc_timed_out_connections_total"), {},
                       timed_out);
  registry.add_counter(registration_, observability::metric("tailrace_rpc_stalls_total"), {},
                       stalls);
  registry.add_gauge(registration_, observability::metric("tailrace_rpc_connections"), {},
                     [this] { return static_cast<double>(connections.load()); });
  registry.add_gauge(registration_, observability::metric("tailrace_rpc_in_flight_requests"), {},
                     [this] { return static_cast<double>(in_flight()); });
}

}  // namespace tailrace::rpc
