#include "rpc/server/measure/probe.h"

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

Probe::Probe() {
  for (auto& histogram : seconds)
    histogram = std::make_unique<observability::Histogram>(observability::latency_bounds_s());
  for (auto& histogram : stages)
    histogram = std::make_unique<observability::Histogram>(observability::latency_bounds_s());
}

observability::MetricRegistry::Samples Probe::request_samples() const {
  observability::MetricRegistry::Samples samples;
  for (const RequestInfo& request : kRequests) {
    const auto& counters = requests[static_cast<size_t>(request.kind)];
    for (size_t result = 0; result < counters.size(); ++result) {
      const uint64_t count = counters[result].value();
      if (count == 0 && result != 0) continue;
      std::string_view name = name_of(RequestResult::kOk), code = name;
      if (result == kElsewherePlace) {
        name = name_of(RequestResult::kElsewhere);
        code = name_of(ErrorCode::kUnavailable);
      } else if (result != 0) {
        const auto error = static_cast<ErrorCode>(result - 1);
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
  for (const RequestInfo& request : kRequests) {
    const auto kind = static_cast<size_t>(request.kind);
    const observability::Labels labels{{"kind", std::string(request.name)}};
    registry.add_histogram(to, observability::metric("tailrace_rpc_request_duration_seconds"),
                           labels, *seconds[kind]);
    if (!request.writes) continue;
    registry.add_counter(to, observability::metric("tailrace_rpc_records_total"), labels,
                         records[kind]);
    registry.add_counter(to, observability::metric("tailrace_rpc_record_bytes_total"), labels,
                         record_bytes[kind]);
  }
  for (size_t stage = 0; stage < kStages; ++stage)
    registry.add_histogram(to, observability::metric("tailrace_rpc_request_stage_duration_seconds"),
                           {{"stage", std::string(name_of(static_cast<Stage>(stage)))}},
                           *stages[stage]);
  for (size_t level = 0; level < kReadLevels; ++level)
    for (size_t from = 0; from < kReadFroms; ++from)
      registry.add_counter(
          to, observability::metric("tailrace_rpc_reads_total"),
          {{"level", std::string(name_of(static_cast<ReadLevelKind>(level)))},
           {"from", from == static_cast<size_t>(ReadFrom::kMemory) ? "memory" : "disk"}},
          reads[level][from]);
}

void Probe::register_at(observability::MetricRegistry& registry) {
  registration_ = registry.registration();
  register_requests(registry);
  registry.add_histogram(registration_, observability::metric("tailrace_loop_lateness_seconds"),
                         {{"loop", "clients"}}, lateness);
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
                     [this] { return static_cast<double>(in_flight.load()); });
}

}  // namespace tailrace::rpc
