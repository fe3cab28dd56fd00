#pragma once
// What a transaction comes to, said a second time and as plainly as possible: keys, streams, ids
// and once keys in maps, without a store.

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "statemachine/command/command.h"
#include "statemachine/streams/stream_reader.h"
#include "statemachine/txn/txn.h"
#include "statemachine/txn/txn_result.h"

namespace tailrace::statemachine {

class TxnModel {
 public:
  struct Key {
    std::string value;
    uint64_t expires_at = 0, modified_at = 0;
  };
  struct Stream {
    std::vector<EventPlace> places;  // of all events that there ever were
    StreamVersion first = 0;         // that is readable
    bool deleted = false, tombstoned = false;
    uint64_t max_count = 0, dedupe = kDefaultDedupe;
    std::deque<std::pair<EventIdBytes, StreamVersion>> ids;
  };

  uint64_t log_time_ns = 0, now_ns = 0;
  bool positions = true;

  Answer apply(const Txn& txn, uint64_t position) {
    if (txn.once) {
      const auto found = once_.find({txn.once->high, txn.once->low});
      if (found != once_.end() && found->second.first > log_time_ns) return found->second.second;
    }
    TxnResult result;
    result.position = position;
    now_ns = std::max(log_time_ns, txn.time_ns);
    texts_.clear();
    for (size_t i = 0; i < txn.checks.size(); ++i)
      note(result, TxnList::kChecks, i, failed(txn.checks[i]));
    const bool holds = result.failed.empty();
    const auto& list = holds ? txn.then : txn.otherwise;
    const size_t failed_checks = result.failed.size();
    for (size_t i = 0; i < list.size(); ++i)
      note(result, holds ? TxnList::kThen : TxnList::kElse, i, obstacle(txn, list[i]));
    if (result.failed.size() == failed_checks)
      for (const TxnEffect& effect : list)
        result.results.push_back(act(txn, effect, position));
    result.succeeded = result.failed.empty();
    std::vector<std::byte> bytes;
    encode(result, bytes);
    Answer answer{result.succeeded ? Outcome::kDone : Outcome::kTxnFailed, true, to_string(bytes)};
    if (txn.once && txn.once->until_ns > log_time_ns)
      once_[{txn.once->high, txn.once->low}] = {txn.once->until_ns, answer};
    return answer;
  }

  const Key* find(const std::string& key) const {
    const auto found = keys_.find(key);
    if (found == keys_.end()) return nullptr;
    const Key& it = found->second;
    return it.expires_at != 0 && it.expires_at <= log_time_ns ? nullptr : &it;
  }
  std::map<std::string, std::string> pairs() const {
    std::map<std::string, std::string> live;
    for (const auto& [key, it] : keys_)
      if (find(key) != nullptr) live[key] = it.value;
    return live;
  }
  const std::map<std::string, Stream>& streams() const { return streams_; }
  /// A deliberate fault: what is sent again is not known any more.
  void forget_ids() {
    once_.clear();
    for (auto& [name, stream] : streams_)
      stream.ids.clear();
  }

 private:
  using Found = std::optional<FailedCheck>;

  static void note(TxnResult& result, TxnList list, size_t index, Found found) {
    if (!found) return;
    found->list = list;
    found->index = static_cast<uint16_t>(index);
    result.failed.push_back(*found);
  }
  ByteSpan keep(const std::string& text) { return as_bytes(texts_.emplace_back(text)); }
  FailedCheck what_is_there(const Key* key) {
    if (key == nullptr) return {};
    return found_value(TxnList::kChecks, 0, keep(key->value));
  }
  static std::optional<int64_t> number(const Key* key) {
    if (key == nullptr) return 0;
    size_t used = 0;
    try {
      const int64_t value = std::stoll(key->value, &used);
      if (used == key->value.size() && !key->value.starts_with(' ')) return value;
    } catch (const std::exception&) {
    }
    return std::nullopt;
  }

  static bool exists(const Stream& stream) {
    return !stream.places.empty() && !stream.deleted && !stream.tombstoned;
  }
  static FailedCheck what_is_there(const Stream& stream, bool by_version) {
    FailedCheck found;
    found.found = FoundKind::kNoStream;
    if (stream.tombstoned) {
      found.found = FoundKind::kTombstoned;
    } else if (exists(stream) || (by_version && !stream.places.empty())) {
      found.found = FoundKind::kVersion;
      found.number = stream.places.size() - 1;
    }
    return found;
  }
  static bool is_as_expected(const Stream& stream, Expected expected, uint64_t version) {
    if (stream.tombstoned) return false;
    if (expected == Expected::kNone) return !exists(stream);
    if (expected == Expected::kExists) return exists(stream);
    if (expected == Expected::kExact)
      return !stream.places.empty() && stream.places.size() - 1 == version;
    return true;
  }
  Stream look(ByteSpan name) const {
    const auto found = streams_.find(to_string(name));
    return found == streams_.end() ? Stream{} : found->second;
  }

  Found failed(const TxnCheck& check) {
    const Key* key = find(to_string(check.name));
    const Stream stream = look(check.name);
    FailedCheck found;
    switch (check.kind) {
      case CheckKind::kKeyEquals:
        if (key != nullptr && key->value == as_text(check.value)) return {};
        return what_is_there(key);
      case CheckKind::kKeyAbsent:
        if (key == nullptr) return {};
        return what_is_there(key);
      case CheckKind::kKeyExists:
        if (key != nullptr) return {};
        return what_is_there(key);
      case CheckKind::kKeyModifiedAt:
        if (key == nullptr) return found;
        if (key->modified_at == check.at && check.at != 0) return {};
        found.found = FoundKind::kPosition;
        found.number = key->modified_at;
        return found;
      case CheckKind::kKeyNumber: {
        const auto value = number(key);
        if (key != nullptr && value && check.min <= *value && *value <= check.max) return {};
        return what_is_there(key);
      }
      case CheckKind::kStreamAt:
        if (is_as_expected(stream, Expected::kExact, check.at)) return {};
        return what_is_there(stream, true);
      case CheckKind::kStreamAbsent:
        if (is_as_expected(stream, Expected::kNone, 0)) return {};
        return what_is_there(stream, false);
      case CheckKind::kStreamExists:
        if (is_as_expected(stream, Expected::kExists, 0)) return {};
        return what_is_there(stream, false);
      case CheckKind::kBefore:
        if (now_ns < check.at) return {};
        found.found = FoundKind::kLogTime;
        found.number = now_ns;
        return found;
    }
    return {};
  }

  /// Where the events of an append stand already: all of them, or the first that does.
  struct Known {
    std::optional<StreamVersion> all;
    std::optional<size_t> some;
  };
  static Known known(const Stream& stream, std::span<const TxnEvent> events) {
    std::vector<std::optional<StreamVersion>> at;
    for (const TxnEvent& event : events) {
      at.emplace_back();
      for (const auto& [id, version] : stream.ids)
        if (event.id == id) at.back() = version;
    }
    Known known;
    bool in_a_row = true;
    for (size_t i = 0; i < at.size(); ++i) {
      if (at[i] && !known.some) known.some = i;
      in_a_row &= at[i] && *at[i] == at[0].value_or(0) + i;
    }
    if (in_a_row) known.all = at[0];
    return known;
  }

  Found obstacle(const Txn& txn, const TxnEffect& effect) {
    const Stream stream = look(effect.name);
    const Key* key = find(to_string(effect.name));
    if (effect.kind == TxnEffectKind::kAdd) {
      const auto before = number(key);
      int64_t sum = 0;
      if (before && !__builtin_add_overflow(*before, effect.delta, &sum)) return {};
      return what_is_there(key);
    }
    if (effect.kind == TxnEffectKind::kPolicy && stream.tombstoned)
      return what_is_there(stream, false);
    if (effect.kind != TxnEffectKind::kAppend) return {};
    if (stream.tombstoned) return what_is_there(stream, false);
    const Known there = known(stream, txn.events_of(effect));
    if (there.all) return {};
    if (there.some) {
      FailedCheck found;
      found.found = FoundKind::kPartialIds;
      found.number = *there.some;
      return found;
    }
    if (is_as_expected(stream, effect.expected, effect.expected_version)) return {};
    return what_is_there(stream, effect.expected == Expected::kExact);
  }

  EffectResult act(const Txn& txn, const TxnEffect& effect, uint64_t position) {
    const std::string name = to_string(effect.name);
    const Key* before = find(name);
    EffectResult result;
    const uint64_t modified = positions ? position : 0;
    switch (effect.kind) {
      case TxnEffectKind::kPut:
        keys_[name] = {to_string(effect.value), effect.expires_at_ns, modified};
        return result;
      case TxnEffectKind::kGet:
        result.kind = before ? EffectResultKind::kValue : EffectResultKind::kAbsent;
        if (before) result.value = keep(before->value);
        return result;
      case TxnEffectKind::kDelete:
        if (!before) result.kind = EffectResultKind::kAbsent;
        keys_.erase(name);
        return result;
      case TxnEffectKind::kExpire:
        if (!before) result.kind = EffectResultKind::kAbsent;
        if (before) keys_[name] = {before->value, effect.expires_at_ns, modified};
        return result;
      case TxnEffectKind::kAdd:
        result.kind = EffectResultKind::kNumber;
        result.number = *number(before) + effect.delta;
        keys_[name] = {std::to_string(result.number), before ? before->expires_at : 0, modified};
        return result;
      case TxnEffectKind::kAppend:
        return append(txn, effect, position);
      case TxnEffectKind::kPolicy:
        return set_policy(effect);
      case TxnEffectKind::kDeleteStream: {
        Stream& stream = streams_[name];
        if (!exists(stream)) result.kind = EffectResultKind::kAbsent;
        if (exists(stream)) stream.deleted = true;
        stream.first = stream.places.size();
        return result;
      }
      case TxnEffectKind::kTombstone: {
        Stream& stream = streams_[name];
        stream.tombstoned = true;
        stream.first = stream.places.size();
        return result;
      }
    }
    return result;
  }

  static void limit(Stream& stream) {
    if (stream.max_count != 0 && stream.places.size() > stream.max_count)
      stream.first = std::max<uint64_t>(stream.first, stream.places.size() - stream.max_count);
    while (stream.ids.size() > stream.dedupe)
      stream.ids.pop_front();
  }

  EffectResult append(const Txn& txn, const TxnEffect& effect, uint64_t position) {
    Stream& stream = streams_[to_string(effect.name)];
    const auto events = txn.events_of(effect);
    EffectResult result;
    result.kind = EffectResultKind::kAppended;
    const Known there = known(stream, events);
    result.replayed = there.all.has_value();
    result.first_version = there.all.value_or(stream.places.size());
    result.last_version = result.first_version + events.size() - 1;
    if (result.replayed) return result;
    for (size_t i = 0; i < events.size(); ++i) {
      if (events[i].id) stream.ids.emplace_back(*events[i].id, stream.places.size());
      stream.places.push_back({position, static_cast<uint16_t>(effect.first_event + i)});
    }
    stream.deleted = false;
    limit(stream);
    return result;
  }

  EffectResult set_policy(const TxnEffect& effect) {
    Stream& stream = streams_[to_string(effect.name)];
    stream.max_count = effect.max_count.value_or(stream.max_count);
    stream.dedupe = effect.dedupe.value_or(stream.dedupe);
    stream.first = std::max<uint64_t>(
        stream.first, std::min<uint64_t>(effect.truncate_before.value_or(0), stream.places.size()));
    limit(stream);
    return {};
  }

  std::map<std::string, Key> keys_;
  std::map<std::string, Stream> streams_;
  std::map<std::pair<uint64_t, uint64_t>, std::pair<uint64_t, Answer>> once_;
  std::deque<std::string> texts_;
};

}  // namespace tailrace::statemachine
