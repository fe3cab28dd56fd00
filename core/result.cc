#include "core/result.h"

#include <cerrno>
#include <system_error>

namespace tailrace {

std::string_view name_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return "invalid_argument";
    case ErrorCode::kNotFound:
      return "not_found";
    case ErrorCode::kAlreadyExists:
      return "already_exists";
    case ErrorCode::kWouldBlock:
      return "would_block";
    case ErrorCode::kTimedOut:
      return "timed_out";
    case ErrorCode::kCancelled:
      return "cancelled";
    case ErrorCode::kClosed:
      return "closed";
    case ErrorCode::kResourceExhausted:
      return "resource_exhausted";
    case ErrorCode::kFailedPrecondition:
      return "failed_precondition";
    case ErrorCode::kInUse:
      return "in_use";
    case ErrorCode::kTruncated:
      return "truncated";
    case ErrorCode::kOutOfRange:
      return "out_of_range";
    case ErrorCode::kCorruption:
      return "corruption";
    case ErrorCode::kUnsupported:
      return "unsupported";
    case ErrorCode::kIo:
      return "io";
    case ErrorCode::kNotLeader:
      return "not_leader";
    case ErrorCode::kUnavailable:
      return "unavailable";
    case ErrorCode::kUnknownOutcome:
      return "unknown_outcome";
  }
  return "unknown";
}

Error io_error(std::string_view call, std::string_view file, int error_number) {
  if (error_number < 0) error_number = -error_number;
  ErrorCode code = ErrorCode::kIo;
  if (error_number == ENOSPC || error_number == EDQUOT) code = ErrorCode::kResourceExhausted;
  if (error_number == ENOENT) code = ErrorCode::kNotFound;
  if (error_number == EEXIST) code = ErrorCode::kAlreadyExists;
  std::string message(call);
  message += " of ";
  message += file;
  message += ": ";
  message += std::generic_category().message(error_number);
  return Error{code, std::move(message)};
}

Error with_context(std::string_view context, Error error) {
  std::string message(context);
  message += ": ";
  if (error.message.starts_with(message)) return error;
  message += error.message;
  error.message = std::move(message);
  return error;
}

}  // namespace tailrace
