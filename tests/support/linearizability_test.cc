// The judge of histories, judged: by hand-made histories, and by trying every order.

#include "tests/support/linearizability.h"

#include <algorithm>
#include <functional>
#include <map>

#include <gtest/gtest.h>

#include "core/random.h"

namespace tailrace::testing {
namespace {

using Kind = HistoryKind;
using Outcome = HistoryOutcome;
using Seen = HistoryOperation::Seen;
using Verdict = Judgement::Verdict;

struct Operation : HistoryOperation {
  Operation(uint64_t by, uint64_t from, uint64_t to, Kind of, std::string text = "") {
    client = by;
    invoked = from;
    returned = to;
    kind = of;
    key = "k";
    value = std::move(text);
  }
  Operation& saw(const std::string& text) {
    seen = Seen::kValue;
    seen_value = text;
    return *this;
  }
  Operation& saw_nothing() {
    seen = Seen::kAbsent;
    return *this;
  }
  Operation& was(bool is_done) {
    done = is_done;
    return *this;
  }
  Operation& expecting(const std::string& text) {
    expected = text;
    return *this;
  }
  Operation& unknown() {
    outcome = Outcome::kUnknown;
    return *this;
  }
};

Operation write(uint64_t client, uint64_t from, uint64_t to, const std::string& value) {
  return {client, from, to, Kind::kWrite, value};
}
Operation read(uint64_t client, uint64_t from, uint64_t to) {
  return {client, from, to, Kind::kRead};
}
Operation add(uint64_t client, uint64_t from, uint64_t to, int64_t amount) {
  return {client, from, to, Kind::kAdd, std::to_string(amount)};
}
Operation swap(uint64_t client, uint64_t from, uint64_t to, const std::string& expected,
               const std::string& value) {
  return Operation(client, from, to, Kind::kCompareAndSwap, value).expecting(expected);
}
Operation insert(uint64_t client, uint64_t from, uint64_t to, const std::string& value) {
  return {client, from, to, Kind::kInsertIfAbsent, value};
}
Operation erase(uint64_t client, uint64_t from, uint64_t to) {
  return {client, from, to, Kind::kErase};
}

void accepted(std::vector<HistoryOperation> history) {
  const Judgement judgement = judge(std::move(history));
  EXPECT_EQ(judgement.verdict, Verdict::kLinearizable) << judgement.explanation;
}
std::string refused(std::vector<HistoryOperation> history) {
  const Judgement judgement = judge(std::move(history));
  EXPECT_EQ(judgement.verdict, Verdict::kNotLinearizable);
  return judgement.explanation;
}

TEST(Linearizability, WhatComesAfterAReturnSeesIt) {
  accepted({});
  accepted({read(1, 1, 2).saw_nothing()});
  accepted({write(1, 1, 2, "a"), read(2, 3, 4).saw("a")});
  const std::string stale =
      refused({write(1, 1, 2, "a"), write(1, 3, 4, "b"), read(2, 5, 6).saw("a")});
  EXPECT_NE(stale.find("no order explains\n    client 2 read, saw \"a\" [5, 6]"), std::string::npos)
      << stale;
  EXPECT_NE(stale.find("held one of: \"b\""), std::string::npos) << stale;
  refused({write(1, 1, 2, "a"), read(2, 3, 4).saw_nothing()});
}

TEST(Linearizability, WhatOverlapsMayBeOrderedEitherWay) {
  accepted({write(1, 1, 10, "a"), write(2, 2, 9, "b"), read(3, 11, 12).saw("a")});
  accepted({write(1, 1, 10, "a"), write(2, 2, 9, "b"), read(3, 11, 12).saw("b")});
  accepted({write(1, 1, 10, "a"), read(2, 2, 3).saw_nothing(), read(2, 4, 5).saw("a")});
  // Equal times overlap.
  accepted({write(1, 1, 5, "a"), read(2, 5, 6).saw_nothing()});
  // Two readers cannot see two writes in different orders.
  refused({write(1, 1, 100, "a"), write(2, 2, 100, "b"), read(3, 3, 4).saw("a"),
           read(3, 5, 6).saw("b"), read(4, 3, 4).saw("b"), read(4, 5, 6).saw("a")});
  // Once seen it stays.
  refused({write(1, 1, 100, "a"), read(3, 3, 4).saw("a"), read(4, 5, 6).saw_nothing()});
}

TEST(Linearizability, AValueNobodyWroteIsRefused) {
  const std::string phantom = refused({write(1, 1, 2, "a"), read(2, 1, 4).saw("b")});
  EXPECT_NE(phantom.find("nobody is known to have written what it saw"), std::string::npos);
  // Nor one that is written later.
  refused({read(2, 1, 2).saw("b"), write(1, 3, 4, "b")});
}

TEST(Linearizability, NoUpdateIsLost) {
  accepted({add(1, 1, 10, 1).saw("2"), add(2, 2, 9, 1).saw("1"), read(1, 11, 12).saw("2")});
  refused({add(1, 1, 10, 1).saw("1"), add(2, 2, 9, 1).saw("1")});
  refused({add(1, 1, 10, 1), add(2, 2, 9, 1), read(1, 11, 12).saw("1")});
  refused({write(1, 1, 2, "5"), add(1, 3, 10, 1), write(2, 4, 9, "7"), read(1, 11, 12).saw("6")});
  accepted({write(1, 1, 2, "5"), add(1, 3, 10, 1), write(2, 4, 9, "7"), read(1, 11, 12).saw("8")});
  // Only one of two that expect the same wins.
  refused(
      {write(1, 1, 2, "a"), swap(1, 3, 9, "a", "b").was(true), swap(2, 4, 8, "a", "c").was(true)});
  accepted({write(1, 1, 2, "a"), swap(1, 3, 9, "a", "b").was(true),
            swap(2, 4, 8, "a", "c").was(false).saw("b")});
  refused({insert(1, 3, 9, "b").was(true), insert(2, 4, 8, "c").was(true)});
  accepted({insert(1, 3, 9, "b").was(true), insert(2, 4, 8, "c").was(false).saw("b")});
}

TEST(Linearizability, AnswersAboutPresenceCount) {
  refused({erase(1, 1, 2).was(true)});
  accepted({erase(1, 1, 2).was(false), write(1, 3, 4, "a"), erase(1, 5, 6).was(true)});
  accepted({write(1, 3, 9, "a"), erase(2, 4, 8).was(true), read(1, 10, 11).saw_nothing()});
  refused({write(1, 3, 9, "a"), erase(2, 4, 8).was(true), read(1, 10, 11).saw("a")});
  accepted({write(1, 3, 9, "a"), erase(2, 4, 8).was(false), read(1, 10, 11).saw("a")});
  accepted({write(1, 3, 9, "a"), erase(2, 4, 8), read(1, 10, 11).saw("a")});
}

TEST(Linearizability, AnUnknownOutcomeIsLateOrNever) {
  const auto unknown = write(1, 1, 0, "u").unknown();
  accepted({unknown, read(2, 5, 6).saw_nothing(), read(2, 7, 8).saw_nothing()});
  accepted({unknown, read(2, 5, 6).saw_nothing(), read(2, 7, 8).saw("u")});
  accepted({unknown, write(2, 5, 6, "a"), read(2, 7, 8).saw("a"), read(2, 9, 10).saw("u")});
  refused({unknown, read(2, 5, 6).saw("u"), read(2, 7, 8).saw_nothing()});
  // It happens once.
  refused({unknown, read(2, 5, 6).saw("u"), write(2, 7, 8, "a"), read(2, 9, 10).saw("a"),
           read(2, 11, 12).saw("u")});
  // Never before it was invoked.
  refused({read(2, 1, 2).saw("u"), write(1, 3, 0, "u").unknown()});
  accepted({add(1, 1, 0, 1).unknown(), add(1, 2, 0, 1).unknown(), read(2, 5, 6).saw("2")});
  accepted({add(1, 1, 0, 1).unknown(), add(1, 2, 0, 1).unknown(), read(2, 5, 6).saw("1")});
  refused({add(1, 1, 0, 1).unknown(), add(1, 2, 0, 1).unknown(), read(2, 5, 6).saw("3")});
  accepted({write(2, 1, 2, "a"), swap(1, 3, 0, "a", "b").unknown(), read(2, 5, 6).saw("b")});
  refused({write(2, 1, 2, "a"), swap(1, 3, 0, "c", "b").unknown(), read(2, 5, 6).saw("b")});
  // Unseen itself, but what it did is.
  accepted({write(1, 1, 2, "a"), erase(1, 3, 0).unknown(), insert(2, 5, 6, "b").was(true)});
  refused({write(1, 1, 2, "a"), insert(2, 5, 6, "b").was(true)});
}

TEST(Linearizability, KeysAreJudgedApartAndMayBeginWithValues) {
  std::vector<HistoryOperation> history;
  for (int key = 0; key < 3; ++key) {
    Operation one = write(1, 1, 2, "a"), two = read(2, 3, 4).saw(key == 2 ? "x" : "a");
    one.key = two.key = std::to_string(key);
    history.push_back(one);
    history.push_back(two);
  }
  EXPECT_NE(refused(history).find("key \"2\""), std::string::npos);

  JudgeOptions options;
  options.initial = {{"k", "a"}};
  EXPECT_EQ(judge({read(1, 1, 2).saw("a")}, options).verdict, Verdict::kLinearizable);
  EXPECT_EQ(judge({read(1, 1, 2).saw_nothing()}, options).verdict, Verdict::kNotLinearizable);
}

// --- against every order ---

using Value = std::optional<std::string>;

/// Nothing when the answer is another one. `took_effect`: of an unknown one.
std::optional<Value> after(const HistoryOperation& one, const Value& before) {
  const bool known = one.outcome == Outcome::kOk;
  const auto saw = [&](const Value& value) {
    return !known || one.seen == Seen::kNotSaid ||
           (one.seen == Seen::kAbsent ? !value : value && *value == one.seen_value);
  };
  const auto was = [&](bool does) { return !known || !one.done || *one.done == does; };
  switch (one.kind) {
    case Kind::kRead:
      return saw(before) ? std::optional<Value>(before) : std::nullopt;
    case Kind::kWrite:
      return Value(one.value);
    case Kind::kErase:
      return was(before.has_value()) ? std::optional<Value>(Value()) : std::nullopt;
    case Kind::kInsertIfAbsent:
    case Kind::kCompareAndSwap: {
      const bool does = one.kind == Kind::kInsertIfAbsent ? !before : before == one.expected;
      if (!was(does)) return std::nullopt;
      if (does) return Value(one.value);
      return saw(before) ? std::optional<Value>(before) : std::nullopt;
    }
    case Kind::kAdd: {
      const Value sum = std::to_string(std::stoll(before.value_or("0")) + std::stoll(one.value));
      return saw(sum) ? std::optional<Value>(sum) : std::nullopt;
    }
  }
  return std::nullopt;
}

bool any_order(const std::vector<HistoryOperation>& history, std::vector<char>& taken,
               const Value& value) {
  uint64_t first_return = ~uint64_t{0};
  bool all = true;
  for (size_t i = 0; i < history.size(); ++i) {
    if (taken[i] != 0 || history[i].outcome == Outcome::kUnknown) continue;
    all = false;
    first_return = std::min(first_return, history[i].returned);
  }
  if (all) return true;
  for (size_t i = 0; i < history.size(); ++i) {
    if (taken[i] != 0 || history[i].invoked > first_return) continue;
    const auto next = after(history[i], value);
    if (!next) continue;
    taken[i] = 1;
    const bool found = any_order(history, taken, *next);
    taken[i] = 0;
    if (found) return true;
  }
  return false;
}

/// A history that has happened: each operation took effect at a moment of its own. Numbers only, so
/// that everything may be added to.
std::vector<HistoryOperation> happened(Random& random, uint64_t clients, size_t count,
                                       uint64_t values, uint64_t unknown_of_100,
                                       uint64_t unsaid_of_100, const std::vector<Kind>& kinds) {
  struct Moment {
    uint64_t time;
    size_t index;
  };
  std::vector<HistoryOperation> history;
  std::vector<Moment> effects;
  std::vector<uint64_t> free_at(clients, 1);
  for (size_t i = 0; i < count; ++i) {
    const uint64_t client = random.below(clients);
    const auto text = [&] { return std::to_string(random.below(values)); };
    Operation one(client, free_at[client] + random.below(8), 0, kinds[random.below(kinds.size())],
                  text());
    one.expected = text();
    if (one.kind == Kind::kAdd) one.value = std::to_string(1 + random.below(2));
    const uint64_t effect = one.invoked + random.below(10);
    one.returned = effect + random.below(10);
    free_at[client] = one.returned + 1;
    if (random.chance(unknown_of_100, 100)) {
      one.unknown();
      free_at[client] = one.invoked + 1;
      // Late, or never.
      if (random.chance(1, 2)) effects.push_back({effect + random.below(40), i});
    } else {
      effects.push_back({effect, i});
    }
    history.push_back(one);
  }
  std::stable_sort(effects.begin(), effects.end(),
                   [](const Moment& a, const Moment& b) { return a.time < b.time; });
  Value value;
  for (const Moment& moment : effects) {
    HistoryOperation& one = history[moment.index];
    const Value before = value;
    value = *after(one, before);
    if (one.outcome == Outcome::kUnknown) continue;
    const auto see = [&](const Value& seen) {
      one.seen = seen ? Seen::kValue : Seen::kAbsent;
      one.seen_value = seen.value_or("");
    };
    switch (one.kind) {
      case Kind::kRead:
        see(before);
        break;
      case Kind::kWrite:
        break;
      case Kind::kErase:
        one.done = before.has_value();
        break;
      case Kind::kInsertIfAbsent:
        one.done = !before.has_value();
        if (before) see(before);
        break;
      case Kind::kCompareAndSwap:
        one.done = before == one.expected;
        if (!*one.done) see(before);
        break;
      case Kind::kAdd:
        see(value);
        break;
    }
    if (random.chance(unsaid_of_100, 100)) one.done.reset();
    if (random.chance(unsaid_of_100, 100)) one.seen = Seen::kNotSaid;
  }
  return history;
}

/// Something that may not have happened so.
void spoil(Random& random, std::vector<HistoryOperation>& history) {
  HistoryOperation& one = history[random.below(history.size())];
  switch (random.below(5)) {
    case 0:
      one.seen = Seen::kAbsent;
      break;
    case 1:
      one.seen = Seen::kValue;
      one.seen_value = std::to_string(random.below(4));
      break;
    case 2:
      if (one.done) one.done = !*one.done;
      break;
    case 3:
      one.value = std::to_string(random.below(4));
      break;
    default: {
      const uint64_t later = random.below(30);
      one.invoked += later;
      one.returned += later;
    }
  }
  if (one.kind == Kind::kAdd && one.seen == Seen::kAbsent) one.seen = Seen::kNotSaid;
  if (one.kind == Kind::kWrite || one.kind == Kind::kErase) one.seen = Seen::kNotSaid;
  if (one.done && *one.done) one.seen = Seen::kNotSaid;
}

// Promise: it says of every small history what trying every order says, also of spoilt ones.
TEST(Linearizability, AgreesWithTryingEveryOrder) {
  uint64_t bad = 0;
  for (uint64_t seed = 0; seed < 60'000; ++seed) {
    Random random(seed);
    auto history =
        happened(random, 1 + random.below(5), 1 + random.below(8), 1 + random.below(4), 20, 10,
                 {Kind::kRead, Kind::kWrite, Kind::kErase, Kind::kInsertIfAbsent,
                  Kind::kCompareAndSwap, Kind::kAdd});
    for (uint64_t times = random.below(4); times > 0; --times)
      spoil(random, history);
    std::vector<char> taken(history.size());
    const bool good = any_order(history, taken, std::nullopt);
    const Judgement judgement = judge(history);
    std::string told;
    for (const auto& one : history)
      told += describe(one) + "\n";
    ASSERT_EQ(judgement.verdict == Verdict::kLinearizable, good) << "seed " << seed << "\n"
                                                                 << told << judgement.explanation;
    bad += good ? 0 : 1;
  }
  EXPECT_GT(bad, 10'000u);
}

// Promise: long histories of 16 clients are judged in a moment: what has happened is accepted, and
// a read of what was overwritten, long before, is not.
TEST(Linearizability, LongHistoriesOfManyClients) {
  struct Mix {
    std::vector<Kind> kinds;
    uint64_t values;
    uint64_t unknown_of_100;
  };
  const std::vector<Kind> registers{Kind::kRead, Kind::kWrite, Kind::kErase, Kind::kInsertIfAbsent,
                                    Kind::kCompareAndSwap};
  const std::vector<Kind> counters{Kind::kRead, Kind::kAdd};
  std::vector<Kind> all = registers;
  all.push_back(Kind::kAdd);
  const std::vector<Mix> mixes{{all, 5, 0},
                               {all, 1'000'000, 0},

                               {registers, 1'000'000, 2},
                               {counters, 1, 2}};
  for (size_t mix = 0; mix < mixes.size(); ++mix) {
    SCOPED_TRACE("mix " + std::to_string(mix));
    Random random(mix);
    auto history = happened(random, 16, 1000, mixes[mix].values, mixes[mix].unknown_of_100, 0,
                            mixes[mix].kinds);
    Judgement judgement = judge(history);
    EXPECT_EQ(judgement.verdict, Verdict::kLinearizable) << judgement.explanation;
    const uint64_t end = 1'000'000;
    history.push_back(write(1, end, end + 1, "-1"));
    history.push_back(write(1, end + 2, end + 3, "-1000"));
    history.push_back(read(2, end + 4, end + 5).saw("-1"));
    judgement = judge(history);
    EXPECT_EQ(judgement.verdict, Verdict::kNotLinearizable);
  }
}

// Promise: only writes and reads of 16 clients at once, the hardest to tell apart, are no harder.
TEST(Linearizability, ManyWritersAtOnce) {
  Random random(1);
  std::vector<HistoryOperation> history;
  std::string last;
  for (uint64_t round = 0; round < 300; ++round) {
    const uint64_t at = round * 100;
    std::vector<std::string> written;
    for (uint64_t client = 0; client < 16; ++client) {
      const std::string value = std::to_string(round) + "." + std::to_string(client);
      history.push_back(write(client, at + random.below(10), at + 60 + random.below(10), value));
      if (random.chance(1, 20)) {
        history.back().outcome = Outcome::kUnknown;
      } else {
        written.push_back(value);
      }
    }
    last = written[random.below(written.size())];
    history.push_back(read(20, at + 80, at + 90).saw(last));
  }
  accepted(history);
  // The last round's read again, of what another one had overwritten in the round before.
  history.push_back(read(20, 40'000, 40'001).saw("298.3"));
  const std::string told = refused(history);
  EXPECT_NE(told.find("298.3"), std::string::npos) << told;
  EXPECT_LT(told.size(), 6000u) << told;
}

}  // namespace
}  // namespace tailrace::testing
