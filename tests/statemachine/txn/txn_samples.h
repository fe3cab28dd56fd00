#pragma once
// Sound transactions for the tests of their format: drawn by a seed, and told as text to be
// compared.

#include <deque>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "core/random.h"
#include "statemachine/txn/txn.h"

namespace tailrace::statemachine {

inline constexpr TxnLimits kAmple{size_t{64} << 20, size_t{16} << 20};

inline ByteSpan bytes_of(std::string_view text) {
  return as_bytes(text);
}

/// Draws transactions that are sound; the bytes live as long as this.
class TxnSource {
 public:
  explicit TxnSource(uint64_t seed) : random_(seed) {}

  /// Valid until the next call.
  const Txn& draw() {
    txn_.clear();
    texts_.clear();
    if (random_.chance(1, 2))
      txn_.once = OnceKey{random_.next(), random_.next(), random_.between(1, kMaxOnceNs)};
    for (uint64_t left = random_.below(6); left > 0; --left)
      txn_.checks.push_back(check());
    for (auto* list : {&txn_.then, &txn_.otherwise})
      for (uint64_t left = random_.below(6); left > 0; --left)
        list->push_back(effect());
    return txn_;
  }

 private:
  std::string_view keep(std::string text) { return texts_.emplace_back(std::move(text)); }
  uint64_t some_number() { return random_.chance(1, 4) ? ~uint64_t{0} : random_.between(1, 1000); }
  std::string_view some_bytes(uint64_t most) {
    std::string text(random_.below(most + 1), '\0');
    for (char& each : text)
      each = static_cast<char>(random_.below(256));
    return keep(std::move(text));
  }
  /// Of UTF-8; no two are the same.
  std::string_view name() {
    static constexpr const char* kParts[] = {"a", "order-", "ü", "日本", "😀", " ", "/"};
    std::string text = std::to_string(texts_.size());
    for (uint64_t left = random_.below(5); left > 0; --left)
      text += kParts[random_.below(std::size(kParts))];
    return keep(std::move(text));
  }

  TxnCheck check() {
    TxnCheck check;
    check.kind =
        static_cast<CheckKind>(random_.between(1, static_cast<uint64_t>(CheckKind::kLast)));
    if (check.kind != CheckKind::kBefore) check.name = as_bytes(name());
    if (check.kind == CheckKind::kKeyEquals) check.value = as_bytes(some_bytes(20));
    if (check.kind == CheckKind::kKeyNumber) {
      check.min = -static_cast<int64_t>(random_.below(100));
      check.max = static_cast<int64_t>(random_.below(100));
    }
    const bool has_at = check.kind == CheckKind::kKeyModifiedAt ||
                        check.kind == CheckKind::kStreamAt || check.kind == CheckKind::kBefore;
    if (has_at) check.at = some_number();
    return check;
  }

  TxnEffect effect() {
    TxnEffect effect;
    effect.kind =
        static_cast<TxnEffectKind>(random_.between(1, static_cast<uint64_t>(TxnEffectKind::kLast)));
    effect.name = as_bytes(name());
    if (effect.kind == TxnEffectKind::kPut) effect.value = as_bytes(some_bytes(40));
    if (effect.kind == TxnEffectKind::kAdd) effect.delta = static_cast<int64_t>(random_.next());
    const bool may_expire =
        effect.kind == TxnEffectKind::kPut || effect.kind == TxnEffectKind::kExpire;
    if (may_expire && random_.chance(1, 2)) effect.expires_at_ns = some_number();
    if (effect.kind == TxnEffectKind::kPolicy) policy(effect);
    if (effect.kind == TxnEffectKind::kAppend) append(effect);
    return effect;
  }

  void policy(TxnEffect& effect) {
    const uint64_t which = random_.between(1, 15);
    if ((which & 1) != 0) effect.max_count = random_.below(3);
    if ((which & 2) != 0) effect.max_age_ns = random_.next();
    if ((which & 4) != 0) effect.truncate_before = random_.below(2);
    if ((which & 8) != 0) effect.dedupe = random_.below(kMaxTxnDedupe + 1);
  }

  void append(TxnEffect& effect) {
    effect.expected = static_cast<Expected>(random_.below(4));
    if (effect.expected == Expected::kExact) effect.expected_version = random_.below(5);
    for (uint64_t left = random_.between(1, 4); left > 0; --left) {
      TxnEvent event;
      if (random_.chance(3, 4)) event.type = name();
      if (random_.chance(1, 2)) random_.fill(event.id.emplace());
      if (random_.chance(1, 2)) event.metadata = as_bytes("{\"by\":\"x\"}");
      event.content_type = static_cast<ContentType>(random_.below(4));
      event.data = as_bytes(some_bytes(60));
      std::vector<std::string_view> tags;
      for (uint64_t more = random_.chance(1, 8) ? kMaxEventTags : random_.below(3); more > 0;
           --more)
        tags.push_back(name());
      txn_.add_event(effect, event, tags);
    }
  }

  Random random_;
  std::deque<std::string> texts_;
  Txn txn_;
};

inline std::string hex(ByteSpan bytes) {
  std::string text;
  for (const std::byte byte : bytes)
    text += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
  return text;
}

inline std::string text_of(std::optional<uint64_t> number) {
  return number ? std::to_string(*number) : "-";
}

inline std::string text_of(const TxnEvent& event, std::span<const std::string_view> tags) {
  std::string text = fmt::format(
      "{} id {} content {} metadata {} data {} tags", event.type, event.id ? hex(*event.id) : "-",
      static_cast<int>(event.content_type), hex(event.metadata), hex(event.data));
  for (const std::string_view tag : tags)
    text += fmt::format(" '{}'", tag);
  return text;
}

inline std::string text_of(const TxnCheck& check) {
  return fmt::format("check {} {} value {} range {} {} at {}\n", static_cast<int>(check.kind),
                     hex(check.name), hex(check.value), check.min, check.max, check.at);
}

inline std::string text_of(const Txn& txn, const TxnEffect& effect) {
  std::string text = fmt::format(
      "effect {} {} value {} until {} delta {} expected {} {} policy {} {} {} {} events {}+{}\n",
      static_cast<int>(effect.kind), hex(effect.name), hex(effect.value), effect.expires_at_ns,
      effect.delta, static_cast<int>(effect.expected), effect.expected_version,
      text_of(effect.max_count), text_of(effect.max_age_ns), text_of(effect.truncate_before),
      text_of(effect.dedupe), effect.first_event, effect.event_count);
  for (const TxnEvent& event : txn.events_of(effect))
    text += "  event " + text_of(event, txn.tags_of(event)) + "\n";
  return text;
}

/// All of it but where its events stand in the body.
inline std::string text_of(const Txn& txn) {
  std::string text = fmt::format("time {}\n", txn.time_ns);
  if (txn.once)
    text += fmt::format("once {:x} {:x} {}\n", txn.once->high, txn.once->low, txn.once->until_ns);
  for (const TxnCheck& check : txn.checks)
    text += text_of(check);
  for (const auto* list : {&txn.then, &txn.otherwise}) {
    text += list == &txn.then ? "then\n" : "else\n";
    for (const TxnEffect& effect : *list)
      text += text_of(txn, effect);
  }
  return text;
}

}  // namespace tailrace::statemachine
