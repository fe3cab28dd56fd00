#include "statemachine/types/rules.h"

#include <cstddef>
#include <string>
#include <type_traits>

namespace tailrace::statemachine {

namespace {

constexpr uint32_t kWithoutLimits = 1, kWithLimits = 2, kWithPositions = 3;

struct Layout {
  uint32_t version;
  uint32_t session_answers;
  uint64_t session_ttl_ns;
  uint32_t session_answer_bytes;
  uint32_t reserved;  // zero
};
static_assert(sizeof(Layout) == kRulesBytes && std::is_trivially_copyable_v<Layout>);
static_assert(offsetof(Layout, session_ttl_ns) == 8 &&
              offsetof(Layout, session_answer_bytes) == 16);

/// Follows in versions 2 and 3, which differ in what they say of keys.
struct LimitsLayout {
  uint32_t sessions;
  uint32_t answer_value_bytes;
  uint64_t answers_bytes;
};
static_assert(kRulesBytes + sizeof(LimitsLayout) == kRulesWithLimitsBytes &&
              std::is_trivially_copyable_v<LimitsLayout> &&
              offsetof(LimitsLayout, answers_bytes) == 8);

constexpr uint64_t in_ns(std::chrono::seconds time) {
  return static_cast<uint64_t>(std::chrono::nanoseconds(time).count());
}

tl::unexpected<Error> out_of_bounds(const std::string& what, uint64_t is, uint64_t least,
                                    uint64_t most) {
  return make_error(ErrorCode::kInvalidArgument, what + " is " + std::to_string(is) +
                                                     "; it must be from " + std::to_string(least) +
                                                     " to " + std::to_string(most));
}

}  // namespace

void encode(const Rules& rules, std::vector<std::byte>& into) {
  into.resize(rules.limits ? kRulesWithLimitsBytes : kRulesBytes);
  const uint32_t version = !rules.limits     ? kWithoutLimits
                           : rules.positions ? kWithPositions
                                             : kWithLimits;
  store(into.data(), Layout{version, rules.session_answers, rules.session_ttl_ns,
                            rules.session_answer_bytes, 0});
  if (rules.limits)
    store(into.data() + kRulesBytes,
          LimitsLayout{rules.limits->sessions, rules.limits->answer_value_bytes,
                       rules.limits->answers_bytes});
}

Result<Rules> decode_rules(ByteSpan bytes) {
  if (bytes.size() < sizeof(uint32_t))
    return make_error(ErrorCode::kCorruption, "the rules have less bytes than their version");
  const auto version = load<uint32_t>(bytes.data());
  if (version > kWithPositions)
    return make_error(ErrorCode::kUnsupported, "the rules are of version " +
                                                   std::to_string(version) +
                                                   ", which is newer; upgrade this node");
  const size_t size = version >= kWithLimits ? kRulesWithLimitsBytes : kRulesBytes;
  if (version == 0 || bytes.size() != size)
    return make_error(ErrorCode::kCorruption, "rules of version " + std::to_string(version) +
                                                  " in " + std::to_string(bytes.size()) +
                                                  " bytes; they take " + std::to_string(size));
  const auto in = load<Layout>(bytes.data());
  Rules rules{in.session_ttl_ns, in.session_answers, in.session_answer_bytes};
  rules.positions = version == kWithPositions;
  if (version >= kWithLimits) {
    const auto limits = load<LimitsLayout>(bytes.data() + kRulesBytes);
    rules.limits = SessionLimits{limits.sessions, limits.answer_value_bytes, limits.answers_bytes};
  }
  auto possible = validate(rules);
  if (in.reserved != 0 || !possible)
    return make_error(ErrorCode::kCorruption, "the rules do not parse: " +
                                                  (possible ? std::string("a reserved field is set")
                                                            : possible.error().message));
  return rules;
}

Result<> validate(const Rules& rules) {
  const uint64_t least = in_ns(kLeastSessionTtl), most = in_ns(kMostSessionTtl);
  if (rules.session_ttl_ns < least || rules.session_ttl_ns > most)
    return out_of_bounds("session_ttl in ns", rules.session_ttl_ns, least, most);
  if (rules.session_answers < 1 || rules.session_answers > kMostSessionAnswers)
    return out_of_bounds("session_answers", rules.session_answers, 1, kMostSessionAnswers);
  if (rules.session_answer_bytes < 1 || rules.session_answer_bytes > kMostAnswerBytes)
    return out_of_bounds("session_answer_bytes", rules.session_answer_bytes, 1, kMostAnswerBytes);
  if (!rules.limits) return {};
  const SessionLimits& limits = *rules.limits;
  if (limits.sessions < 1 || limits.sessions > kMostSessions)
    return out_of_bounds("sessions", limits.sessions, 1, kMostSessions);
  if (limits.answers_bytes < 1 || limits.answers_bytes > kMostAnswersBytes)
    return out_of_bounds("answers_bytes", limits.answers_bytes, 1, kMostAnswersBytes);
  if (limits.answer_value_bytes < 1 || limits.answer_value_bytes > kMostAnswerBytes)
    return out_of_bounds("answer_value_bytes", limits.answer_value_bytes, 1, kMostAnswerBytes);
  return {};
}

}  // namespace tailrace::statemachine
