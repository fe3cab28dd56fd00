#pragma once
// How the values of users' keys stand in the store (docs/formats/command.md).
//
//   0  u8   flags   bit 0: a time is given; bit 1: a position is; others zero
//   .. u64  expires_at_ns, with bit 0 only
//   .. u64  modified_at, with bit 1 only
//   .. the value

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "core/bytes.h"

namespace tailrace::statemachine {

/// The first byte of keys in the store.
inline constexpr char kUserKey = 'u', kSessionKey = 's', kAnswerKey = 'a', kOnceKey = 'o',
                      kMachineKey = 'm';

/// Of what the state consists of, written in it under `mformat`. 1 had neither that key, nor times
/// in users' values, nor answers outside of their session's entry. 3 begins at the log's first
/// record of rules: it has those, and bounds in sessions' entries. 4 begins at the first record of
/// rules with limits: sessions and answers have addresses, and `mevicted` says what is left of
/// sessions that were evicted. 5 begins at the first record of rules with positions: users' values
/// have positions from there on.
inline constexpr uint32_t kStateFormat = 5, kStateFormatBeforePositions = 4,
                          kStateFormatBeforeLimits = 3, kStateFormatBeforeRules = 2;

/// Unix time, compared with the log time; 0: never.
using ExpiryTime = uint64_t;

struct StateValue {
  ByteSpan value;
  ExpiryTime expires_at_ns = 0;
  /// The log address of the record that wrote it last; 0: of before rules with positions.
  uint64_t modified_at = 0;

  bool is_expired(uint64_t log_time_ns) const {
    return expires_at_ns != 0 && expires_at_ns <= log_time_ns;
  }
};

/// More than this is added to no value.
inline constexpr size_t kMostStateValueOverhead = 17;

/// Replaces `into`.
void encode_state_value(const StateValue& value, std::string& into);
/// Views into `stored`. Nothing when it is no value.
std::optional<StateValue> decode_state_value(ByteSpan stored);

/// The log time before which pairs may be gone for good: every state that this node can still come
/// back to has it behind it. Given to the store's compaction, moved by the checkpointer.
class ExpiryHorizon {
 public:
  /// Whether the pair of the store has expired by then.
  bool is_garbage(ByteSpan key, ByteSpan stored) const;
  /// Never back.
  void advance(uint64_t log_time_ns);
  uint64_t log_time_ns() const { return log_time_ns_.load(std::memory_order_acquire); }

 private:
  std::atomic<uint64_t> log_time_ns_{0};
};

}  // namespace tailrace::statemachine
