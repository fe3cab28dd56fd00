#pragma once

#include <cstdint>
#include <string_view>

namespace tailrace {

/// How far a voter's word counts. A new disk begins with kNone: what its predecessor acknowledged
/// is gone with it, so it may not help to choose a leader until it holds all of that again.
enum class Vote : uint8_t {
  kNone = 0,
  kProvisional = 1,  // counts; the cluster is in its first hours and may still lack a majority
  kFull = 2,         // counts, and so does a majority of the others: the cluster has begun
};

/// As it is sent and kept; of a newer program: none is the safe reading.
constexpr Vote vote_of(uint8_t number) {
  return number <= static_cast<uint8_t>(Vote::kFull) ? static_cast<Vote>(number) : Vote::kNone;
}

/// "none", "provisional" or "full": as `status --json` has it.
constexpr std::string_view name_of(Vote vote) {
  switch (vote) {
    case Vote::kNone:
      return "none";
    case Vote::kProvisional:
      return "provisional";
    case Vote::kFull:
      break;
  }
  return "full";
}

}  // namespace tailrace
