#pragma once
// The first message of both sides: who I am, and what I speak.

#include <cstdint>

#include "core/result.h"

namespace tailrace::rpc {

/// Raised when a message's meaning changes; new fields and verbs do not raise it.
inline constexpr uint32_t kProtocolVersion = 1;
/// What a hello says of the cluster's identity before there is one.
inline constexpr const char* kNoIdentity = "none";

/// kUnsupported when `theirs` is newer than ours, kInvalidArgument when it is none.
Result<> check_protocol_version(uint32_t theirs);

}  // namespace tailrace::rpc
