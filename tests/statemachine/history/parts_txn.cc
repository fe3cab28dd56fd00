// What transactions do to keys, streams and once keys. The bodies are made here and not by
// encode().

#include "tests/statemachine/history/history.h"

namespace tailrace::statemachine::history {
namespace {

/// Checks, then, else: items one behind the other, each made by a function below.
struct Body {
  std::vector<std::string> checks, then, otherwise;
  uint64_t time = kStart;
  std::string once = {};  // 24 bytes

  operator Written() const {
    std::string bytes;
    put_number(bytes, uint8_t{1});
    put_number(bytes, static_cast<uint8_t>(once.empty() ? 0 : 1));
    for (const auto* list : {&checks, &then, &otherwise})
      put_number(bytes, static_cast<uint16_t>(list->size()));
    put_number(bytes, time);
    bytes += once;
    for (const auto* list : {&checks, &then, &otherwise})
      for (const std::string& item : *list)
        bytes += item;
    return txn(bytes);
  }
};

std::string item(uint8_t kind, uint8_t flags, const std::string& name, const std::string& fields,
                 const std::string& rest = "") {
  std::string bytes;
  put_number(bytes, kind);
  put_number(bytes, flags);
  put_number(bytes, static_cast<uint16_t>(name.size()));
  return bytes + fields + name + rest;
}

std::string length_of(const std::string& value) {
  std::string bytes;
  put_number(bytes, static_cast<uint32_t>(value.size()));
  return bytes;
}

// Checks.
std::string equals(const std::string& key, const std::string& value) {
  return item(1, 0, key, length_of(value), value);
}
std::string absent(const std::string& key) {
  return item(2, 0, key, "");
}
std::string present(const std::string& key) {
  return item(3, 0, key, "");
}
std::string modified_at(const std::string& key, uint64_t position) {
  return item(4, 0, key, numbers({position}));
}
std::string between(const std::string& key, uint64_t min, uint64_t max) {
  return item(5, 0, key, numbers({min, max}));
}
std::string stream_at(const std::string& stream, uint64_t version) {
  return item(6, 0, stream, numbers({version}));
}
std::string no_stream(const std::string& stream) {
  return item(7, 0, stream, "");
}
std::string a_stream(const std::string& stream) {
  return item(8, 0, stream, "");
}
std::string before(uint64_t time) {
  return item(9, 0, "", numbers({time}));
}

// Effects.
std::string put_until(const std::string& key, const std::string& value, uint64_t time) {
  return item(1, 1, key, numbers({time}) + length_of(value), value);
}
std::string put_key(const std::string& key, const std::string& value) {
  return item(1, 0, key, length_of(value), value);
}
std::string delete_key(const std::string& key) {
  return item(2, 0, key, "");
}
std::string add_to_key(const std::string& key, int64_t delta) {
  return item(3, 0, key, numbers({static_cast<uint64_t>(delta)}));
}
std::string expire_key(const std::string& key, uint64_t time) {
  return time == 0 ? item(4, 0, key, "") : item(4, 1, key, numbers({time}));
}
std::string get(const std::string& key) {
  return item(5, 0, key, "");
}

std::string event_of(uint64_t id) {
  std::string bytes;
  put_number(bytes, static_cast<uint8_t>(id == 0 ? 0 : 1));
  put_number(bytes, uint8_t{1});  // JSON
  put_number(bytes, uint8_t{1});
  put_number(bytes, uint8_t{0});
  put_number(bytes, uint32_t{0});
  put_number(bytes, uint32_t{2});
  if (id != 0) bytes += numbers({id, 0});
  return bytes + "t{}";
}
/// `expected`: 0 any, 1 none, 2 a stream. Ids of 0 are none.
std::string append(const std::string& stream, const std::vector<uint64_t>& ids,
                   uint8_t expected = 0) {
  std::string count, events;
  put_number(count, static_cast<uint16_t>(ids.size()));
  for (const uint64_t id : ids)
    events += event_of(id);
  return item(6, expected, stream, count, events);
}
std::string append_at(const std::string& stream, uint64_t version) {
  std::string count;
  put_number(count, uint16_t{1});
  return item(6, 3, stream, numbers({version}) + count, event_of(0));
}
std::string policy(const std::string& stream, uint64_t max_count, uint64_t max_age,
                   uint64_t truncate_before, uint64_t dedupe) {
  return item(7, 15, stream, numbers({max_count, max_age, truncate_before, dedupe}));
}
std::string delete_stream(const std::string& stream) {
  return item(8, 0, stream, "");
}
std::string tombstone(const std::string& stream) {
  return item(9, 0, stream, "");
}

Written rules_with_positions() {
  return rules(rules_with_positions_bytes(kTtl, 3, 1000, {}));
}

void of_keys(History& history) {
  history.step("Before rules of version 3 keys have no positions, also those of transactions.",
               {put("old", "1"), Body{{}, {put_key("k", "1"), add_to_key("n", 5)}, {}}});
  history.set_time(kStart);
  history.step(
      "From such rules on every write of a key leaves its position.",
      {rules_with_positions(), put("k", "2"), add("n", 1), cas("k", "2", "3"), insert("i", "x"),
       expire("i", kStart + 90 * kSecond), put("t", "x").until(kStart + 80 * kSecond)});
  history.step("Rules of version 1 leave them.", {rules(kTtl, 3, 1000), put("k", "4")});
  history.step(
      "All effects on keys.",
      {Body{{},
            {put_key("a", "1"), put_until("b", "2", kStart + 60 * kSecond), delete_key("k"),
             delete_key("none"), add_to_key("n", -7), add_to_key("new", 3), expire_key("i", 0),
             expire_key("none too", 9), get("old"), get("nowhere")},
            {}}});
  history.step("All checks on keys hold.", {Body{{equals("a", "1"), absent("none"), present("a"),
                                                  between("new", 0, 9), before(kStart + 1)},
                                                 {get("a")},
                                                 {put_key("a", "wrong")}}});
  history.step(
      "None holds, and what is done instead is done.",
      {Body{{equals("a", "2"), equals("none", ""), absent("a"), present("none"),
             between("n", 0, static_cast<uint64_t>(-2)), between("old", 2, 3), modified_at("a", 1),
             modified_at("old", 0), modified_at("none", 0), before(kStart)},
            {put_key("a", "wrong")},
            {put_key("else", "right")}}});
  history.step("An add to what is no number keeps all of it away.",
               {put("text", "x"), Body{{}, {put_key("a", "wrong"), add_to_key("text", 1)}, {}},
                Body{{present("none")}, {}, {put_key("a", "wrong"), add_to_key("text", 1)}}});
}

void of_streams(History& history) {
  history.begin_anew("streams");
  history.set_time(kStart);
  history.step(
      "Two streams appear.",
      {rules_with_positions(),
       Body{{no_stream("s")}, {append("s", {1, 2}, 1), append("t", {0}), put_key("k", "v")}, {}}});
  history.step(
      "Their checks.",
      {Body{{stream_at("s", 1), a_stream("t"), no_stream("u")}, {}, {}},
       Body{{stream_at("s", 0), stream_at("u", 0), no_stream("s"), a_stream("u")}, {}, {}}});
  history.step("Events that are there already; the key is put.",
               {Body{{}, {append("s", {1, 2}, 1), put_key("k", "w")}, {}},
                Body{{}, {append("s", {2})}, {}}});
  history.step("Some of them only, or another order: nothing is done.",
               {Body{{}, {append("s", {2, 3}), put_key("k", "wrong")}, {}},
                Body{{}, {append("s", {2, 1})}, {}}, Body{{}, {append("s", {0, 1})}, {}}});
  history.step("Versions that are expected.",
               {Body{{}, {append_at("s", 1)}, {}}, Body{{}, {append_at("s", 1)}, {}},
                Body{{}, {append("t", {0}, 2), append("u", {0}, 2)}, {}},
                Body{{}, {append("s", {9}, 1), append("u", {0}, 1)}, {}}});
  history.step("An earlier time does not count.", {Body{{}, {append("s", {0})}, {}, kStart - 1}});
  history.step("More than the head holds.",
               {Body{{}, {append("s", std::vector<uint64_t>(70, 0))}, {}}});
  history.step("A policy.", {Body{{}, {policy("s", 3, 0, 5, 1), policy("later", 1, 7, 0, 0)}, {}},
                             Body{{}, {append("s", {1}), append("later", {5})}, {}}});
  history.step("Deleted; the numbers go on.",
               {Body{{}, {delete_stream("s"), delete_stream("none")}, {}},
                Body{{no_stream("s"), stream_at("s", 74)}, {append("s", {0}, 1)}, {}}});
  history.step("A tombstone is final.",
               {Body{{}, {tombstone("s"), tombstone("unheard")}, {}},
                Body{{no_stream("s"), a_stream("s"), stream_at("s", 75)}, {}, {append("s", {0})}},
                Body{{}, {policy("s", 1, 0, 0, 0), put_key("k", "wrong")}, {}},
                Body{{}, {tombstone("s"), delete_stream("s"), append("unheard too", {0})}, {}}});
}

void repeated(History& history) {
  history.begin_anew("repeats");
  history.set_time(kStart);
  const auto once = [](uint64_t low, uint64_t until) { return numbers({7, low, until}); };
  const Body first{{}, {append("s", {0})}, {}, kStart, once(1, kStart + 100 * kSecond)};
  history.step("A once key; the same one again is answered as the first, whatever it asks for.",
               {rules_with_positions(), put("x", ""), first, first,
                Body{{}, {put_key("k", "wrong")}, {}, kStart, once(1, kStart + 900 * kSecond)}});
  history.step("One that fails is remembered, too.",
               {Body{{present("k")}, {}, {}, kStart, once(2, kStart + 50 * kSecond)}, put("k", "v"),
                Body{{present("k")}, {}, {}, kStart, once(2, kStart + 50 * kSecond)}});
  history.step("One whose end has come is not remembered.",
               {Body{{}, {add_to_key("n", 1)}, {}, kStart, once(3, kStart)},
                Body{{}, {add_to_key("n", 1)}, {}, kStart, once(3, kStart)}});
  history.step("A long result is not kept.",
               {put("large", std::string(5000, 'v')),
                Body{{}, {get("large")}, {}, kStart, once(4, kStart + 60 * kSecond)},
                Body{{}, {get("large")}, {}, kStart, once(4, kStart + 60 * kSecond)}});
  history.set_time(kStart + 50 * kSecond);
  history.step("A mark removes those whose end has come.", {time_passes()});
  history.set_time(kStart + 200 * kSecond);
  history.step("Before the mark one is still remembered.", {first});
  history.step("Behind it, it is not.", {first});
  const Written body = Body{{}, {append("s", {0}), put_key("k", "1")}, {}};
  history.step("In a session, sent twice.",
               {txn(body.payload.substr(48)).in_session(1, 1, kStart + kTtl),
                txn(body.payload.substr(48)).in_session(1, 1, kStart + kTtl),
                txn(body.payload.substr(48)).in_session(1, 3)});
}

}  // namespace

void transactions(History& history) {
  of_keys(history);
  of_streams(history);
  repeated(history);
  history.begin_anew("bodies that are none");
  const Written sound = Body{{}, {put_key("k", "v")}, {}};
  const std::string body = sound.payload.substr(48);
  history.stops_at("One that ends early.", {txn(body.substr(0, body.size() - 1))});
  history.stops_at("Of a newer version.", {txn("\x02" + body.substr(1))});
  WrittenCommand keyed = txn(body);
  keyed.key = "k";
  history.stops_at("With a key.", {keyed});
}

}  // namespace tailrace::statemachine::history
