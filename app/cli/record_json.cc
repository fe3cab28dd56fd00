#include "app/cli/record_json.h"

#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/cli/json_text.h"
#include "app/cli/log_report.h"
#include "statemachine/command/command_table.h"

namespace tailrace::app {

namespace {

using statemachine::Command;
using statemachine::has;
using statemachine::info_of;

/// Nothing for what is not a command, or one of a newer version.
std::optional<Command> command_of(const ShownRecord& record) {
  if (record.kind != statemachine::kCommandRecord) return std::nullopt;
  const auto command = statemachine::decode(record.payload);
  return command ? std::optional<Command>(*command) : std::nullopt;
}

bool shows_value(const Command& command) {
  return statemachine::has(command.operation, statemachine::kHasValue) || !command.value.empty();
}

}  // namespace

nlohmann::ordered_json record_json(const ShownRecord& record) {
  nlohmann::ordered_json out = {
      {"address", record.address.value}, {"end", record.end.value}, {"epoch", record.epoch.value}};
  const auto command = command_of(record);
  if (!command) {
    out["kind"] = name_of(record.kind);
    if (record.kind != fasterlog::RecordKind::kEpochStart)
      set_text(out, "payload", as_text(record.payload));
    return out;
  }
  out["kind"] = info_of(command->operation).name;
  set_text(out, has(command->operation, statemachine::kHasStream) ? "stream" : "key",
           as_text(command->key));
  if (has(command->operation, statemachine::kHasDelta)) out["delta"] = command->delta;
  if (has(command->operation, statemachine::kHasExpected))
    set_text(out, "expected", as_text(command->expected));
  if (shows_value(*command)) set_text(out, "payload", as_text(command->value));
  if (command->expires_at_ns != 0) out["expires_at_ns"] = command->expires_at_ns;
  if (command->session) {
    out["client"] =
        fmt::format("{:016x}{:016x}", command->session->client.high, command->session->client.low);
    out["serial"] = command->session->serial;
    if (command->session->begins_before_ns != 0)
      out["begins_before_ns"] = command->session->begins_before_ns;
  }
  return out;
}

std::string record_line(const ShownRecord& record) {
  const auto command = command_of(record);
  std::string line =
      fmt::format("{}\t{}\t{}\t{}", record.address.value, record.end.value, record.epoch.value,
                  command ? info_of(command->operation).name : name_of(record.kind));
  const auto column = [&](ByteSpan bytes) { line += "\t" + one_line(as_text(bytes)); };
  if (!command) {
    column(record.payload);
    return line;
  }
  column(command->key);
  if (has(command->operation, statemachine::kHasDelta)) line += fmt::format("\t{}", command->delta);
  if (has(command->operation, statemachine::kHasExpected)) column(command->expected);
  if (shows_value(*command)) column(command->value);
  return line;
}

}  // namespace tailrace::app
