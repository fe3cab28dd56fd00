#pragma once
// Transactions as commands, for tests of what applying them does.

#include <string>

#include "statemachine/txn/txn.h"
#include "statemachine/txn/txn_result.h"
#include "tests/statemachine/harness.h"

namespace tailrace::statemachine {

/// As the leader writes it at this time.
inline OwnedCommand txn_command(const Txn& txn, uint64_t now_ns = 0) {
  std::vector<std::byte> body;
  encode(txn, body);
  if (now_ns != 0) {
    const auto dated = date(body, now_ns);
    EXPECT_TRUE(dated) << dated.error().message;
  }
  return {Operation::kTxn, {}, to_string(body), {}, 0, {}};
}

inline Rules rules_with_positions() {
  Rules rules;
  rules.limits.emplace();
  rules.positions = true;
  return rules;
}

inline EventIdBytes event_id(uint8_t number) {
  EventIdBytes id{};
  id[3] = std::byte{number};
  return id;
}

}  // namespace tailrace::statemachine
