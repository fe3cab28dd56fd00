#pragma once
// The rules: every number by which applying decides, beside the log's records themselves. They are
// in the log (Operation::kRules), so that all nodes change them at the same address; a node's file
// says only what it wants them to be while it leads. docs/formats/command.md has the bytes.
//
// A session that is not known (any more) may begin with serial 1. For a repeat of a command that
// was applied long ago not to look like that, its first command has a bound, `begins_before`:
//
//   begin   an unknown session begins at log time L only if L <= bound <= L + ttl;
//   end     a session ends at a mark of log time T only if T > last use + ttl, and T > bound.
//
// So whatever the ttl becomes meanwhile: a session that has ended did so at a T above its bound,
// log time never goes back, and the repeat, whose bound is the same, finds L >= T > bound. And
// whatever a client makes up as its bound, no session is held longer by it than its ttl was.

#include <chrono>
#include <cstdint>
#include <vector>

#include "core/bytes.h"
#include "core/result.h"

namespace tailrace::statemachine {

struct Rules {
  uint64_t session_ttl_ns = 3600ull * 1'000'000'000;  // since its last command, by log time
  uint32_t session_answers = 1024;                    // remembered for each session
  uint32_t session_answer_bytes = 64u << 10;          // the same; at most kMostAnswerBytes
  bool operator==(const Rules&) const = default;
};

inline constexpr std::chrono::seconds kLeastSessionTtl{1};
inline constexpr std::chrono::seconds kMostSessionTtl = std::chrono::hours(24 * 3650);
inline constexpr uint32_t kMostSessionAnswers = 65536;
inline constexpr uint32_t kMostAnswerBytes = 64u << 10;

inline constexpr size_t kRulesBytes = 24;

/// Replaces `into`.
void encode(const Rules& rules, std::vector<std::byte>& into);
/// kUnsupported for a newer version of the layout, kCorruption for anything else that encode()
/// would not have written.
Result<Rules> decode_rules(ByteSpan bytes);
/// kInvalidArgument naming the limit.
Result<> validate(const Rules& rules);

/// Sessions end up to so much later than their ttl says: a mark that moves the log time by less
/// dates nothing anew.
constexpr uint64_t session_slack_ns(const Rules& rules) {
  return rules.session_ttl_ns / 16;
}

/// Whether an unknown session may begin with a command that has this bound (see above).
constexpr bool may_begin(uint64_t begins_before_ns, uint64_t log_time_ns, const Rules& rules) {
  return log_time_ns <= begins_before_ns && begins_before_ns - log_time_ns <= rules.session_ttl_ns;
}

/// Whether a session that was used last at `last_ns` is older than its ttl allows.
constexpr bool is_too_old(uint64_t last_ns, uint64_t log_time_ns, const Rules& rules) {
  return log_time_ns > last_ns &&
         log_time_ns - last_ns > rules.session_ttl_ns + session_slack_ns(rules);
}

/// Whether the bound still holds a session that is too old.
constexpr bool is_held(uint64_t begins_before_ns, uint64_t log_time_ns) {
  return begins_before_ns >= log_time_ns;
}

}  // namespace tailrace::statemachine
