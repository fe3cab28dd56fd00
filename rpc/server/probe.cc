#include "rpc/server/probe.h"

namespace tailrace::rpc {

std::string_view name_of(RequestResult result) {
  switch (result) {
    case RequestResult::kOk:
      return "ok";
    case RequestResult::kRefused:
      return "refused";
    case RequestResult::kNotLeader:
      return "not_leader";
    case RequestResult::kUnknownOutcome:
      return "unknown_outcome";
    case RequestResult::kFailed:
      return "failed";
  }
  return "unknown";
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

Probe::Probe() {
  for (auto& histogram : seconds)
    histogram = std::make_unique<observability::Histogram>(observability::latency_bounds_s());
  for (auto& histogram : stages)
    histogram = std::make_unique<observability::Histogram>(observability::latency_bounds_s());
}

void Probe::register_at(observability::MetricRegistry& registry) {
  registration_ = registry.registration();
  for (size_t kind = 0; kind < kRequestKinds; ++kind) {
    const std::string kind_name(kRequests[kind].name);
    for (size_t result = 0; result < kRequestResults; ++result)
      registry.add_counter(registration_, "tailrace_rpc_requests_total",
                           "Requests answered, by kind and result.",
                           {{"kind", kind_name},
                            {"result", std::string(name_of(static_cast<RequestResult>(result)))}},
                           requests[kind][result]);
    registry.add_histogram(registration_, "tailrace_rpc_request_seconds",
                           "From a request's arrival to its answer.", {{"kind", kind_name}},
                           *seconds[kind]);
  }
  registry.add_counter(registration_, "tailrace_rpc_received_bytes_total",
                       "Bytes received from clients.", {}, traffic.bytes_in);
  registry.add_counter(registration_, "tailrace_rpc_sent_bytes_total", "Bytes sent to clients.", {},
                       traffic.bytes_out);
  registry.add_counter(registration_, "tailrace_rpc_bad_frames_total",
                       "Connections closed because of a frame that is none.", {},
                       traffic.bad_frames);
  registry.add_counter(registration_, "tailrace_rpc_accepted_connections_total",
                       "Client connections accepted.", {}, accepted);
  registry.add_counter(registration_, "tailrace_rpc_evicted_connections_total",
                       "Idle client connections closed to make room for others.", {}, evicted);
  registry.add_counter(registration_, "tailrace_rpc_timed_out_connections_total",
                       "Client connections closed because nothing came, a frame did not end, or "
                       "answers were not read, for too long.",
                       {}, timed_out);
  registry.add_counter(
      registration_, "tailrace_rpc_stalls_total",
      "Times that a connection was not read: the log's buffer was full, or too much "
      "was in flight or not applied yet.",
      {}, stalls);
  registry.add_gauge(registration_, "tailrace_rpc_connections", "Client connections open now.", {},
                     [this] { return static_cast<double>(connections.load()); });
  registry.add_gauge(registration_, "tailrace_rpc_in_flight_requests",
                     "Requests taken and not answered yet.", {},
                     [this] { return static_cast<double>(in_flight.load()); });
}

}  // namespace tailrace::rpc
