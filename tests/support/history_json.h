#pragma once
// Histories as text, one JSON object a line:
//
//   {"client": 3, "op": "cas", "key": "k", "expected": "a", "value": "b", "result": false,
//    "present": "c", "invoke_ns": 100, "return_ns": 250, "outcome": "ok"}
//
//   op       get, put, delete, insert, cas, add
//   value    put, insert, cas: what was to be written; add: a number, as text or not
//   result   get: the value, null when absent; delete, insert, cas: true or false; add: the sum.
//            Left out: not said
//   present  insert and cas that were refused: what was in the way, null for nothing; may be left
//            out
//   outcome  ok, fail (it has not happened: the line is passed over), unknown (it may have, or may
//            yet; then return_ns may be left out)
//
// Other members are passed over.

#include <istream>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "tests/support/linearizability.h"

namespace tailrace::testing {

/// Nothing for an operation that has not happened. kInvalidArgument says what is wrong.
Result<std::optional<HistoryOperation>> parse_history_line(const std::string& line);

/// Empty lines are passed over; errors name the line's number.
Result<std::vector<HistoryOperation>> read_history(std::istream& from);

}  // namespace tailrace::testing
