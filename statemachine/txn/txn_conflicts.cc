#include "statemachine/txn/txn_conflicts.h"

#include <algorithm>
#include <array>
#include <span>

#include "core/check.h"
#include "statemachine/txn/txn_table.h"

namespace tailrace::statemachine {

namespace {

NameOf name_kind(const TxnEffect& effect) {
  return info_of(effect.kind).name;
}
bool changes(const TxnEffect& effect) {
  return info_of(effect.kind).changes;
}
bool has_same_name(const TxnEffect& left, const TxnEffect& right) {
  return name_kind(left) == name_kind(right) && as_text(left.name) == as_text(right.name);
}

/// Effects of one name stand together: those that change it first, each in the list's order.
bool comes_before(const TxnEffect& left, const TxnEffect& right) {
  if (name_kind(left) != name_kind(right)) return name_kind(left) < name_kind(right);
  if (const int order = as_text(left.name).compare(as_text(right.name)); order != 0)
    return order < 0;
  return changes(left) && !changes(right);
}

}  // namespace

std::optional<TxnConflict> first_conflict(const std::vector<TxnEffect>& list) {
  TAILRACE_CHECK(list.size() <= kMaxTxnItems, "a list of effects is longer than a transaction");
  std::array<uint16_t, kMaxTxnItems> places;
  const std::span sorted(places.data(), list.size());
  for (size_t i = 0; i < list.size(); ++i)
    sorted[i] = static_cast<uint16_t>(i);
  std::sort(sorted.begin(), sorted.end(), [&](uint16_t left, uint16_t right) {
    if (comes_before(list[left], list[right])) return true;
    return !comes_before(list[right], list[left]) && left < right;
  });
  // One that changes and has the next one's name: that one is changed twice, or read as well.
  for (size_t i = 1; i < list.size(); ++i) {
    const size_t left = sorted[i - 1], right = sorted[i];
    if (changes(list[left]) && has_same_name(list[left], list[right]))
      return TxnConflict{std::min(left, right), std::max(left, right)};
  }
  return std::nullopt;
}

std::optional<TxnConflict> first_repeated_id(std::span<const TxnEvent> events) {
  TAILRACE_CHECK(events.size() <= kMaxTxnItems, "an append has more events than a transaction");
  std::array<uint16_t, kMaxTxnItems> places;
  size_t count = 0;
  for (size_t i = 0; i < events.size(); ++i)
    if (events[i].id) places[count++] = static_cast<uint16_t>(i);
  const std::span sorted(places.data(), count);
  std::sort(sorted.begin(), sorted.end(), [&](uint16_t left, uint16_t right) {
    if (*events[left].id != *events[right].id) return *events[left].id < *events[right].id;
    return left < right;
  });
  for (size_t i = 1; i < count; ++i)
    if (*events[sorted[i - 1]].id == *events[sorted[i]].id)
      return TxnConflict{sorted[i - 1], sorted[i]};
  return std::nullopt;
}

std::string describe(const TxnConflict& conflict, const char* name,
                     const std::vector<TxnEffect>& list) {
  const auto item = [&](size_t i) {
    return std::string(name) + "[" + std::to_string(i) + "]." +
           std::string(info_of(list[i].kind).title);
  };
  const std::string both = item(conflict.first) + " and " + item(conflict.second);
  if (name_kind(list[conflict.first]) == NameOf::kStream)
    return both + " are of one stream, a list has one effect of a stream";
  if (changes(list[conflict.first]) && changes(list[conflict.second]))
    return both + " change one key, a list changes a key once";
  return both + " are of one key, a list does not get what it changes";
}

}  // namespace tailrace::statemachine
