// A leader has the log hold the rules that its file wants (statemachine/types/rules.h).

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "observability/logging.h"
#include "replication/driver.h"
#include "statemachine/types/rules.h"

namespace tailrace::replication {
namespace {

std::string in_words(const statemachine::Rules& rules) {
  const auto ttl =
      std::chrono::duration_cast<std::chrono::seconds>(Nanoseconds(rules.session_ttl_ns));
  std::string words =
      fmt::format("session_ttl {} s, session_answers {}", ttl.count(), rules.session_answers);
  if (rules.limits)
    words += fmt::format(", sessions {}, answers_bytes {}, answer_value_bytes {}",
                         rules.limits->sessions, rules.limits->answers_bytes,
                         rules.limits->answer_value_bytes);
  if (rules.positions) words += ", keys have positions";
  return words;
}

}  // namespace

void Driver::tick_rules() {
  const statemachine::RulesStatus rules = state_machine_.rules();
  if (failed_ || !leader_rules_.is_due(core_.state(), rules, watermarks_.applied())) return;
  const statemachine::Rules wanted =
      LeaderRules::known(rules.wanted, core_.state().cluster_version);
  std::vector<std::byte> value, bytes;
  statemachine::encode(wanted, value);
  statemachine::Command command;
  command.operation = statemachine::Operation::kRules;
  command.value = value;
  statemachine::encode(command, bytes);
  const fasterlog::RecordView record{statemachine::kCommandRecord, ByteSpan(bytes)};
  const auto range = log_.try_enqueue_in(core_.state().epoch, {&record, 1});
  // A full buffer has room at a later tick, and a failed log says so elsewhere.
  if (!range) return;
  leader_rules_.asked(core_.state().epoch, range->end);
  observability::log_info(
      "rules: from address {} on, as this leader's file says: {}; before ({}): {}",
      range->end.value, in_words(wanted), rules.in_log ? "in the log" : "in each node's file",
      in_words(rules.in_force));
}

}  // namespace tailrace::replication
