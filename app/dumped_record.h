#pragma once
// One line of `log dump --json` or `tail --json` (record_json.h), read back for `load`.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/address.h"
#include "core/result.h"
#include "statemachine/command.h"

namespace tailrace::app {

struct DumpedLine {
  Address address, end;
  Address batch;  // 0: the line does not say
  bool behind_damage = false;
  /// Nothing for what each cluster writes for itself: epochs, members, digests, rules, times.
  std::optional<statemachine::Operation> operation;
  std::string key;  // or the stream's name
  std::string value, expected;
  int64_t delta = 0;
  uint64_t expires_at_ns = 0;
  std::string client;  // of the session; empty: none
  uint64_t serial = 0;
};

/// kInvalidArgument when it is not such a line, kUnsupported for a kind that cannot be put back.
Result<DumpedLine> parse_dumped_line(std::string_view line);

}  // namespace tailrace::app
