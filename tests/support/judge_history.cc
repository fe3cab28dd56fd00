// Judges a recorded history (history_json.h): is there an order in which every answer is right?
//
//   judge_history [FILE...]      standard input without one; all files are one history
//
// Ends with 0 when there is, 1 when there is none (and says where), 2 when it can not be told.

#include <fstream>
#include <iostream>

#include "tests/support/history_json.h"

int main(int argc, char** argv) {
  using namespace tailrace::testing;
  std::vector<HistoryOperation> history;
  for (int i = 1; i < argc || i == 1; ++i) {
    const bool is_file = argc > 1;
    std::ifstream file;
    if (is_file) file.open(argv[i]);
    if (is_file && !file) {
      std::cerr << "judge_history: " << argv[i] << " can not be read\n";
      return 2;
    }
    auto read = read_history(is_file ? file : std::cin);
    if (!read) {
      std::cerr << "judge_history: " << (is_file ? argv[i] : "standard input") << ": "
                << read.error().message << "\n";
      return 2;
    }
    history.insert(history.end(), std::make_move_iterator(read->begin()),
                   std::make_move_iterator(read->end()));
  }
  const Judgement judgement = judge(std::move(history));
  std::cout << judgement.operations << " operations on " << judgement.keys << " keys, at most "
            << judgement.most_configurations << " configurations: ";
  switch (judgement.verdict) {
    case Judgement::Verdict::kLinearizable:
      std::cout << "linearizable\n";
      return 0;
    case Judgement::Verdict::kNotLinearizable:
      std::cout << "NOT linearizable\n" << judgement.explanation;
      return 1;
    case Judgement::Verdict::kTooHard:
      std::cout << "too hard to tell\n" << judgement.explanation;
      return 2;
  }
  return 2;
}
