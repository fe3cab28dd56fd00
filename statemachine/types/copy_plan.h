#pragma once
// What one node tells another of a copy of its state (statemachine/state_copy.h).

#include <cstdint>
#include <string>
#include <vector>

#include "core/address.h"
#include "core/result.h"
#include "fasterlog/types/records.h"
#include "kv/types/copied_file.h"

namespace tailrace::statemachine {

/// What a copy consists of. The same token and fingerprint: the same bytes.
struct StateCopyPlan {
  uint64_t token = 0;
  uint64_t fingerprint = 0;
  std::string owner;  // of the source's store
  Address applied;
  AddressRange log;
  std::vector<fasterlog::EpochStart> epochs;     // of what lies before log.first
  fasterlog::ConfigurationTable configurations;  // the one in force there, if there was any
  std::vector<kv::CopiedFile> files;

  uint64_t file_bytes() const;
  uint64_t bytes() const { return file_bytes() + log.bytes(); }
  bool operator==(const StateCopyPlan&) const = default;
};
/// Nothing, or what no source would send (kCorruption): names that lead elsewhere, addresses out of
/// order, sizes that overflow.
Result<> check_plan(const StateCopyPlan& plan);

}  // namespace tailrace::statemachine
