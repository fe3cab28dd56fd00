#pragma once
// The rules: every number by which applying decides, beside the log's records themselves. They are
// in the log (Operation::kRules), so that all nodes change them at the same address; a node's file
// says only what it wants them to be while it leads. docs/formats/command.md has the bytes.
//
// A session that is not known (any more) may begin with serial 1. For a repeat of a command that
// was applied long ago not to look like that, its first command has a bound, `begins_before`:
//
//   begin   an unknown session begins at log time L only if
//           L <= bound,  bound > floor,  bound <= max(L + ttl, floor + 1);
//   end     a session ends at a mark of log time T only if T > last use + ttl, and T > bound;
//   evict   where there are limits and more sessions than these allow, the one whose last use is
//           oldest goes, and floor becomes the greater of itself and that one's bound.
//
// So whatever the ttl becomes meanwhile: a session that has ended did so at a T above its bound,
// log time never goes back, and the repeat, whose bound is the same, finds L >= T > bound. That of
// one that was evicted finds bound <= floor, which never falls.
//
// Nobody makes up a bound that keeps others out. Clients are told max(L + ttl, floor + 1) at each
// hello, and again with each refusal; this is above the floor and as great as any bound can be.
// While the ttl stays, every known session began with a bound of at most that. The floor reaches
// what a client was told only when a session is evicted that began later than it was told, or at
// the same log time; before that, all that were used earlier must go, so as many others as there
// may be sessions have to come in between. Where a greater ttl was in force before, each eviction
// of a session of then lifts the floor, and a client may have to ask again; `floor + 1` lets it in,
// and lets the floor rise by no more than a nanosecond with each full turn of the sessions.
//
// A first command without a bound (of an older client) cannot be told from its repeat. Where no
// session without a bound was evicted, it begins; else not before the last of those would have
// ended by itself.

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/bytes.h"
#include "core/result.h"

namespace tailrace::statemachine {

/// How much all sessions together may take: of rules of version 2.
struct SessionLimits {
  /// Known at a time; beyond it the one whose last use is oldest is evicted. Each takes about 90
  /// bytes of memory on every node. More where clients are told unknown outcomes after evictions.
  uint32_t sessions = 100'000;
  /// A longer value is not kept with its answer. More where clients that repeat a lost cas need it.
  uint32_t answer_value_bytes = 1u << 10;
  /// Of memory for all kept answers (KeptAnswers::kOverheadBytes and the value each); beyond it the
  /// oldest is forgotten. More where repeats are told that their answer is no longer kept.
  uint64_t answers_bytes = 64u << 20;
  bool operator==(const SessionLimits&) const = default;
};

struct Rules {
  uint64_t session_ttl_ns = 3600ull * 1'000'000'000;  // since its last command, by log time
  uint32_t session_answers = 1024;                    // remembered for each session
  uint32_t session_answer_bytes = 64u << 10;          // the same; at most kMostAnswerBytes
  std::optional<SessionLimits> limits = {};           // without them: rules of version 1
  /// Keys remember where they were last modified. With limits: rules of version 3.
  bool positions = false;
  bool operator==(const Rules&) const = default;
};

inline constexpr std::chrono::seconds kLeastSessionTtl{1};
inline constexpr std::chrono::seconds kMostSessionTtl = std::chrono::hours(24 * 3650);
inline constexpr uint32_t kMostSessionAnswers = 65536;
inline constexpr uint32_t kMostAnswerBytes = 64u << 10;
inline constexpr uint32_t kMostSessions = 10'000'000;
inline constexpr uint64_t kMostAnswersBytes = uint64_t{64} << 30;

inline constexpr size_t kRulesBytes = 24, kRulesWithLimitsBytes = 40;

/// Replaces `into`. Of version 1 where there are no limits, which older programs can read; of
/// version 2 where there are no positions. There are none without limits.
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

/// The bound that clients are told for a beginning, and the greatest with which a session begins.
/// `floor_ns`: the greatest bound of a session that was evicted.
constexpr uint64_t greatest_bound(uint64_t log_time_ns, const Rules& rules, uint64_t floor_ns) {
  uint64_t bound_ns = 0;
  if (__builtin_add_overflow(log_time_ns, rules.session_ttl_ns, &bound_ns)) return UINT64_MAX;
  return floor_ns < bound_ns || floor_ns == UINT64_MAX ? bound_ns : floor_ns + 1;
}

/// Whether an unknown session may begin with a command that has this bound (see above).
constexpr bool may_begin(uint64_t begins_before_ns, uint64_t log_time_ns, const Rules& rules,
                         uint64_t floor_ns = 0) {
  return log_time_ns <= begins_before_ns && begins_before_ns > floor_ns &&
         begins_before_ns <= greatest_bound(log_time_ns, rules, floor_ns);
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
