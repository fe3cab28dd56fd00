#include "rpc/server/activity.h"

#include <algorithm>

#include "observability/process_metrics.h"
#include "storage/file_system.h"

namespace tailrace::rpc {
namespace {

// Shorter than anybody looks at it again.
constexpr std::chrono::milliseconds kMoment{50};

using Activity = NodeStatusAnswer::Activity;

enum class RequestClass : uint8_t { kWrite, kRead, kOther };

constexpr RequestClass class_of(RequestKind kind) {
  switch (kind) {
    case RequestKind::kPut:
    case RequestKind::kDelete:
    case RequestKind::kAdd:
    case RequestKind::kCas:
    case RequestKind::kAppend:
    case RequestKind::kExpire:
    case RequestKind::kTxn:
      return RequestClass::kWrite;
    case RequestKind::kGet:
    case RequestKind::kScan:
    case RequestKind::kReadStream:
    case RequestKind::kListStreams:
    case RequestKind::kMget:
      return RequestClass::kRead;
    case RequestKind::kTail:
    case RequestKind::kStatus:
    case RequestKind::kCheckpoint:
    case RequestKind::kDigest:
    case RequestKind::kHistory:
    case RequestKind::kTransfer:
    case RequestKind::kPromote:
    case RequestKind::kChangeMember:
      break;
  }
  return RequestClass::kOther;
}

void add_error(ErrorCode code, uint64_t count, Activity& activity) {
  switch (result_of(code)) {
    case RequestResult::kOk:
      break;
    case RequestResult::kRefused:
      activity.refused += count;
      break;
    case RequestResult::kNotLeader:
    case RequestResult::kElsewhere:
      activity.not_leader += count;
      break;
    case RequestResult::kUnknownOutcome:
    case RequestResult::kFailed:
      activity.failed += count;
      break;
  }
}

void fill_requests(const Probe& probe, Activity& activity) {
  for (const RequestInfo& request : kRequests) {
    const RequestKind kind = request.kind;
    const RequestClass what = class_of(kind);
    const uint64_t done = probe.requests(kind, RequestCounts::kOk);
    if (what == RequestClass::kWrite) activity.writes += done;
    if (what == RequestClass::kRead) activity.reads += done;
    activity.not_leader += probe.requests(kind, RequestCounts::kElsewhere);
    for (size_t i = 0; i < kErrorCodes; ++i) {
      const auto code = static_cast<ErrorCode>(i);
      add_error(code, probe.requests(kind, RequestCounts::place_of(code)), activity);
    }
    activity.record_bytes += probe.record_bytes(kind);
  }
  activity.events = probe.records(RequestKind::kAppend) + probe.records(RequestKind::kTxn);
}

void fill_stages(const Probe& probe, Activity& activity) {
  for (size_t stage = 0; stage < kStages; ++stage) {
    auto times = probe.stages[stage]->snapshot();
    activity.stages.push_back(
        {std::string(name_of(static_cast<Stage>(stage))), std::move(times.counts), times.sum});
    activity.stage_bounds_s = std::move(times.bounds);  // the same of all
  }
}

uint64_t at_least_0(int64_t number) {
  return static_cast<uint64_t>(std::max<int64_t>(0, number));
}

Activity measure(const ServerContext& context) {
  const Probe& probe = context.probe;
  Activity activity;
  const std::chrono::duration<double> uptime = std::chrono::steady_clock::now() - context.started;
  activity.uptime_s = uptime.count();
  activity.cpu_s = observability::process_cpu_seconds();
  const double resident = observability::process_resident_bytes();
  activity.resident_bytes = resident > 0 ? static_cast<uint64_t>(resident) : 0;  // or not known
  if (!context.options.data_directory.empty())
    if (const auto space = storage::posix_file_system().space(context.options.data_directory)) {
      activity.disk_free_bytes = space->available_bytes;
      activity.disk_capacity_bytes = space->capacity_bytes;
    }
  fill_requests(probe, activity);
  fill_stages(probe, activity);
  activity.in_flight = at_least_0(probe.in_flight());
  activity.connections = at_least_0(probe.connections.load(std::memory_order_relaxed));
  activity.tails = context.tails.load(std::memory_order_relaxed);
  return activity;
}

}  // namespace

std::shared_ptr<const Activity> activity_of(ServerContext& context) {
  const MutexLock lock(context.activity.mutex);
  const SteadyTime now = std::chrono::steady_clock::now();
  if (!context.activity.newest || now - context.activity.at > kMoment) {
    context.activity.newest = std::make_shared<const Activity>(measure(context));
    context.activity.at = now;
  }
  return context.activity.newest;
}

}  // namespace tailrace::rpc
