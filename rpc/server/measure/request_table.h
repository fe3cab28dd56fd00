#pragma once
// The requests of clients, and what is told of them. Internal.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/result.h"
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
  kTxn,
  kReadStream,
  kListStreams,
  kMget,
  kHistory,
  kLast = kHistory
};
inline constexpr size_t kRequestKinds = static_cast<size_t>(RequestKind::kLast) + 1;

/// Who answers a request.
enum class AnsweredBy : uint8_t {
  kLeader,
  kAnyNode,
  kOneOrTheOther  // what the request says decides: the read level; a command or a question
};
/// The table of requests: what is counted of them, who answers them, which are answered when all
/// places are taken (server.max_connections), and which put records into the log.
struct RequestInfo {
  RequestKind kind;
  std::string_view name;  // the label of the metrics
  AnsweredBy answered_by;
  bool of_operators;
  bool writes;  // to the log
};
// clang-format off
inline constexpr std::array<RequestInfo, kRequestKinds> kRequests{{
    {RequestKind::kPut,          "put",           AnsweredBy::kLeader,        false, true},
    {RequestKind::kDelete,       "delete",        AnsweredBy::kLeader,        false, true},
    {RequestKind::kAdd,          "add",           AnsweredBy::kLeader,        false, true},
    {RequestKind::kCas,          "cas",           AnsweredBy::kLeader,        false, true},
    {RequestKind::kAppend,       "append",        AnsweredBy::kLeader,        false, true},
    {RequestKind::kGet,          "get",           AnsweredBy::kOneOrTheOther, false, false},
    {RequestKind::kTail,         "tail",          AnsweredBy::kAnyNode,       false, false},
    {RequestKind::kStatus,       "status",        AnsweredBy::kAnyNode,       true, false},
    {RequestKind::kCheckpoint,   "checkpoint",    AnsweredBy::kAnyNode,       true, false},
    {RequestKind::kDigest,       "digest",        AnsweredBy::kOneOrTheOther, true, true},
    {RequestKind::kScan,         "scan",          AnsweredBy::kOneOrTheOther, false, false},
    {RequestKind::kExpire,       "expire",        AnsweredBy::kLeader,        false, true},
    {RequestKind::kTransfer,     "transfer",      AnsweredBy::kLeader,        true, false},
    {RequestKind::kPromote,      "promote",       AnsweredBy::kAnyNode,       true, false},
    {RequestKind::kChangeMember, "change_member", AnsweredBy::kLeader,        true, false},
    {RequestKind::kTxn,          "txn",           AnsweredBy::kLeader,        false, true},
    {RequestKind::kReadStream,   "read_stream",   AnsweredBy::kOneOrTheOther, false, false},
    {RequestKind::kListStreams,  "list_streams",  AnsweredBy::kOneOrTheOther, false, false},
    {RequestKind::kMget,         "mget",          AnsweredBy::kOneOrTheOther, false, false},
    {RequestKind::kHistory,      "history",       AnsweredBy::kOneOrTheOther, true, true},
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
  if (operation == statemachine::Operation::kScavenge) return RequestKind::kHistory;
  for (const RequestInfo& request : kRequests)
    if (request.name == info_of(operation).name) return request.kind;
  return RequestKind::kPut;
}

enum class RequestResult : uint8_t {
  kOk,
  kRefused,
  kNotLeader,
  kElsewhere,  // another node may answer it, and clients ask one
  kUnknownOutcome,
  kFailed,
  kLast = kFailed
};
std::string_view name_of(RequestResult result);
RequestResult result_of(ErrorCode code);

/// The parts of a write's time, one after the other (docs/reference/metrics.md has them).
enum class Stage : uint8_t { kHeld, kEnqueue, kFlush, kCommit, kApply, kAnswer, kLast = kAnswer };
inline constexpr size_t kStages = static_cast<size_t>(Stage::kLast) + 1;
std::string_view name_of(Stage stage);

/// How a read may be answered; wire::ReadLevel, for the metrics.
enum class ReadLevelKind : uint8_t { kLinearizable, kAny, kAtLeast, kBounded, kLast = kBounded };
inline constexpr size_t kReadLevels = static_cast<size_t>(ReadLevelKind::kLast) + 1;
std::string_view name_of(ReadLevelKind level);
/// Where a key was found, or found absent.
enum class ReadFrom : uint8_t { kMemory, kDisk, kLast = kDisk };
inline constexpr size_t kReadFroms = static_cast<size_t>(ReadFrom::kLast) + 1;

/// Of all histograms of requests and of their stages.
std::span<const double> request_bounds_s();

}  // namespace tailrace::rpc
