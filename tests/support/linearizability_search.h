#pragma once
// The search behind the judge (linearizability.h), over one key's operations.

#include <algorithm>
#include <bit>
#include <charconv>
#include <chrono>
#include <deque>
#include <map>
#include <set>
#include <unordered_map>

#include "tests/support/linearizability.h"

namespace tailrace::testing::search {

using Kind = HistoryKind;
using Seen = HistoryOperation::Seen;

inline std::optional<int64_t> number_of(const std::string& text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

/// A value of the key as a small number; 0 is absent.
using State = uint32_t;

class Values {
 public:
  State of(const std::string& text) {
    const auto [at, is_new] = known_.emplace(text, static_cast<State>(texts_.size()));
    if (is_new) {
      texts_.push_back(text);
      numbers_.push_back(number_of(text));
    }
    return at->second;
  }
  const std::string& text(State state) const { return texts_[state]; }
  std::optional<int64_t> number(State state) const { return numbers_[state]; }

 private:
  std::unordered_map<std::string, State> known_;
  std::vector<std::string> texts_{""};
  std::vector<std::optional<int64_t>> numbers_{0};
};

/// An operation of the one key, with its values as numbers.
struct Step {
  const HistoryOperation* source = nullptr;
  Kind kind = Kind::kRead;
  bool unknown = false;
  State value = 0;
  State expected = 0;
  int64_t amount = 0;
  std::optional<bool> done;
  Seen seen = Seen::kNotSaid;
  State seen_value = 0;

  bool saw(State state) const {
    return seen == Seen::kNotSaid || state == (seen == Seen::kAbsent ? 0 : seen_value);
  }
  /// It changed nothing, wherever it stands in the order.
  bool observes_only() const { return kind == Kind::kRead || (done.has_value() && !*done); }
  /// What it does and says does not depend on what is there.
  bool is_blind() const {
    return kind == Kind::kWrite || (kind == Kind::kErase && (unknown || !done));
  }
  bool same_effect(const Step& other) const {
    return kind == other.kind && value == other.value && expected == other.expected &&
           amount == other.amount;
  }
};

/// The state after the step, or nothing when its answer would be another one, or it would do
/// nothing and nobody was answered.
inline std::optional<State> apply(const Step& step, State state, Values& values) {
  switch (step.kind) {
    case Kind::kRead:
      if (!step.saw(state)) return std::nullopt;
      return state;
    case Kind::kWrite:
      return step.value;
    case Kind::kErase:
      if (step.done && *step.done != (state != 0)) return std::nullopt;
      return 0;
    case Kind::kInsertIfAbsent:
    case Kind::kCompareAndSwap: {
      const bool does =
          step.kind == Kind::kInsertIfAbsent ? state == 0 : state != 0 && state == step.expected;
      if (step.unknown) return does ? std::optional(step.value) : std::nullopt;
      if (step.done && *step.done != does) return std::nullopt;
      if (does) return step.value;
      if (!step.saw(state)) return std::nullopt;
      return state;
    }
    case Kind::kAdd: {
      const auto before = values.number(state);
      if (!before) return std::nullopt;
      const auto sum_wraps = static_cast<uint64_t>(*before) + static_cast<uint64_t>(step.amount);
      const State sum = values.of(std::to_string(static_cast<int64_t>(sum_wraps)));
      if (!step.saw(sum)) return std::nullopt;
      return sum;
    }
  }
  return std::nullopt;
}

struct Configuration {
  State state = 0;
  /// By slots of pending operations: it has taken effect already.
  uint64_t done = 0;
  /// It is blind and may have taken effect just before another blind one, with nobody seeing it.
  uint64_t buried = 0;
  /// Operations of unknown outcome that have taken effect; the last word is not 0.
  std::vector<uint64_t> unknown;

  bool has_unknown(size_t index) const {
    return index / 64 < unknown.size() && (unknown[index / 64] >> index % 64 & 1) != 0;
  }
  void set_unknown(size_t index) {
    if (unknown.size() <= index / 64) unknown.resize(index / 64 + 1);
    unknown[index / 64] |= uint64_t{1} << index % 64;
  }
  bool operator==(const Configuration&) const = default;

  /// Whatever may follow the other may follow this.
  bool is_at_least(const Configuration& other) const {
    if (state != other.state || done != other.done) return false;
    if ((other.buried & ~buried) != 0 || unknown.size() > other.unknown.size()) return false;
    for (size_t i = 0; i < unknown.size(); ++i) {
      if ((unknown[i] & ~other.unknown[i]) != 0) return false;
    }
    return true;
  }
};

/// Configurations of which none is at least as good as another one.
class Configurations {
 public:
  struct One {
    Configuration configuration;
    bool unseen = false;  // see Search::expand
  };
  /// False when there is one at least as good.
  bool add(const Configuration& configuration, bool unseen) {
    auto& group = groups_[{configuration.state, configuration.done}];
    for (const One& one : group) {
      if ((unseen || !one.unseen) && one.configuration.is_at_least(configuration)) return false;
    }
    size_ -= std::erase_if(group, [&](const One& one) {
      return (one.unseen || !unseen) && configuration.is_at_least(one.configuration);
    });
    group.push_back({configuration, unseen});
    ++size_;
    return true;
  }
  size_t size() const { return size_; }
  void clear() {
    groups_.clear();
    size_ = 0;
  }
  template <typename Visit>
  void for_each(const Visit& visit) const {
    for (const auto& [_, group] : groups_) {
      for (const One& one : group)
        visit(one.configuration);
    }
  }
  std::set<State> states() const {
    std::set<State> states;
    for_each([&](const Configuration& one) { states.insert(one.state); });
    return states;
  }

 private:
  struct Hash {
    size_t operator()(const std::pair<State, uint64_t>& key) const {
      const uint64_t hash = (key.second ^ uint64_t{key.first} << 40) * 0x9e3779b97f4a7c15u;
      return hash ^ hash >> 29;
    }
  };
  std::unordered_map<std::pair<State, uint64_t>, std::vector<One>, Hash> groups_;
  size_t size_ = 0;
};

/// One pass over one key's history.
class Search {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// At most `limit` configurations at one return, and no longer than until `deadline`.
  Search(const std::vector<Step>& steps, State first, Values& values, uint64_t limit, Time deadline)
      : steps_(steps), values_(values), limit_(limit), deadline_(deadline) {
    Configuration start;
    start.state = first;
    frontier_.add(start, false);
    quiet_states_ = {first};
  }

  struct Failure {
    size_t step = 0;  // whose return it was
    bool too_hard = false, out_of_time = false;
    size_t configurations = 0;        // at that return
    size_t pending = 0, unknown = 0;  // operations then; of those unknown, that change something
    std::set<State> states;           // that the key could have had then
    std::set<State> quiet_states;
    uint64_t quiet_since = 0;  // nothing was pending then
  };

  /// `leave_out` by step.
  std::optional<Failure> run(const std::vector<char>& leave_out) {
    struct Event {
      uint64_t time;
      bool returns;
      size_t step;
    };
    std::vector<Event> events;
    for (size_t i = 0; i < steps_.size(); ++i) {
      if (leave_out[i] != 0) continue;
      events.push_back({steps_[i].source->invoked, false, i});
      if (!steps_[i].unknown) events.push_back({steps_[i].source->returned, true, i});
    }
    std::stable_sort(events.begin(), events.end(), [](const Event& a, const Event& b) {
      return a.time != b.time ? a.time < b.time : a.returns < b.returns;
    });
    std::map<size_t, size_t> slot_of;
    for (const Event& event : events) {
      if (!event.returns) {
        if (steps_[event.step].unknown) {
          add_unknown(event.step);
        } else {
          const auto slot = static_cast<size_t>(std::countr_one(pending_));
          if (slot == 64) return failure(event.step, true);
          invoke(event.step, slot);
          slot_of[event.step] = slot;
        }
        continue;
      }
      if (!finish(slot_of[event.step])) return failure(event.step, false);
      if (is_too_hard()) return failure(event.step, true);
      if (pending_ == 0) {
        quiet_since_ = event.time;
        quiet_states_ = frontier_.states();
      }
    }
    return std::nullopt;
  }
  uint64_t most_configurations() const { return most_; }

 private:
  Failure failure(size_t step, bool too_hard) {
    Failure failure;
    failure.step = step;
    failure.too_hard = too_hard;
    failure.out_of_time = out_of_time_;
    failure.configurations = std::max(visited_.size(), frontier_.size());
    failure.pending = static_cast<size_t>(std::popcount(pending_));
    failure.unknown = unknown_.size();
    failure.states = reached_;
    failure.quiet_states = quiet_states_;
    failure.quiet_since = quiet_since_;
    return failure;
  }

  void add_unknown(size_t step) {
    if (steps_[step].observes_only()) return;  // says nothing
    const size_t index = unknown_.size();
    unknown_.push_back(step);
    // Equal ones may be taken in their order: the earlier is there whenever the later is.
    auto& kinds = unknown_kinds_[steps_[step].is_blind() ? 1 : 0];
    for (auto& kind : kinds) {
      if (steps_[unknown_[kind.front()]].same_effect(steps_[step])) {
        kind.push_back(index);
        return;
      }
    }
    kinds.push_back({index});
  }

  void invoke(size_t step, size_t slot) {
    pending_ |= uint64_t{1} << slot;
    slots_[slot] = step;
    const Step& one = steps_[step];
    if (one.is_blind()) blind_ |= uint64_t{1} << slot;
    if (!one.observes_only()) return;
    observers_ |= uint64_t{1} << slot;
    Configurations next;
    frontier_.for_each([&](Configuration configuration) {
      if (is_too_hard()) return;
      if (apply(one, configuration.state, values_)) configuration.done |= uint64_t{1} << slot;
      next.add(configuration, false);
    });
    frontier_ = std::move(next);
  }

  /// Those that only look take effect as soon as they see what they saw: later is never better.
  bool observe(Configuration& configuration) {
    bool any = false;
    for (uint64_t left = observers_ & ~configuration.done; left != 0; left &= left - 1) {
      const auto slot = static_cast<size_t>(std::countr_zero(left));
      if (!apply(steps_[slots_[slot]], configuration.state, values_)) continue;
      configuration.done |= uint64_t{1} << slot;
      any = true;
    }
    return any;
  }

  /// The return of the operation in `slot`. False when no configuration allows it; true, with an
  /// unfinished frontier, when it is too hard.
  bool finish(size_t slot) {
    returning_ = uint64_t{1} << slot;
    visited_.clear();
    next_.clear();
    reached_ = frontier_.states();
    frontier_.for_each([&](const Configuration& configuration) {
      if (is_too_hard()) return;
      if ((configuration.done & returning_) != 0) {
        put(configuration);
        return;
      }
      if ((configuration.buried & returning_) != 0) put(configuration);
      visit(configuration, false, false);
    });
    // Those that took fewer of unknown outcome first: they are better.
    while (!work_.empty() && !is_too_hard()) {
      const Configurations::One one = std::move(work_.front());
      work_.pop_front();
      expand(one.configuration, one.unseen);
    }
    work_.clear();
    most_ = std::max<uint64_t>(most_, visited_.size());
    pending_ &= ~returning_;
    blind_ &= ~returning_;
    observers_ &= ~returning_;
    std::swap(frontier_, next_);
    return frontier_.size() > 0 || is_too_hard();
  }

  bool is_too_hard() {
    if (!out_of_time_) out_of_time_ = std::chrono::steady_clock::now() >= deadline_;
    return out_of_time_ || visited_.size() > limit_;
  }

  void put(Configuration configuration) {
    configuration.done &= ~returning_;
    configuration.buried &= ~returning_;
    next_.add(configuration, false);
  }
  void visit(const Configuration& configuration, bool unseen, bool took_unknown) {
    if (!visited_.add(configuration, unseen)) return;
    if (took_unknown) {
      work_.push_back({configuration, unseen});
    } else {
      work_.push_front({configuration, unseen});
    }
  }

  /// One step on every way to the returning operation. `unseen`: nobody has seen the last step,
  /// which need not have been yet; a blind one now would bury it, and then it could as well have
  /// been left out here.
  void expand(const Configuration& configuration, bool unseen) {
    for (uint64_t left = pending_ & ~observers_ & ~configuration.done; left != 0;
         left &= left - 1) {
      const uint64_t bit = left & ~(left - 1);
      const Step& step = steps_[slots_[std::countr_zero(bit)]];
      if (step.is_blind() && unseen) continue;
      const auto state = apply(step, configuration.state, values_);
      if (!state) continue;
      const bool free = step.is_blind() && bit != returning_;  // it need not be now
      if (free && !anybody_sees(*state, configuration)) continue;
      Configuration after = configuration;
      after.done |= bit;
      after.buried &= ~bit;
      arrive(step, std::move(after), *state, free, false);
    }
    for (const bool blind : {false, true}) {
      if (blind && unseen) break;
      for (const auto& kind : unknown_kinds_[blind ? 1 : 0]) {
        const auto untaken = std::find_if(kind.begin(), kind.end(), [&](size_t index) {
          return !configuration.has_unknown(index);
        });
        if (untaken == kind.end()) continue;
        const Step& step = steps_[unknown_[*untaken]];
        const auto state = apply(step, configuration.state, values_);
        if (!state) continue;
        if (*state == configuration.state &&
            (!blind || (blind_ & ~configuration.done & ~configuration.buried) == 0)) {
          continue;  // neither changes anything nor buries anybody
        }
        if (!anybody_sees(*state, configuration)) continue;
        Configuration after = configuration;
        after.set_unknown(*untaken);
        arrive(step, std::move(after), *state, true, true);
      }
    }
  }

  void arrive(const Step& step, Configuration after, State state, bool unseen, bool took_unknown) {
    after.state = state;
    reached_.insert(state);
    if (step.is_blind()) after.buried |= blind_ & ~after.done;
    if (observe(after)) unseen = false;
    if ((after.done & returning_) != 0) {
      put(std::move(after));
    } else {
      visit(after, unseen, took_unknown);
    }
  }

  /// Whether any step is possible in the state that is not blind.
  bool anybody_sees(State state, const Configuration& configuration) {
    for (uint64_t left = pending_ & ~blind_ & ~configuration.done; left != 0; left &= left - 1) {
      if (apply(steps_[slots_[std::countr_zero(left)]], state, values_)) return true;
    }
    return std::any_of(unknown_kinds_[0].begin(), unknown_kinds_[0].end(), [&](const auto& kind) {
      return !configuration.has_unknown(kind.back()) &&
             apply(steps_[unknown_[kind.front()]], state, values_).has_value();
    });
  }

  const std::vector<Step>& steps_;
  Values& values_;
  const uint64_t limit_;
  const Time deadline_;
  bool out_of_time_ = false;
  Configurations frontier_, next_, visited_;
  std::deque<Configurations::One> work_;
  std::set<State> reached_, quiet_states_;
  uint64_t quiet_since_ = 0;
  uint64_t most_ = 1;
  uint64_t returning_ = 0;
  // By slot.
  uint64_t pending_ = 0, blind_ = 0, observers_ = 0;
  size_t slots_[64] = {};
  std::vector<size_t> unknown_;  // steps, in the order of invocation
  // Those with the same effect: indices into unknown_, ascending. Blind kinds are in [1].
  std::vector<std::vector<size_t>> unknown_kinds_[2];
};

}  // namespace tailrace::testing::search
