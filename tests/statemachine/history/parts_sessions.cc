// Sessions: which commands are applied, and what is answered to those that are not.

#include "tests/statemachine/history/history.h"

namespace tailrace::statemachine::history {
namespace {

constexpr uint64_t kGreatest = ~uint64_t{0};

WrittenCommand of_client(uint64_t high, uint64_t low, uint64_t serial, WrittenCommand command) {
  command = command.in_session(low, serial);
  command.client_high = high;
  return command;
}

}  // namespace

void sessions(History& history) {
  history.step("A session before the first mark.", {add("n", 1).in_session(7, 1)});
  history.set_time(kStart);
  history.step(
      "Its next command, and both again.",
      {add("n", 1).in_session(7, 2), add("n", 1).in_session(7, 1), add("n", 1).in_session(7, 2)});
  history.step("A repeat is known by its serial, whatever else it says.",
               {put("n", "100").in_session(7, 2), erase("n").in_session(7, 1)});
  history.step("What is only done has no answer to keep.",
               {put("k", "v").in_session(7, 3), put("k", "w").in_session(7, 3)});
  history.step("A gap, and far away.",
               {add("n", 1).in_session(7, 5), add("n", 1).in_session(7, kGreatest)});
  history.step("Sessions that are not known: serial 2, the greatest, and 1.",
               {add("n", 1).in_session(8, 2), add("n", 1).in_session(8, kGreatest),
                add("n", 1).in_session(8, 1)});
  history.step("Clients are told apart by both halves of their id.",
               {of_client(0, 0, 1, add("n", 1)), of_client(1, 7, 1, add("n", 1)),
                of_client(kGreatest, kGreatest, 1, add("n", 1)), of_client(7, 0, 1, add("n", 1)),
                of_client(1, 7, 1, add("n", 1))});
  history.step("Without rules in the log a bound says nothing, and is not remembered.",
               {add("n", 1).in_session(9, 1, 1), add("n", 1).in_session(10, 1, kGreatest)});
  history.step("Every command can be of a session, also those without effect.",
               {event("s", "e").in_session(11, 1), put("p", "1").in_session(11, 2),
                erase("p").in_session(11, 3), add("p", 1).in_session(11, 4),
                cas("p", "1", "2").in_session(11, 5), digest().in_session(11, 6),
                expire("p", 2 * kStart).in_session(11, 7), time_passes().in_session(11, 8),
                compare().in_session(11, 9), insert("q", "1").in_session(11, 10)});
  history.step("And each again.",
               {event("s", "e").in_session(11, 1), put("p", "1").in_session(11, 2),
                erase("p").in_session(11, 3), add("p", 1).in_session(11, 4),
                cas("p", "1", "2").in_session(11, 5), digest().in_session(11, 6),
                expire("p", 0).in_session(11, 7), time_passes().in_session(11, 8),
                compare().in_session(11, 9), insert("q", "1").in_session(11, 10)});
  history.step("Rules in a session; their repeat changes nothing.",
               {rules(2000 * kSecond, 2, 1000).in_session(11, 11),
                rules(1 * kSecond, 1, 1).in_session(11, 11)});
  // All nodes have to say the same in their files as long as the log has no rules.
  constexpr uint64_t kTtlOfFiles = 1000 * kSecond, kEnd = kStart + kTtlOfFiles + kTtlOfFiles / 16;
  history.begin_anew("without rules");
  history.set_time(kStart);
  history.step("A mark.", {event("s", "e")});
  history.set_time(kStart + 1);
  history.step("Two sessions; the bound of one counts for nothing.",
               {add("n", 1).in_session(1, 1), add("n", 1).in_session(2, 1, kGreatest)});
  history.set_time(kEnd);
  history.step("They live as long as the nodes' files say, and a sixteenth more.",
               {event("s", "e")});
  history.set_time(kEnd + 1);
  history.step("A nanosecond more.", {event("s", "e")});
}

void answers(History& history) {
  history.set_time(kStart);
  history.step("What fails is answered again as it was, whatever the key is by then.",
               {put("t", "text"), add("t", 1).in_session(1, 1), erase("no").in_session(1, 2),
                cas("t", "x", "y").in_session(1, 3), put("t", "1"), put("no", "1"),
                add("t", 1).in_session(1, 1), erase("no").in_session(1, 2),
                cas("t", "x", "y").in_session(1, 3)});
  history.step(
      "A fourth answer is one too many; what is only done does not count.",
      {put("t", "2").in_session(1, 4), add("t", 1).in_session(1, 5), add("t", 1).in_session(1, 1),
       erase("no").in_session(1, 2), put("t", "3").in_session(1, 4), add("t", 1).in_session(1, 5)});
  history.step("Without limits a value that does not come along counts whole: all are forgotten.",
               {put("long", std::string(65537, 'v')), cas("long", "x", "y").in_session(1, 6),
                add("t", 1).in_session(1, 5), cas("long", "x", "y").in_session(1, 6)});
  history.step("The longest that does come along is too long to be kept.",
               {put("long", std::string(65536, 'v')), cas("long", "x", "y").in_session(1, 7),
                cas("long", "x", "y").in_session(1, 7)});
  history.step("The longest that is kept.",
               {put("long", std::string(65522, 'v')), cas("long", "x", "y").in_session(1, 8),
                cas("long", "x", "y").in_session(1, 8)});
  history.step("It leaves when another answer comes.",
               {add("t", 1).in_session(1, 9), cas("long", "x", "y").in_session(1, 8)});
  history.step("Rules of version 1: two answers, of 40 bytes.", {rules(1000 * kSecond, 2, 40)});
  history.step("Two numbers: 16 bytes each.",
               {put("n", "10"), add("n", 1).in_session(2, 1), add("n", 1).in_session(2, 2),
                add("n", 1).in_session(2, 1)});
  history.step("A third one.", {add("n", 1).in_session(2, 3), add("n", 1).in_session(2, 1),
                                add("n", 1).in_session(2, 2)});
  history.step(
      "Exactly 40 bytes with the one before; then one more.",
      {put("b", "1234567890"), cas("b", "x", "y").in_session(2, 4), put("b", "12345678901"),
       cas("b", "x", "y").in_session(2, 5), add("n", 1).in_session(2, 3),
       cas("b", "x", "y").in_session(2, 4), cas("b", "x", "y").in_session(2, 5)});
  history.step("Lower rules do nothing by themselves.", {rules(1000 * kSecond, 1, 14)});
  history.step("But at the session's next answer: this one is too long itself.",
               {add("n", 1).in_session(2, 6), add("n", 1).in_session(2, 6)});
  history.step("One without a value fits.",
               {erase("absent").in_session(2, 7), erase("absent").in_session(2, 7)});
  history.step("The most that rules allow, and the least.",
               {rules(315'360'000 * kSecond, 65536, 65536), rules(kSecond, 1, 1)});
}

void beginnings(History& history) {
  history.set_time(kStart);
  history.step("The first rules.", {add("n", 1).in_session(1, 1), rules(kTtl, 100, 1000)});
  history.step(
      "Bounds: log time, one less, the greatest, one more.",
      {add("n", 1).in_session(2, 1, kStart), add("n", 1).in_session(3, 1, kStart - 1),
       add("n", 1).in_session(4, 1, kStart + kTtl), add("n", 1).in_session(5, 1, kStart + kTtl + 1),
       add("n", 1).in_session(6, 1, kGreatest), add("n", 1).in_session(7, 1, 1)});
  history.step("No bound.", {add("n", 1).in_session(8, 1)});
  history.step("A known session's first command again, with other bounds.",
               {add("n", 1).in_session(2, 1, 1), add("n", 1).in_session(2, 1, kGreatest),
                add("n", 1).in_session(2, 1)});
  history.step("A session that began before the rules goes on.", {add("n", 1).in_session(1, 2)});
  history.set_time(kStart + kTtl);
  history.step("The mark counts from the next batch on.",
               {add("n", 1).in_session(9, 1, kStart), add("n", 1).in_session(10, 1, kStart + 1)});
  history.step("Log time is that of the bound, and past another one.",
               {add("n", 1).in_session(11, 1, kStart + kTtl),
                add("n", 1).in_session(12, 1, kStart + kTtl - 1)});
  history.set_time(kGreatest - kTtl);
  history.step("Far ahead: those from before end.", {event("s", "e")});
  history.step("The greatest bound of all.", {add("n", 1).in_session(13, 1, kGreatest)});
  history.set_time(kGreatest - 1);
  history.step("Beyond that.", {event("s", "e")});
  history.step("No bound is too great any more.", {add("n", 1).in_session(14, 1, kGreatest)});
}

void ends(History& history) {
  constexpr uint64_t kSlack = kTtl / 16, kEnd = kStart + kTtl + kSlack;
  history.set_time(kStart);
  history.step("A mark, and rules.", {rules(kTtl, 100, 1000)});
  history.step("One without a bound, one whose bound is near, one whose bound is far.",
               {add("n", 1).in_session(1, 1), add("n", 1).in_session(2, 1, kStart),
                add("n", 1).in_session(3, 1, kStart + kTtl)});
  history.set_time(kStart + kSlack);
  history.step("A small step dates nothing anew.", {add("n", 1).in_session(4, 1)});
  history.set_time(kStart + 2 * kSlack + 1);
  history.step("A greater one dates those of its batch and of the mark before.",
               {add("n", 1).in_session(5, 1)});
  history.set_time(kEnd);
  history.step("The ttl and a sixteenth: not over yet.", {event("s", "e")});
  history.set_time(kEnd + 1);
  history.step("A nanosecond more.", {event("s", "e")});
  history.step(
      "A client is told that its session has ended; serial 1 begins another one.",
      {add("n", 1).in_session(1, 2), add("n", 1).in_session(2, 2), add("n", 1).in_session(1, 1)});
  history.set_time(kEnd + 1 + kTtl / 2);
  history.step("The bound of the last first command is as far as may be.",
               {add("n", 1).in_session(6, 1, kEnd + 1 + kTtl)});
  history.step("A shorter ttl.", {rules(kSecond, 100, 1000)});
  history.set_time(kEnd + 1 + kTtl / 2 + 10 * kSecond);
  history.step("It ends all but the one that its bound holds.", {event("s", "e")});
  history.step("That one goes on.", {add("n", 1).in_session(6, 2)});
  history.set_time(kEnd + 1 + kTtl / 2 + 10 * kSecond + 1);
  history.step("A small step.", {event("s", "e")});
  history.set_time(kEnd + 1 + kTtl);
  history.step("Log time reaches the bound.", {event("s", "e")});
  history.set_time(kEnd + 2 + kTtl);
  history.step("And passes it.", {event("s", "e")});
  history.step("The repeat of its first command is refused.",
               {add("n", 1).in_session(6, 1, kEnd + 1 + kTtl), add("n", 1).in_session(6, 2)});
  history.step("A longer ttl.", {rules(kTtl, 100, 1000), add("n", 1).in_session(20, 1)});
  history.set_time(100 * kStart);
  history.step("A batch after a long silence is as new as its own mark.",
               {add("n", 1).in_session(20, 2), add("n", 1).in_session(21, 1),
                put("t", "v").until(50 * kStart), erase("t")});
  history.set_time(100 * kStart + kTtl);
  history.step("Its sessions live on.", {add("n", 1).in_session(20, 3)});
  history.set_time(100 * kStart + kTtl + kSlack + 1);
  history.step("The one that was not used ends.", {event("s", "e")});
}

}  // namespace tailrace::statemachine::history
