// What clients send as a transaction and nodes find in their logs, and what sessions keep of it.
#include <algorithm>
#include <span>
#include <string_view>
#include <vector>

#include "core/check.h"
#include "statemachine/txn/txn.h"
#include "statemachine/txn/txn_result.h"
#include "tests/fuzz/targets.h"

namespace tailrace::fuzz {

namespace {

bool is_same(const statemachine::TxnEvent& event, std::span<const std::string_view> tags,
             const statemachine::TxnEvent& other, std::span<const std::string_view> others) {
  return event.type == other.type && event.id == other.id && event.offset == other.offset &&
         event.content_type == other.content_type &&
         as_text(event.metadata) == as_text(other.metadata) &&
         as_text(event.data) == as_text(other.data) && std::ranges::equal(tags, others);
}

void check_events(ByteSpan input, const statemachine::Txn& txn) {
  std::vector<std::string_view> tags;
  for (size_t ordinal = 0; ordinal < txn.events.size() && ordinal < 8; ++ordinal) {
    const statemachine::TxnEvent& event = txn.events[ordinal];
    const auto at = statemachine::event_at(input, event.offset, tags);
    TAILRACE_CHECK(at && is_same(*at, tags, event, txn.tags_of(event)), "not found at its offset");
    const auto of = statemachine::event_of(input, ordinal, tags);
    TAILRACE_CHECK(of && is_same(*of, tags, event, txn.tags_of(event)), "not found by its ordinal");
  }
}

void check_dating(ByteSpan input, const statemachine::Txn& txn) {
  constexpr uint64_t kNow = uint64_t{1} << 60;
  std::vector<std::byte> body(input.begin(), input.end());
  const auto dated = statemachine::date(body, kNow);
  TAILRACE_CHECK(dated.has_value() == (txn.time_ns == 0), "dated twice, or not at all");
  statemachine::Txn back;
  if (!dated) return;
  TAILRACE_CHECK(statemachine::decode(body, back) && back.time_ns == kNow, "dating damages");
  TAILRACE_CHECK(back.events.size() == txn.events.size() && body.size() == input.size(),
                 "dating changes what it should not");
}

void check_result(ByteSpan input) {
  statemachine::TxnResult result;
  if (!statemachine::decode(input, result)) return;
  std::vector<std::byte> again;
  statemachine::encode(result, again);
  TAILRACE_CHECK(as_text(again) == as_text(input), "a result loses bytes");
}

}  // namespace

void txn(ByteSpan input) {
  check_result(input);
  std::vector<std::string_view> tags;
  (void)statemachine::event_alone(input, tags);
  for (size_t offset = 0; offset <= input.size() && offset < 100; ++offset)
    (void)statemachine::event_at(input, offset, tags);
  statemachine::Txn txn;
  if (!statemachine::decode(input, txn)) {
    (void)statemachine::event_of(input, 1, tags);
    return;
  }
  std::vector<std::byte> again;
  statemachine::encode(txn, again);
  TAILRACE_CHECK(as_text(again) == as_text(input), "a transaction loses bytes");
  check_events(input, txn);
  check_dating(input, txn);
  const statemachine::TxnLimits limits{input.size(), input.size()};
  const auto checked = statemachine::validate(txn, limits);
  TAILRACE_CHECK(checked || checked.error().code == ErrorCode::kInvalidArgument,
                 "refused by another code");
}

}  // namespace tailrace::fuzz
