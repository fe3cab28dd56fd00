#pragma once
// One line of `log dump --json` or `tail --json` (record_json.h), read back for `load`.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/address.h"
#include "core/result.h"
#include "statemachine/command/command.h"
#include "statemachine/types/rules.h"

namespace tailrace::app {

struct DumpedLine {
  Address address, end;
  Address batch;             // 0: the line does not say
  uint64_t log_time_ns = 0;  // of the mark that ends its batch; 0: the line does not say
  bool behind_damage = false;
  /// Nothing for what each cluster writes for itself: epochs, members, digests, rules, times.
  std::optional<statemachine::Operation> operation;
  std::string key;              // or the stream's name
  std::string value, expected;  // of a txn: its body, with the times of its log
  int64_t delta = 0;
  uint64_t expires_at_ns = 0;
  std::string client;  // of the session; empty: none
  uint64_t serial = 0;
  uint64_t begins_before_ns = 0;
  bool begins_epoch = false;
  std::optional<statemachine::Rules> rules;  // of a `rules` record, if it is one that is known
};

/// kInvalidArgument when it is not such a line, kUnsupported for a kind that cannot be put back.
Result<DumpedLine> parse_dumped_line(std::string_view line);

}  // namespace tailrace::app
