#pragma once
// How far a copy of another node's state has come in.

#include <cstdint>
#include <string>
#include <string_view>

#include "core/address.h"

namespace tailrace::replication {

struct CheckpointCopyStatus {
  enum class Stage : uint8_t { kIdle, kAsking, kReceiving, kChecking, kComplete, kFailed };
  Stage stage = Stage::kIdle;
  NodeId from;
  uint64_t received = 0, bytes = 0;  // durable or on the way to the disk, of all
  std::string problem;               // why it does not go on, empty if well
};
/// "idle", "asking", …: stable, for status and JSON.
std::string_view name_of(CheckpointCopyStatus::Stage stage);

}  // namespace tailrace::replication
