// A leader has the log hold the rules that its file wants (statemachine/rules.h).

#include <chrono>
#include <utility>
#include <vector>

#include "observability/logging.h"
#include "replication/driver.h"
#include "statemachine/rules.h"

namespace tailrace::replication {

void Driver::tick_rules() {
  const statemachine::RulesStatus rules = state_machine_.rules();
  if (failed_ || !leader_rules_.is_due(core_.state(), rules, watermarks_.applied())) return;
  std::vector<std::byte> value, bytes;
  statemachine::encode(rules.wanted, value);
  statemachine::Command command;
  command.operation = statemachine::Operation::kRules;
  command.value = value;
  statemachine::encode(command, bytes);
  const fasterlog::RecordView record{statemachine::kCommandRecord, ByteSpan(bytes)};
  const auto range = log_.try_enqueue_in(core_.state().epoch, {&record, 1});
  // A full buffer has room at a later tick, and a failed log says so elsewhere.
  if (!range) return;
  leader_rules_.asked(core_.state().epoch, range->end);
  const auto seconds = [](const statemachine::Rules& of) {
    return std::chrono::duration_cast<std::chrono::seconds>(Nanoseconds(of.session_ttl_ns)).count();
  };
  observability::log_info(
      "rules: from address {} on session_ttl is {} s and session_answers {}, as this leader's file "
      "says; before ({}) {} s and {}",
      range->end.value, seconds(rules.wanted), rules.wanted.session_answers,
      rules.in_log ? "in the log" : "in each node's file", seconds(rules.in_force),
      rules.in_force.session_answers);
}

}  // namespace tailrace::replication
