#pragma once
// An event store in memory, as plain as can be: every event of every stream, and what of it may be
// read. What the index answers is compared with it.

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "statemachine/streams/stream.h"

namespace tailrace::statemachine {

struct ModelStream {
  struct Event {
    EventPlace place;
    uint64_t time_ns;
  };
  std::vector<Event> events;  // by their versions
  std::deque<std::pair<EventId, StreamVersion>> ids;
  StreamPolicy policy;
  StreamVersion first = 0;    // readable, but for ages
  StreamVersion too_old = 0;  // before it all were too old at some append
  bool deleted = false, tombstoned = false;

  uint64_t last_time_ns() const { return events.empty() ? 0 : events.back().time_ns; }
  bool is_old(StreamVersion version, uint64_t now_ns) const {
    return policy.max_age_ns != 0 && now_ns >= policy.max_age_ns &&
           events[version].time_ns <= now_ns - policy.max_age_ns;
  }
  StreamVersion first_young(uint64_t now_ns) const {
    StreamVersion version = 0;
    while (version < events.size() && is_old(version, now_ns))
      ++version;
    return version;
  }
  void limit() {
    if (policy.max_count != 0 && events.size() > policy.max_count)
      first = std::max<StreamVersion>(first, events.size() - policy.max_count);
    while (ids.size() > policy.dedupe)
      ids.pop_front();
  }
};

class StreamsModel {
 public:
  StreamPresence presence(const std::string& name) const {
    using State = StreamPresence::State;
    const auto at = streams_.find(name);
    if (at == streams_.end()) return {};
    const ModelStream& stream = at->second;
    StreamPresence found;
    if (!stream.events.empty()) found.last = stream.events.size() - 1;
    found.state = stream.tombstoned        ? State::kTombstoned
                  : stream.deleted         ? State::kDeleted
                  : !stream.events.empty() ? State::kExists
                                           : State::kNone;
    return found;
  }

  bool holds(const std::string& name, ExpectedVersion expected) const {
    using State = StreamPresence::State;
    const StreamPresence found = presence(name);
    if (found.state == State::kTombstoned) return false;
    if (expected.kind == ExpectedVersion::Kind::kExists) return found.state == State::kExists;
    if (expected.kind == ExpectedVersion::Kind::kNone) return found.state != State::kExists;
    return expected.kind == ExpectedVersion::Kind::kAny || found.last == expected.version;
  }

  AppendOutcome append(const std::string& name, ExpectedVersion expected,
                       const std::vector<EventId>& ids, const std::vector<EventPlace>& places,
                       uint64_t time_ns) {
    using Kind = AppendOutcome::Kind;
    AppendOutcome outcome;
    outcome.found = presence(name);
    const auto say = [&outcome](Kind kind, size_t index) {
      outcome.kind = kind;
      outcome.index = index;
      return outcome;
    };
    if (outcome.found.state == StreamPresence::State::kTombstoned) return say(Kind::kTombstoned, 0);
    for (size_t i = 0; i < ids.size(); ++i)
      for (size_t j = 0; j < i; ++j)
        if (ids[i].is_given() && ids[i] == ids[j]) return say(Kind::kRepeatedId, i);
    std::vector<std::optional<StreamVersion>> known(ids.size());
    for (size_t i = 0; i < ids.size(); ++i)
      known[i] = ids[i].is_given() ? version_of(name, ids[i]) : std::nullopt;
    const auto some = std::find_if(known.begin(), known.end(),
                                   [](const auto& version) { return version.has_value(); });
    if (some != known.end()) {
      for (size_t i = 0; i < known.size(); ++i)
        if (!known[i] || !known[0] || *known[i] != *known[0] + i)
          return say(Kind::kPartialMatch, static_cast<size_t>(some - known.begin()));
      outcome.first = *known[0];
      outcome.last = outcome.first + places.size() - 1;
      return say(Kind::kReplayed, 0);
    }
    if (!holds(name, expected)) return say(Kind::kWrongVersion, 0);
    ModelStream& stream = streams_[name];
    time_ns = std::max(time_ns, stream.last_time_ns());
    stream.too_old = std::max(stream.too_old, stream.first_young(time_ns));
    outcome.first = stream.events.size();
    for (size_t i = 0; i < places.size(); ++i) {
      if (i < ids.size() && ids[i].is_given()) stream.ids.emplace_back(ids[i], outcome.first + i);
      stream.events.push_back({places[i], time_ns});
    }
    outcome.last = stream.events.size() - 1;
    stream.deleted = false;
    stream.limit();
    return outcome;
  }

  void set_policy(const std::string& name, const PolicyChange& change) {
    if (is_tombstoned(name)) return;
    ModelStream& stream = streams_[name];
    if (change.max_count) stream.policy.max_count = *change.max_count;
    if (change.max_age_ns) stream.policy.max_age_ns = *change.max_age_ns;
    if (change.dedupe) stream.policy.dedupe = *change.dedupe;
    const auto end = static_cast<StreamVersion>(stream.events.size());
    if (change.truncate_before)
      stream.first = std::max(stream.first, std::min(end, *change.truncate_before));
    stream.limit();
  }
  void remove(const std::string& name) {
    if (presence(name).state != StreamPresence::State::kExists) return;
    ModelStream& stream = streams_[name];
    stream.deleted = true;
    stream.first = stream.events.size();
  }
  void tombstone(const std::string& name) {
    if (is_tombstoned(name)) return;
    ModelStream& stream = streams_[name];
    stream.tombstoned = true;
    stream.deleted = false;
    stream.first = stream.events.size();
    stream.policy = {};
    stream.ids.clear();
  }

  const std::map<std::string, ModelStream>& streams() const { return streams_; }

 private:
  bool is_tombstoned(const std::string& name) const {
    return presence(name).state == StreamPresence::State::kTombstoned;
  }
  std::optional<StreamVersion> version_of(const std::string& name, EventId id) const {
    const auto at = streams_.find(name);
    if (at == streams_.end()) return std::nullopt;
    for (const auto& [known, version] : at->second.ids)
      if (known == id) return version;
    return std::nullopt;
  }

  std::map<std::string, ModelStream> streams_;
};

}  // namespace tailrace::statemachine
