#pragma once
// What the service counts.

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "core/clock.h"
#include "core/result.h"
#include "observability/metrics.h"
#include "rpc/framed_socket.h"

namespace tailrace::rpc {

enum class RequestKind : uint8_t {
  kPut,
  kDelete,
  kAdd,
  kCas,
  kAppend,
  kGet,
  kTail,
  kStatus,
  kCheckpoint,
  kDigest,
  kScan,
  kExpire,
  kTransfer,
  kPromote,
  kChangeMember,
};
inline constexpr size_t kRequestKinds = 15;
std::string_view name_of(RequestKind kind);

enum class RequestResult : uint8_t { kOk, kRefused, kNotLeader, kUnknownOutcome, kFailed };
inline constexpr size_t kRequestResults = 5;
std::string_view name_of(RequestResult result);
RequestResult result_of(ErrorCode code);

/// Any thread.
struct Probe {
  Probe();

  void count(RequestKind kind, RequestResult result, SteadyTime started) {
    requests[static_cast<size_t>(kind)][static_cast<size_t>(result)].add();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
    seconds[static_cast<size_t>(kind)]->observe(took.count());
  }
  void register_at(observability::MetricRegistry& registry);

  std::array<std::array<observability::Counter, kRequestResults>, kRequestKinds> requests;
  std::array<std::unique_ptr<observability::Histogram>, kRequestKinds> seconds;
  Traffic traffic;
  observability::Counter accepted, evicted, timed_out, stalls;
  std::atomic<int64_t> connections{0}, in_flight{0};

 private:
  observability::MetricRegistry::Registration registration_;  // last: goes first
};

}  // namespace tailrace::rpc
