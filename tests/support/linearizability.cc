#include "tests/support/linearizability.h"

#include "tests/support/linearizability_search.h"

namespace tailrace::testing {
namespace {

using search::Search;
using search::State;
using search::Step;
using search::Values;

using Kind = HistoryKind;
using Seen = HistoryOperation::Seen;

constexpr size_t kMostShownBytes = 40;
constexpr size_t kMostShownOperations = 40;
constexpr size_t kMostRemovals = 300;  // attempts to make an explanation shorter

std::string shown(const std::string& text) {
  std::string out = "\"";
  for (const char letter : text.substr(0, kMostShownBytes)) {
    if (letter >= ' ' && letter < 127) {
      out += letter;
    } else {
      constexpr char kDigits[] = "0123456789abcdef";
      const auto byte = static_cast<unsigned char>(letter);
      out += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  out += '"';
  if (text.size() > kMostShownBytes) out += "... (" + std::to_string(text.size()) + " bytes)";
  return out;
}

/// 0 is absent.
std::string name_of(State state, const Values& values) {
  return state == 0 ? "(absent)" : shown(values.text(state));
}

std::string names_of(const std::set<State>& states, const Values& values) {
  std::string text;
  size_t count = 0;
  for (const State state : states) {
    if (++count > 12) return text + ", ... (" + std::to_string(states.size()) + " values)";
    text += (text.empty() ? "" : ", ") + name_of(state, values);
  }
  return text;
}

class KeyJudge {
 public:
  KeyJudge(const std::vector<const HistoryOperation*>& operations,
           const std::optional<std::string>& first) {
    if (first) first_ = values_.of(*first);
    const std::set<std::string> matter = values_that_matter(operations);
    const bool any_matters = std::any_of(operations.begin(), operations.end(), [](const auto* one) {
      return one->kind == Kind::kAdd;  // any number may be what was added to
    });
    for (const HistoryOperation* source : operations) {
      Step step;
      step.source = source;
      step.kind = source->kind;
      step.unknown = source->outcome == HistoryOutcome::kUnknown;
      if (step.kind == Kind::kAdd) {
        step.amount = search::number_of(source->value).value_or(0);
      } else if (step.unknown && !any_matters && !matter.contains(source->value)) {
        step.value = values_.of("\1 a value that nobody saw");  // one is as good as another
      } else {
        step.value = values_.of(source->value);
      }
      if (step.kind == Kind::kCompareAndSwap) step.expected = values_.of(source->expected);
      if (!step.unknown) {
        step.done = source->done;
        step.seen = source->seen;
        if (step.seen == Seen::kValue) step.seen_value = values_.of(source->seen_value);
      }
      steps_.push_back(step);
    }
  }

  void judge(const JudgeOptions& options, Judgement& into) {
    using Verdict = Judgement::Verdict;
    std::vector<char> leave_out(steps_.size());
    const Search::Time deadline = std::chrono::steady_clock::now() + options.most_time;
    auto failure = run(leave_out, options, deadline, &into.most_configurations);
    if (!failure) return;
    if (failure->too_hard) {
      if (into.verdict == Verdict::kLinearizable) into.explanation = explain_too_hard(*failure);
      into.verdict = Verdict::kTooHard;
      return;
    }
    into.verdict = Verdict::kNotLinearizable;
    shorten(options, leave_out, *failure);
    into.explanation = explain(*failure, leave_out);
  }

 private:
  static std::set<std::string> values_that_matter(
      const std::vector<const HistoryOperation*>& operations) {
    std::set<std::string> matter;
    for (const HistoryOperation* one : operations) {
      if (one->seen == Seen::kValue) matter.insert(one->seen_value);
      if (one->kind == Kind::kCompareAndSwap) matter.insert(one->expected);
    }
    return matter;
  }

  std::optional<Search::Failure> run(const std::vector<char>& leave_out,
                                     const JudgeOptions& options, Search::Time deadline,
                                     uint64_t* most) {
    Search search(steps_, first_, values_, options.most_configurations, deadline);
    auto failure = search.run(leave_out);
    if (most != nullptr) *most = std::max(*most, search.most_configurations());
    return failure;
  }

  /// Nobody needs to read what only looked, where the rest cannot be ordered either.
  void shorten(const JudgeOptions& options, std::vector<char>& leave_out,
               Search::Failure& failure) {
    std::vector<size_t> observers;
    for (size_t i = 0; i < steps_.size(); ++i) {
      if (steps_[i].source->invoked > steps_[failure.step].source->returned) {
        leave_out[i] = 1;  // it had failed before
      } else if (i != failure.step && steps_[i].observes_only()) {
        observers.push_back(i);
      }
    }
    const Search::Time deadline = std::chrono::steady_clock::now() + options.most_time;
    size_t attempts = 0;
    for (size_t piece = std::max<size_t>(observers.size(), 1); piece > 0; piece /= 2) {
      for (size_t at = 0; at < observers.size() && attempts < kMostRemovals; at += piece) {
        std::vector<char> fewer = leave_out;
        bool any = false;
        for (size_t i = at; i < std::min(at + piece, observers.size()); ++i) {
          any = any || fewer[observers[i]] == 0;
          fewer[observers[i]] = 1;
        }
        if (!any) continue;
        ++attempts;
        const auto still = run(fewer, options, deadline, nullptr);
        if (!still || still->too_hard) continue;
        leave_out = fewer;
        failure = *still;
      }
    }
  }

  std::string explain_too_hard(const Search::Failure& failure) const {
    const HistoryOperation& last = *steps_[failure.step].source;
    std::string text = "key " + shown(last.key) + ": ";
    text += failure.out_of_time ? "no more time" : "too many orders are possible";
    return text + " at\n    " + describe(last) + "\n  " + std::to_string(failure.configurations) +
           " configurations, " + std::to_string(failure.pending) +
           " operations in flight at once, and " + std::to_string(failure.unknown) +
           " of unknown outcome so far, any of which may come later or never\n";
  }

  std::string explain(const Search::Failure& failure, const std::vector<char>& leave_out) const {
    const HistoryOperation& culprit = *steps_[failure.step].source;
    std::string text = "key " + shown(culprit.key);
    text += ": no order explains\n    " + describe(culprit) + "\n  before its return the key held ";
    text += "one of: " + names_of(failure.states, values_) + "\n";
    if (culprit.seen == Seen::kValue) text += origin_of(culprit, leave_out);
    text += "  at " + std::to_string(failure.quiet_since) +
            " nothing was pending, and the key held one of: " +
            names_of(failure.quiet_states, values_) + "\n  since then:\n";
    size_t left_out = 0;
    std::vector<std::string> lines;
    std::vector<std::string> unknown;
    for (size_t i = 0; i < steps_.size(); ++i) {
      const HistoryOperation& one = *steps_[i].source;
      if (one.invoked > culprit.returned) continue;
      if (steps_[i].unknown) {
        if (!steps_[i].observes_only()) unknown.push_back("    " + describe(one) + "\n");
      } else if (one.returned > failure.quiet_since) {
        if (leave_out[i] != 0) {
          ++left_out;
        } else {
          lines.push_back("    " + describe(one) + "\n");
        }
      }
    }
    append_last(lines, text);
    if (left_out > 0) {
      text += "    (" + std::to_string(left_out) +
              " that only looked are left out: it is the same without them)\n";
    }
    if (!unknown.empty()) {
      text += "  of unknown outcome so far:\n";
      append_last(unknown, text);
    }
    return text;
  }
  static void append_last(const std::vector<std::string>& lines, std::string& text) {
    const size_t from =
        lines.size() > kMostShownOperations ? lines.size() - kMostShownOperations : 0;
    if (from > 0) text += "    (" + std::to_string(from) + " earlier ones)\n";
    for (size_t i = from; i < lines.size(); ++i)
      text += lines[i];
  }
  /// Who wrote what was seen.
  std::string origin_of(const HistoryOperation& culprit, const std::vector<char>& leave_out) const {
    std::string text;
    for (size_t i = 0; i < steps_.size(); ++i) {
      const HistoryOperation& one = *steps_[i].source;
      const bool writes = one.kind == Kind::kAdd
                              ? one.seen == Seen::kValue && one.seen_value == culprit.seen_value
                              : one.kind != Kind::kRead && one.kind != Kind::kErase &&
                                    one.value == culprit.seen_value;
      if (leave_out[i] != 0 || !writes || &one == &culprit || steps_[i].observes_only()) continue;
      text += "  what it saw comes from\n    " + describe(one) + "\n";
      if (text.size() > 1000) break;
    }
    if (text.empty()) text = "  nobody is known to have written what it saw\n";
    return text;
  }

  Values values_;
  State first_ = 0;
  std::vector<Step> steps_;  // by invocation
};

}  // namespace

std::string describe(const HistoryOperation& operation) {
  std::string text = "client " + std::to_string(operation.client) + " ";
  switch (operation.kind) {
    case Kind::kRead:
      text += "read";
      break;
    case Kind::kWrite:
      text += "write " + shown(operation.value);
      break;
    case Kind::kErase:
      text += "erase";
      break;
    case Kind::kInsertIfAbsent:
      text += "insert " + shown(operation.value);
      break;
    case Kind::kCompareAndSwap:
      text += "compare-and-swap " + shown(operation.expected) + " -> " + shown(operation.value);
      break;
    case Kind::kAdd:
      text += "add " + operation.value;
      break;
  }
  if (operation.outcome == HistoryOutcome::kUnknown) {
    return text + ", outcome unknown [" + std::to_string(operation.invoked) + ", ...)";
  }
  if (operation.done) text += *operation.done ? ", done" : ", not done";
  if (operation.seen == Seen::kAbsent) text += ", saw nothing";
  if (operation.seen == Seen::kValue) text += ", saw " + shown(operation.seen_value);
  return text + " [" + std::to_string(operation.invoked) + ", " +
         std::to_string(operation.returned) + "]";
}

Judgement judge(std::vector<HistoryOperation> history, const JudgeOptions& options) {
  std::stable_sort(history.begin(), history.end(),
                   [](const auto& a, const auto& b) { return a.invoked < b.invoked; });
  std::map<std::string, std::vector<const HistoryOperation*>> by_key;
  for (const HistoryOperation& operation : history)
    by_key[operation.key].push_back(&operation);
  Judgement judgement;
  judgement.operations = history.size();
  judgement.unknown =
      static_cast<uint64_t>(std::count_if(history.begin(), history.end(), [](const auto& one) {
        return one.outcome == HistoryOutcome::kUnknown;
      }));
  judgement.keys = by_key.size();
  for (const auto& [key, operations] : by_key) {
    std::optional<std::string> first;
    for (const auto& [known, value] : options.initial) {
      if (known == key) first = value;
    }
    KeyJudge(operations, first).judge(options, judgement);
    if (judgement.verdict == Judgement::Verdict::kNotLinearizable) break;
  }
  return judgement;
}

}  // namespace tailrace::testing
