#pragma once
// What the service counts.

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>

#include "core/clock.h"
#include "core/result.h"
#include "observability/metrics.h"
#include "rpc/wire/framed_socket.h"
#include "statemachine/command/command_table.h"

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
  kLast = kChangeMember
};
inline constexpr size_t kRequestKinds = static_cast<size_t>(RequestKind::kLast) + 1;

/// Who answers a request.
enum class AnsweredBy : uint8_t {
  kLeader,
  kAnyNode,
  kOneOrTheOther  // what the request says decides: the read level; a command or a question
};
/// The table of requests: what is counted of them, who answers them, and which are answered when
/// all places are taken (server.max_connections).
struct RequestInfo {
  RequestKind kind;
  std::string_view name;  // the label of the metrics
  AnsweredBy answered_by;
  bool of_operators;
};
// clang-format off
inline constexpr std::array<RequestInfo, kRequestKinds> kRequests{{
    {RequestKind::kPut,          "put",           AnsweredBy::kLeader,        false},
    {RequestKind::kDelete,       "delete",        AnsweredBy::kLeader,        false},
    {RequestKind::kAdd,          "add",           AnsweredBy::kLeader,        false},
    {RequestKind::kCas,          "cas",           AnsweredBy::kLeader,        false},
    {RequestKind::kAppend,       "append",        AnsweredBy::kLeader,        false},
    {RequestKind::kGet,          "get",           AnsweredBy::kOneOrTheOther, false},
    {RequestKind::kTail,         "tail",          AnsweredBy::kAnyNode,       false},
    {RequestKind::kStatus,       "status",        AnsweredBy::kAnyNode,       true},
    {RequestKind::kCheckpoint,   "checkpoint",    AnsweredBy::kAnyNode,       true},
    {RequestKind::kDigest,       "digest",        AnsweredBy::kOneOrTheOther, true},
    {RequestKind::kScan,         "scan",          AnsweredBy::kOneOrTheOther, false},
    {RequestKind::kExpire,       "expire",        AnsweredBy::kLeader,        false},
    {RequestKind::kTransfer,     "transfer",      AnsweredBy::kLeader,        true},
    {RequestKind::kPromote,      "promote",       AnsweredBy::kAnyNode,       true},
    {RequestKind::kChangeMember, "change_member", AnsweredBy::kLeader,        true},
}};
// clang-format on
constexpr bool requests_are_in_order() {
  for (size_t row = 0; row < kRequests.size(); ++row)
    if (static_cast<size_t>(kRequests[row].kind) != row) return false;
  return true;
}
static_assert(requests_are_in_order());
constexpr const RequestInfo& info_of(RequestKind kind) {
  return kRequests[static_cast<size_t>(kind)];
}

/// What a command is counted as: the request that has its name.
constexpr RequestKind kind_of(statemachine::Operation operation) {
  if (operation == statemachine::Operation::kInsert) return RequestKind::kCas;  // against absent
  for (const RequestInfo& request : kRequests)
    if (request.name == info_of(operation).name) return request.kind;
  return RequestKind::kPut;
}

enum class RequestResult : uint8_t {
  kOk,
  kRefused,
  kNotLeader,
  kUnknownOutcome,
  kFailed,
  kLast = kFailed
};
/// Where the time of a write goes, on the leader.
enum class Stage : uint8_t { kHeld, kEnqueue, kFlush, kCommit, kApply, kAnswer, kLast = kAnswer };
inline constexpr size_t kStages = static_cast<size_t>(Stage::kLast) + 1;
std::string_view name_of(Stage stage);

inline constexpr size_t kRequestResults = static_cast<size_t>(RequestResult::kLast) + 1;
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
  std::array<std::unique_ptr<observability::Histogram>, kStages> stages;
  std::array<observability::Counter, kRequestKinds> records, record_bytes;
  Traffic traffic;
  observability::Counter accepted, evicted, timed_out, stalls;
  std::atomic<int64_t> connections{0}, in_flight{0};

 private:
  observability::MetricRegistry::Registration registration_;  // last: goes first
};

}  // namespace tailrace::rpc
