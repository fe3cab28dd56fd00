// The memory of sessions: what it holds, in which order, and how many bytes it takes.

#include "statemachine/session/session_slab.h"

#include <functional>
#include <iostream>
#include <list>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <malloc.h>

#include "core/random.h"
#include "harness.h"
#include "statemachine/session/kept_answers.h"

namespace tailrace::statemachine {
namespace {

ClientId id(uint64_t number) {
  return {number * 0x9e3779b97f4a7c15, number % 3};
}

TEST(SessionSlab, HoldsWhatAListInOrderOfUseHolds) {
  Random random(7);
  SessionSlab slab;
  std::list<uint64_t> model;  // oldest first
  std::map<uint64_t, SessionSlot> slots;
  const auto check = [&] {
    ASSERT_EQ(slab.size(), model.size());
    SessionSlot slot = slab.oldest(), before = kNoSession;
    for (const uint64_t number : model) {
      ASSERT_NE(slot, kNoSession);
      ASSERT_EQ(slab[slot].client, id(number));
      ASSERT_EQ(slab[slot].last_serial, number);
      ASSERT_EQ(slab.older_than(slot), before);
      before = std::exchange(slot, slab.newer_than(slot));
    }
    ASSERT_EQ(slot, kNoSession);
    ASSERT_EQ(slab.newest(), before);
    for (uint64_t number = 0; number < 3000; ++number) {
      const auto found = slots.find(number);
      ASSERT_EQ(slab.find(id(number)), found == slots.end() ? kNoSession : found->second);
    }
  };
  for (int i = 0; i < 40'000; ++i) {
    // Fuller and emptier in turns.
    const uint64_t number = random.below(3000);
    const auto found = slots.find(number);
    const bool grows = i / 5000 % 2 == 0;
    if (found == slots.end()) {
      if (!grows && random.chance(3, 4)) continue;
      const SessionSlot slot = slots[number] = slab.add(id(number));
      slab[slot].last_serial = number;
      model.push_back(number);
    } else if (random.chance(grows ? 1 : 3, 4)) {
      slab.remove(found->second);
      slots.erase(found);
      model.remove(number);
    } else {
      slab.use(found->second);
      model.remove(number);
      model.push_back(number);
    }
    if (i % 1000 == 0) {
      ASSERT_NO_FATAL_FAILURE(check());
    }
  }
  slab.sort(
      [](const auto& left, const auto& right) { return left.last_serial > right.last_serial; });
  model.sort(std::greater<>());
  check();
}

/// Bytes that are allocated; nothing where a sanitizer has an allocator of its own.
size_t allocated() {
  const struct mallinfo2 now = mallinfo2();
  return now.uordblks + now.hblkhd;
}

TEST(SessionSlab, AnEmptySessionTakesLessThan100Bytes) {
  if (kSanitized) GTEST_SKIP() << "the allocator is another one";
  constexpr size_t kSessions = 100'000;
  const size_t before = allocated();
  SessionSlab slab;
  for (uint64_t number = 0; number < kSessions; ++number)
    slab.add(id(number));
  const size_t bytes = allocated() - before;
  EXPECT_LT(bytes, 100 * kSessions);
  EXPECT_GT(bytes, 50 * kSessions) << "not all of it was counted";
  std::cout << bytes / kSessions << " bytes a session\n";
}

// What the rules count is what they take, however they are spread.
TEST(KeptAnswers, CountForAtLeastWhatTheyTake) {
  if (kSanitized) GTEST_SKIP() << "the allocator is another one";
  for (const auto& [sessions, each, value_bytes] :
       {std::tuple{10'000, 1, 2}, {100, 100, 2}, {10'000, 1, 40}, {10, 500, 1000}}) {
    const size_t before = allocated();
    KeptAnswers answers;
    std::vector<std::unique_ptr<AnswersOfSession>> of(static_cast<size_t>(sessions));
    const size_t vector_bytes = of.size() * sizeof of[0];
    const std::string value(static_cast<size_t>(value_bytes), 'v');
    for (int i = 0; i < each; ++i)
      for (auto& one : of)
        answers.add(one, {0, static_cast<uint64_t>(i + 1), 1, Answer{Outcome::kDone, true, value}});
    const size_t bytes = allocated() - before - vector_bytes;
    EXPECT_LE(bytes, answers.bytes()) << sessions << " sessions";
    EXPECT_GT(bytes, answers.size() * sizeof(KeptAnswer)) << "not all of it was counted";
    std::cout << bytes / answers.size() << " bytes, counted as " << answers.bytes() / answers.size()
              << "\n";
  }
}

TEST(KeptAnswers, GoOldestFirstOfASessionAndOfAll) {
  KeptAnswers answers;
  std::unique_ptr<AnswersOfSession> of[2];
  for (uint64_t i = 1; i <= 200; ++i)
    answers.add(of[i % 2],
                {static_cast<SessionSlot>(i % 2), i, i, Answer{Outcome::kAbsent, false, {}}});
  for (uint64_t i = 1; i <= 200; ++i) {
    ASSERT_EQ(answers.oldest().serial, i);
    ASSERT_NE(of[i % 2]->find(i), nullptr);
    ASSERT_EQ(of[i % 2]->find(i + 1), nullptr);
    ASSERT_NE(of[i % 2]->find(200 - i % 2), nullptr);
    answers.remove_oldest(of[answers.oldest().session]);
  }
  EXPECT_EQ(answers.bytes(), 0u);
  EXPECT_EQ(of[0], nullptr);
  EXPECT_EQ(of[1], nullptr);
}

}  // namespace
}  // namespace tailrace::statemachine
