// Keys that expire: by the times of commit marks, which the history says.

#include "tests/statemachine/history/history.h"

namespace tailrace::statemachine::history {
namespace {

constexpr uint64_t kBegin = 1000 * kSecond, kForEver = ~uint64_t{0};

}  // namespace

void expiry(History& history) {
  history.step("Before the first mark log time is 0: even the least time is still to come.",
               {put("first", "v").until(1), insert("second", "v").until(1), erase("second")});
  history.set_time(kBegin);
  history.step("In one batch log time stands still.", {add("first", 1), cas("first", "v", "w")});
  history.step("Both have expired by the mark.", {erase("first"), erase("second")});
  history.step("Puts with times: past, now, next, far, the greatest.",
               {put("past", "v").until(kBegin - 1), put("now", "v").until(kBegin),
                put("next", "v").until(kBegin + 1), put("far", "v").until(2 * kBegin),
                put("ever", "v").until(kForEver)});
  history.step("What has expired is absent to every command.",
               {erase("past"), expire("past", 2 * kBegin), cas("now", "v", "w"), expire("now", 0)});
  history.set_time(kBegin + 1);
  history.step("A key whose time is the next mark's is there until that mark.",
               {cas("next", "v", "w")});
  history.step("A compare-and-swap kept the time.", {cas("next", "w", "x"), erase("next")});
  history.step("An expired number begins again and has no time.",
               {put("n", "41").until(kBegin + 1), add("n", 1), add("n", 1)});
  history.step("An add keeps the time, and so does a compare-and-swap.",
               {put("m", "41").until(2 * kBegin), add("m", 1), cas("m", "42", "43")});
  history.step("A failed one does, too.",
               {put("t", "text").until(2 * kBegin), add("t", 1), cas("t", "x", "y")});
  history.step("A put takes the time away, or sets another one.",
               {put("m", "1"), put("far", "w").until(3 * kBegin)});
  history.step("An expire sets a time, another one, and takes it away.",
               {put("e", "v"), expire("e", 2 * kBegin), expire("e", 3 * kBegin), expire("e", 0),
                expire("e", 0)});
  history.step("An expire into the past removes nothing from the store, and the key is absent.",
               {expire("e", 1), insert("e", "w"), expire("e", kBegin + 1), erase("e")});
  history.step("Of absent keys.", {expire("never", 2 * kBegin), expire("never", 0), expire("", 5)});
  history.step("An insert with a time, of an absent, a present and an expired key.",
               {insert("i", "1").until(2 * kBegin), insert("i", "2").until(3 * kBegin),
                put("j", "1").until(5), insert("j", "2").until(2 * kBegin), put("l", "1").until(5),
                insert("l", "2")});
  history.step("An insert into the past can be repeated.",
               {insert("lock", "a").until(5), insert("lock", "b").until(5)});
  history.step("Empty keys and values have times.",
               {put("", "").until(2 * kBegin), expire("", 3 * kBegin), put("v", "").until(9)});
  history.set_time(2 * kBegin - 1);
  history.step("A nanosecond before.", {cas("i", "x", "y"), cas("t", "x", "y")});
  history.set_time(2 * kBegin);
  history.step("The batch of the mark at that moment still finds them.",
               {cas("i", "x", "y"), cas("t", "x", "y")});
  history.step("The next one does not.", {cas("i", "x", "y"), cas("t", "x", "y"), add("m", 0)});
  history.set_time(kForEver - 1);
  history.step("Log time goes far.", {event("s", "e")});
  history.step("All have expired but the greatest.", {cas("far", "x", "y"), cas("ever", "x", "y")});
  history.set_time(kForEver);
  history.step("To the greatest.", {event("s", "e")});
  history.step("Now that one, too.", {cas("ever", "x", "y"), put("late", "v").until(kForEver)});
}

}  // namespace tailrace::statemachine::history
