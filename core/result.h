#pragma once
// Expected outcomes are values: every call that can fail for a reason the caller may meet in
// production returns a Result. A broken invariant is no such outcome; it goes to TAILRACE_CHECK.

#include <string>
#include <string_view>
#include <utility>

#include <tl/expected.hpp>

namespace tailrace {

enum class ErrorCode {
  kInvalidArgument,     // the caller's value can never work
  kNotFound,            // absent key, file, record
  kAlreadyExists,       //
  kWouldBlock,          // a try form: full now, later it may work
  kTimedOut,            // the deadline passed; nothing is said about the outcome
  kCancelled,           // the caller's own stop request
  kClosed,              // the object was closed, or is closing
  kResourceExhausted,   // a configured limit (memory, disk budget, connections) is reached
  kFailedPrecondition,  // valid in itself, refused in the present state
  kInUse,               // a directory or port that another process holds
  kTruncated,           // an address below `begin`
  kOutOfRange,          // an address beyond what exists
  kCorruption,          // bytes that do not check; never guessed around
  kUnsupported,         // a newer format or protocol version
  kIo,                  // the operating system refused an input or output
  kNotLeader,           // this node cannot answer; the message names the leader where known
  kUnavailable,         // unreachable, or not ready yet
  kUnknownOutcome,      // it may or may not have happened
  kLast = kUnknownOutcome
};
inline constexpr size_t kErrorCodes = static_cast<size_t>(ErrorCode::kLast) + 1;

/// The code's name in snake case ("would_block"): stable, used in logs, metrics and JSON.
std::string_view name_of(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::kInvalidArgument;
  /// For a person: what was tried, on which file, line or address, and the remedy.
  std::string message;

  bool operator==(const Error&) const = default;
};

template <typename T = void>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> make_error(ErrorCode code, std::string message) {
  return tl::unexpected<Error>(Error{code, std::move(message)});
}

/// An Error of kIo from errno (or a negative io_uring result), naming call and file:
/// "fdatasync of /data/log/0000.seg: Input/output error". ENOSPC becomes kResourceExhausted,
/// ENOENT kNotFound, EEXIST kAlreadyExists.
Error io_error(std::string_view call, std::string_view file, int error_number);

/// The same error with what was being done put in front: "open log: …".
Error with_context(std::string_view context, Error error);

}  // namespace tailrace

/// Evaluates a Result expression and returns its error from the enclosing function.
#define TAILRACE_RETURN_IF_ERROR(...)                                                  \
  do {                                                                                 \
    auto tailrace_result_ = (__VA_ARGS__);                                             \
    if (!tailrace_result_) return tl::unexpected(std::move(tailrace_result_).error()); \
  } while (false)

/// Evaluates a Result expression and returns its error from the enclosing function, or moves its
/// value into what is declared or named first:
///   TAILRACE_ASSIGN_OR_RETURN(const auto file, files.open(path));
///   TAILRACE_ASSIGN_OR_RETURN(member_, make());
/// These are several statements: not the body of an if or a loop without braces. The first argument
/// has no comma. Two cannot share a line, and a macro with a lambda in its arguments is one line.
#define TAILRACE_ASSIGN_OR_RETURN(declaration, ...) \
  TAILRACE_ASSIGN_OR_RETURN_AT_(declaration, __LINE__, __VA_ARGS__)

// The result is named after the line, so that a function may have many; two levels, so that the
// number is there before it is joined.
#define TAILRACE_ASSIGN_OR_RETURN_AT_(declaration, line, ...) \
  TAILRACE_ASSIGN_OR_RETURN_AS_(declaration, line, __VA_ARGS__)
#define TAILRACE_ASSIGN_OR_RETURN_AS_(declaration, line, ...)                                    \
  auto tailrace_result_##line = (__VA_ARGS__);                                                   \
  if (!tailrace_result_##line) return tl::unexpected(std::move(tailrace_result_##line).error()); \
  declaration = *std::move(tailrace_result_##line)
