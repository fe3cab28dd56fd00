// What all sessions together may take: rules of version 2.

#include "tests/statemachine/history/history.h"

namespace tailrace::statemachine::history {
namespace {

constexpr uint64_t kBound = kStart + kTtl;
constexpr uint64_t kOneAnswer = 224 + 1;  // with a value of one byte
constexpr uint32_t kAnswers = 100, kAnswerBytes = 65536;

WrittenCommand limited(uint32_t sessions, uint32_t value_bytes = 1000,
                       uint64_t answers_bytes = 1u << 20) {
  return rules(kTtl, kAnswers, kAnswerBytes, {sessions, value_bytes, answers_bytes});
}
WrittenCommand begin(uint64_t client, uint64_t bound = kBound) {
  return put("k", "v").in_session(client, 1, bound);
}

void evicting(History& history) {
  history.begin_anew("sessions are evicted");
  history.set_time(kStart);
  history.step("Limits from the beginning: sessions have addresses.", {limited(3)});
  history.step("As many as may be, and the first is used again.",
               {begin(1), begin(2, kBound - 9), begin(3), add("n", 1).in_session(1, 2)});
  history.step("One more: the one whose last use is oldest goes.", {begin(4)});
  history.step("It is not known, and does not begin again with its bound, or that of the floor.",
               {begin(2, kBound - 9), put("k", "w").in_session(2, 2), begin(2, kBound - 10)});
  history.step("It does with a greater one. The one that goes for it had the greatest bound.",
               {begin(2, kBound - 8)});
  history.step("So none begins with a bound that is not greater.",
               {begin(5, kBound - 7), begin(6)});
  history.step("One more nanosecond is let in, and not two.",
               {begin(7, kBound), begin(7, kBound + 2), begin(7, kBound + 1)});
  history.step("A repeat of a known one's first command.",
               {begin(7, kBound + 1), begin(7, 1), put("k", "v").in_session(7, 1)});
  history.step("Repeats and gaps are no use of a session.",
               {begin(4), put("k", "v").in_session(4, 9), begin(8, kBound + 1)});
  history.step("The greatest number of sessions, and the least.",
               {limited(10'000'000, 65536, uint64_t{64} << 30), limited(1, 1, 1)});
  history.step("Two go at a time.", {begin(9, kBound + 1)});
  history.step("And all but the newest.", {add("n", 1).in_session(9, 2), begin(10, kBound + 2)});
}

void without_bounds(History& history) {
  history.begin_anew("sessions without bounds");
  history.set_time(kStart);
  history.step("Two may be.", {limited(2)});
  history.step("Two.", {add("n", 1).in_session(1, 1), begin(2)});
  history.step("None without a bound was evicted: another begins, and evicts one.",
               {add("n", 1).in_session(3, 1)});
  history.step("From there on none begins.",
               {add("n", 1).in_session(1, 1), add("n", 1).in_session(4, 1)});
  history.set_time(kStart + kTtl / 16 + 1);
  history.step("Those with a bound do. The mark dates the one that was evicted in its batch.",
               {begin(5, kBound + 1), begin(6, kBound + 1)});
  const uint64_t end = kStart + kTtl + kTtl / 8;
  history.set_time(end);
  history.step("A mark.", {event("s", "e")});
  history.set_time(end + 1);
  history.step("The last that was evicted would not have ended yet.",
               {add("n", 1).in_session(4, 1)});
  history.step("Now it would have.", {add("n", 1).in_session(4, 1), add("n", 1).in_session(1, 1)});
}

void before_limits(History& history) {
  history.begin_anew("from before the limits");
  history.step("Sessions and answers of the time before any rules.",
               {add("a", 1).in_session(9, 1), add("a", 1).in_session(3, 1)});
  history.set_time(kStart);
  history.step("Of the time of rules without limits.",
               {rules(kTtl, kAnswers, kAnswerBytes), add("a", 1).in_session(7, 1, kTtl),
                add("a", 1).in_session(5, 1), add("a", 1).in_session(3, 2)});
  history.step("Two after the mark.",
               {add("a", 1).in_session(1, 1, kBound), add("a", 1).in_session(2, 1, kBound)});
  history.step("Limits: nothing goes at once.", {limited(3, 1000, 3 * kOneAnswer)});
  history.step("Then those without an address go first, by time and client; two for each command.",
               {add("a", 1).in_session(1, 2)});
  history.step("Again.", {add("a", 1).in_session(20, 1, kBound)});
  history.step("An evicted one without a bound lifts the floor to its time and the ttl.",
               {begin(21, kBound - 1), begin(21, kBound)});
  history.step("Rules of version 1 leave the limits.", {rules(kTtl, kAnswers, kAnswerBytes)});
  history.step("So they hold.", {begin(22, kBound + 1)});
}

void forgetting(History& history) {
  history.begin_anew("answers of all sessions");
  history.set_time(kStart);
  history.step("Three answers of one byte may be kept.", {limited(100, 1000, 3 * kOneAnswer)});
  history.step("Three.", {add("n", 1).in_session(1, 1, kBound),
                          add("n", 1).in_session(2, 1, kBound), add("n", 1).in_session(1, 2)});
  history.step(
      "A fourth: the oldest answer of all sessions is forgotten.",
      {add("n", 1).in_session(2, 2), add("n", 1).in_session(1, 1), add("n", 1).in_session(2, 1)});
  history.step(
      "A repeat makes no answer younger.",
      {add("n", 1).in_session(2, 1), add("n", 1).in_session(1, 3), add("n", 1).in_session(2, 1)});
  history.step("One without a value counts, too.",
               {erase("no").in_session(2, 3), erase("no").in_session(2, 4)});
  history.step("Longer values are not kept with their answers; this one is not longer.",
               {limited(100, 5, uint64_t{1} << 20), put("v", "12345"),
                cas("v", "x", "y").in_session(1, 4), cas("v", "x", "y").in_session(1, 4)});
  history.step(
      "This one is.",
      {put("v", "123456"), cas("v", "x", "y").in_session(1, 5), cas("v", "x", "y").in_session(1, 5),
       insert("v", "x").in_session(1, 6), insert("v", "x").in_session(1, 6)});
  history.step("So is a number.",
               {put("n", "99999"), add("n", 1).in_session(1, 7), add("n", 1).in_session(1, 7)});
  history.step("A value that comes with no answer is withheld, and takes no other's place.",
               {put("v", std::string(65537, 'v')), cas("v", "x", "y").in_session(1, 8),
                cas("v", "x", "y").in_session(1, 8), add("n", 1).in_session(1, 7)});
  history.step("Less room: nothing is forgotten at once.", {limited(100, 5, 2 * kOneAnswer)});
  history.step("Four at a time.", {put("k", "v").in_session(1, 9)});
  history.step("Until it is kept to.",
               {put("k", "v").in_session(2, 5), put("k", "v").in_session(1, 10)});
  history.step(
      "A session's own limit holds, too.",
      {rules(kTtl, 1, kAnswerBytes, {100, 1000, 1u << 20}), add("m", 1).in_session(2, 6),
       add("m", 1).in_session(2, 7), add("m", 1).in_session(2, 6), add("m", 1).in_session(2, 7)});
  history.step(
      "Eight answers, as many as may be.",
      {limited(100, 5000, 8 * kOneAnswer), put("m", "0"), add("m", 1).in_session(4, 1, kBound),
       add("m", 1).in_session(4, 2), add("m", 1).in_session(4, 3), add("m", 1).in_session(4, 4),
       add("m", 1).in_session(4, 5), add("m", 1).in_session(4, 6), add("m", 1).in_session(4, 7),
       add("m", 1).in_session(4, 8)});
  history.step("A long one: as many are forgotten as it needs room, also more than four.",
               {put("long", std::string(1300, 'v')), cas("long", "x", "y").in_session(1, 11)});
  history.step("An evicted session takes its answers along.",
               {limited(1), begin(3), add("m", 1).in_session(3, 2)});
}

}  // namespace

void limits(History& history) {
  evicting(history);
  without_bounds(history);
  before_limits(history);
  forgetting(history);
}

}  // namespace tailrace::statemachine::history
