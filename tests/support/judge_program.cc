#include "tests/support/judge_program.h"

#include <fstream>

#include "tests/support/history_json.h"

namespace tailrace::testing {

int judge_files(const std::vector<std::string>& files, const JudgeOptions& options,
                std::istream& input, std::ostream& out, std::ostream& errors) {
  std::vector<HistoryOperation> history;
  const auto take = [&](std::istream& from, const std::string& name) {
    auto read = read_history(from);
    if (!read) {
      errors << "judge_history: " << name << ": " << read.error().message << "\n";
      return false;
    }
    history.insert(history.end(), std::make_move_iterator(read->begin()),
                   std::make_move_iterator(read->end()));
    return true;
  };
  for (const std::string& name : files) {
    std::ifstream file(name);
    if (!file) {
      errors << "judge_history: " << name << " cannot be opened\n";
      return kBadHistory;
    }
    if (!take(file, name)) return kBadHistory;
  }
  if (files.empty() && !take(input, "standard input")) return kBadHistory;

  const Judgement judgement = judge(std::move(history), options);
  out << judgement.operations << " operations on " << judgement.keys << " keys, "
      << judgement.unknown << " of unknown outcome, at most " << judgement.most_configurations
      << " configurations: ";
  switch (judgement.verdict) {
    case Judgement::Verdict::kLinearizable:
      out << "linearizable\n";
      return kHasAnOrder;
    case Judgement::Verdict::kNotLinearizable:
      out << "NOT linearizable\n" << judgement.explanation;
      return kHasNone;
    case Judgement::Verdict::kTooHard:
      out << "too hard to tell\n" << judgement.explanation;
      return kNotTold;
  }
  return kNotTold;
}

}  // namespace tailrace::testing
