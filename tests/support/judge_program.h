#pragma once
// What the program judge_history does, apart from its command line.

#include <istream>
#include <ostream>
#include <string>
#include <vector>

#include "tests/support/linearizability.h"

namespace tailrace::testing {

/// The exit codes.
enum JudgeExit : int {
  kHasAnOrder = 0,
  kHasNone = 1,
  kBadHistory = 2,  // a file or a line that cannot be read
  kNotTold = 3,     // too hard within the limits
};

/// Judges all files as one history; none: `input`. The verdict goes to `out`, in one line when
/// there is an order; what is wrong with a file to `errors`.
int judge_files(const std::vector<std::string>& files, const JudgeOptions& options,
                std::istream& input, std::ostream& out, std::ostream& errors);

}  // namespace tailrace::testing
