#include "rpc/wire/wire_error.h"

#include <algorithm>
#include <iterator>

#include "rpc/wire/message.h"

namespace tailrace::rpc {
namespace {

constexpr ErrorCode kCodes[] = {
    ErrorCode::kInvalidArgument, ErrorCode::kNotFound,          ErrorCode::kAlreadyExists,
    ErrorCode::kWouldBlock,      ErrorCode::kTimedOut,          ErrorCode::kCancelled,
    ErrorCode::kClosed,          ErrorCode::kResourceExhausted, ErrorCode::kFailedPrecondition,
    ErrorCode::kInUse,           ErrorCode::kTruncated,         ErrorCode::kOutOfRange,
    ErrorCode::kCorruption,      ErrorCode::kUnsupported,       ErrorCode::kIo,
    ErrorCode::kNotLeader,       ErrorCode::kUnavailable,       ErrorCode::kUnknownOutcome,
};

}  // namespace

void write_error(const Error& error, std::string_view leader_address, wire::Error::Builder to) {
  to.setCode(std::string(name_of(error.code)).c_str());
  to.setMessage(error.message.c_str());
  if (!leader_address.empty()) to.setLeaderAddress(std::string(leader_address).c_str());
}

Error read_error(wire::Error::Reader from) {
  const std::string name = to_string(from.getCode());
  const auto* code = std::find_if(std::begin(kCodes), std::end(kCodes),
                                  [&](ErrorCode known) { return name_of(known) == name; });
  return Error{code == std::end(kCodes) ? ErrorCode::kUnavailable : *code,
               to_string(from.getMessage())};
}

}  // namespace tailrace::rpc
