// Records that stop a node: which these are, and what of their batch is applied.

#include "tests/statemachine/history/history.h"

namespace tailrace::statemachine::history {
namespace {

Written of_bytes(std::string words, std::string payload) {
  return {RecordKind::kData, std::move(payload), std::move(words)};
}

/// The command with `bytes` in place of those from `at` on.
Written changed(std::string words, const WrittenCommand& command, size_t at, std::string bytes) {
  return of_bytes(std::move(words), command.payload().replace(at, bytes.size(), bytes));
}

std::string with(std::string bytes, size_t at, uint8_t value) {
  bytes[at] = static_cast<char>(value);
  return bytes;
}

/// Behind one that is applied, before one that is not.
void stop(History& history, const std::string& why, const Written& record) {
  history.stops_at(why, {put("before", "v"), record, put("after", "v")});
}

void broken_headers(History& history) {
  const WrittenCommand plain = put("k", "v");
  const std::string bytes = plain.payload();
  stop(history, "No bytes.", of_bytes("nothing", ""));
  stop(history, "Less than a header.", of_bytes("47 bytes", bytes.substr(0, 47)));
  stop(history, "A byte less than it says.", of_bytes("put", bytes.substr(0, bytes.size() - 1)));
  stop(history, "A byte more.", of_bytes("put", bytes + "x"));
  stop(history, "Lengths that say more than there is.",
       changed("put", plain, 4, "\xff\xff\xff\xff"));
  stop(history, "Operation 0.", changed("operation 0", plain, 0, std::string(1, '\0')));
  stop(history, "The operation after the last.", changed("operation 14", plain, 0, "\x0e"));
  stop(history, "The greatest operation.", changed("operation 255", plain, 0, "\xff"));
  stop(history, "A flag that is not known.", changed("flag 8", plain, 1, "\x08"));
  stop(history, "Another one.", changed("flag 128", plain, 1, "\x80"));
  stop(history, "A reserved field.", changed("put", plain, 12, "\x01"));
  history.stops_at("At the first record of a log.", {of_bytes("nothing", ""), put("after", "v")});
}

void broken_fields(History& history) {
  const WrittenCommand plain = put("k", "v");
  stop(history, "A client without a session.", changed("put", plain, 16, "\x01"));
  stop(history, "Its other half.", changed("put", plain, 24, "\x01"));
  stop(history, "A serial without a session.", changed("put", plain, 32, "\x01"));
  stop(history, "Serial 0.", plain.in_session(7, 0));
  WrittenCommand bound = plain;
  bound.begins_before = 5;
  stop(history, "A bound without a session.", bound);
  stop(history, "A bound of serial 2.", plain.in_session(7, 2, 5));
  stop(history, "A bound of 0.",
       changed("put", plain.in_session(7, 1, 5), 48, std::string(8, '\0')));
  stop(history, "A time of 0.", changed("put", plain.until(5), 48, std::string(8, '\0')));
  for (uint8_t operation = 1; operation <= 11; ++operation) {
    WrittenCommand odd = plain;
    odd.operation = operation;
    WrittenCommand expected = odd, delta = odd;
    expected.expected = "x";
    delta.delta = -1;
    if (operation != 5) stop(history, "An expected value where there is none.", expected);
    if (operation != 4) stop(history, "A delta where there is none.", delta);
    if (operation != 2 && operation != 7 && operation != 11)
      stop(history, "A time where there is none.", odd.until(5));
  }
}

void broken_rules(History& history) {
  constexpr uint64_t kHour = 3600 * kSecond, kTenYears = 315'360'000 * kSecond;
  const std::string one = rules_bytes(kHour, 1, 1), two = rules_bytes(kHour, 1, 1, {1, 1, 1});
  const auto refuse = [&](const std::string& why, std::string bytes) {
    stop(history, "Rules: " + why, rules(std::move(bytes)));
  };
  refuse("nothing.", "");
  refuse("three bytes.", one.substr(0, 3));
  refuse("version 0.", with(one, 0, 0));
  refuse("version 4.", with(two, 0, 4));
  refuse("version 1 in a byte less.", one.substr(0, 23));
  refuse("version 1 in the bytes of version 2.", with(two, 0, 1));
  refuse("version 2 in the bytes of version 1.", with(one, 0, 2));
  refuse("a reserved field.", with(one, 20, 1));
  refuse("less than a second.", rules_bytes(kSecond - 1, 1, 1));
  refuse("more than ten years.", rules_bytes(kTenYears + 1, 1, 1));
  refuse("no answers.", rules_bytes(kHour, 0, 1));
  refuse("too many answers.", rules_bytes(kHour, 65537, 1));
  refuse("no bytes of answers.", rules_bytes(kHour, 1, 0));
  refuse("too many bytes of answers.", rules_bytes(kHour, 1, 65537));
  refuse("no sessions.", rules_bytes(kHour, 1, 1, {0, 1, 1}));
  refuse("too many sessions.", rules_bytes(kHour, 1, 1, {10'000'001, 1, 1}));
  refuse("no bytes of values.", rules_bytes(kHour, 1, 1, {1, 0, 1}));
  refuse("too many bytes of values.", rules_bytes(kHour, 1, 1, {1, 65537, 1}));
  refuse("no bytes of all answers.", rules_bytes(kHour, 1, 1, {1, 1, 0}));
  refuse("too many bytes of all answers.",
         rules_bytes(kHour, 1, 1, {1, 1, (uint64_t{64} << 30) + 1}));
  stop(history, "Broken rules in a session, which does not begin.",
       rules(with(one, 0, 4)).in_session(7, 1));
}

}  // namespace

void broken(History& history) {
  broken_headers(history);
  broken_fields(history);
  broken_rules(history);
}

}  // namespace tailrace::statemachine::history
