#include "app/verb_common.h"

#include <cstdio>

namespace tailrace::app {

int report(const Error& error) {
  std::fprintf(stderr, "tailrace: %s\n", error.message.c_str());
  switch (error.code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kNotFound:
      return kUsage;
    case ErrorCode::kTimedOut:
    case ErrorCode::kUnavailable:
      return kUnreachable;
    default:
      return kRefused;
  }
}

}  // namespace tailrace::app
