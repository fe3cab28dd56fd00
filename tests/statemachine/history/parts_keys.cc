// What commands do to keys that do not expire.

#include <limits>

#include "tests/statemachine/history/history.h"

namespace tailrace::statemachine::history {
namespace {

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();
const std::string kLongestKey(65535, 'k');
/// The longest that comes with an answer, and one more byte.
const std::string kLongest(65536, 'v'), kTooLong(65537, 'w');

}  // namespace

void keys(History& history) {
  history.step("The first batch of a log; its mark says 0.", {put("k", "1")});
  history.set_time(1000 * kSecond);
  history.step("A put replaces what is there.", {put("k", "2")});
  history.step("The same put again.", {put("k", "2")});
  history.step("An empty value is a value.", {put("k", "")});
  history.step("Zeros and any other bytes, in keys and values.",
               {put(std::string("\0k\xff", 3), std::string("\0\n\xff\x80", 4))});
  history.step("A key that begins as the machine's own ones do.",
               {put("mrules", "v"), put("s", "v"), put("a", "v"), put("u", "v")});
  history.step("An empty key, which servers do not take.", {put("", "v")});
  history.step("The longest key, with the value that is too long for an answer.",
               {put(kLongestKey, kTooLong)});
  history.step("A delete of it, twice.", {erase(kLongestKey), erase(kLongestKey)});
  history.step("Deletes of the empty key and of a key that never was.",
               {erase(""), erase("never")});
  history.step("A put after a delete.", {erase("k"), put("k", "3")});
  history.step("Longer, shorter, and as long.",
               {put("k", std::string(5000, 'x')), put("k", "x"), put("k", "y")});
  history.step("One batch on one key: its order counts.",
               {put("o", "1"), erase("o"), put("o", "2"), add("o", 5), cas("o", "7", "8"),
                insert("o", "9"), erase("o"), insert("o", "10")});
}

void numbers_in_values(History& history) {
  history.set_time(1000 * kSecond);
  history.step("An absent key counts as 0.", {add("n", 5)});
  history.step("Up, down and by nothing.", {add("n", 7), add("n", -20), add("n", 0)});
  history.step("By nothing on an absent key.", {add("zero", 0)});
  history.step("The greatest and the least number on an absent key.",
               {add("most", kMost), add("least", kLeast)});
  history.step("Beyond them: nothing changes.", {add("most", 1), add("least", -1)});
  history.step("Back from them.", {add("most", -1), add("least", 1), add("most", kLeast)});
  history.step("From below zero to above.", {put("m", "-1"), add("m", 1), add("m", 1)});
  std::vector<Written> written;
  for (const char* text :
       {"9223372036854775807", "-9223372036854775808", "007", "-0", "-007", "0", "00"}) {
    written.push_back(put("t", text));
    written.push_back(add("t", 0));
  }
  history.step("Values that are numbers, however they are written.", written);
  written.clear();
  for (const char* text :
       {"", " 1", "1 ", "+1", "-", "--1", "1.0", "1e3", "0x1", "abc", "1\n", "9223372036854775808",
        "-9223372036854775809",
        "00000000000000000000000000000000000000000000000000000000000000000001"}) {
    written.push_back(put("t", text));
    written.push_back(add("t", 1));
  }
  written.push_back(put("t", std::string("1\0", 2)));
  written.push_back(add("t", 1));
  history.step("Values that are none, and one with many zeros.", written);
  history.step("The empty key.", {add("", 1), add("", 1)});
}

void comparing(History& history) {
  history.set_time(1000 * kSecond);
  history.step("An absent key has no value, not even the empty one.",
               {cas("k", "", "v"), cas("k", "x", "v")});
  history.step("An insert of an absent key, and of a present one.",
               {insert("k", "1"), insert("k", "2")});
  history.step("What is expected is there.", {cas("k", "1", "2")});
  history.step("What is expected is not there: longer, shorter, another, the one before.",
               {cas("k", "22", "v"), cas("k", "", "v"), cas("k", "3", "v"), cas("k", "1", "v")});
  history.step("To the same, and to the empty value and back.",
               {cas("k", "2", "2"), cas("k", "2", ""), cas("k", "", "3")});
  history.step("Zeros count.", {put("z", std::string("a\0b", 3)), cas("z", "a", "v"),
                                cas("z", std::string("a\0b", 3), std::string("\0", 1))});
  history.step("Numbers are compared as text.", {put("n", "07"), cas("n", "7", "8")});
  history.step("An insert of the empty value; it is present then.",
               {insert("e", ""), insert("e", "v"), cas("e", "", "")});
  history.step("After a delete a key is absent.",
               {erase("e"), cas("e", "", "v"), insert("e", "again")});
  history.step("The longest value that comes with an answer.",
               {put("long", kLongest), cas("long", "x", "y"), insert("long", "y")});
  history.step("One byte more.",
               {put("long", kTooLong), cas("long", "x", "y"), insert("long", "y")});
  history.step("Long ones are compared whole.",
               {cas("long", kTooLong.substr(1) + "x", "y"), cas("long", kTooLong, kLongest)});
  history.step("The empty key.", {insert("", "1"), insert("", "2"), cas("", "1", "2")});
}

void without_effect(History& history) {
  history.set_time(1000 * kSecond);
  history.step("Nodes say what their state is.", {put("k", "v"), digest(), compare(), digest()});
  history.step("An event is of the log alone, whatever its stream is called.",
               {event("k", "e"), event("", ""), event("s", std::string(70'000, 'e')),
                event(std::string(65535, 's'), "")});
  history.step("A time does nothing by itself.", {time_passes()});
  WrittenCommand odd = put("k", "w");
  std::vector<Written> written;
  for (const uint8_t operation : {1, 6, 8, 9}) {
    odd.operation = operation;
    written.push_back(odd);
  }
  history.step("Commands without effect have none with a key and a value either.", written);
  odd.operation = 3;
  history.step("What a command does not use is not looked at.", {odd, add("n", 1)});
  odd.operation = 4;
  odd.delta = 3;
  history.step("The same, with a delta.", {odd, put("k", "5"), odd});
  history.step("Records of other kinds are not commands.",
               {{RecordKind::kEpochStart, "anything", "start of an epoch"},
                {RecordKind::kConfiguration, "anything", "members"},
                {static_cast<RecordKind>(17), put("k", "x").payload(), "record of kind 17"},
                {static_cast<RecordKind>(255), "", "record of kind 255"}});
  history.set_epoch(7);
  history.step("A later epoch goes on with the same state.", {add("n", 1)});
  history.set_time(1000 * kSecond - 1);
  history.step("A mark of an earlier time does not move the log time.", {add("n", 1)});
  history.set_time(0);
  history.step("Nor does one of no time.", {add("n", 1)});
  history.set_time(~uint64_t{0});
  history.step("The greatest time.", {add("n", 1)});
  history.step("And once more.", {add("n", 1)});
  history.step("The last scavenge is noted, and how many there were.",
               {scavenge(), put("k", "v"), scavenge()});
  history.step("Another one.", {scavenge()});
}

}  // namespace tailrace::statemachine::history
