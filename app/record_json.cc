#include "app/record_json.h"

#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/json_text.h"
#include "app/log_report.h"
#include "statemachine/command.h"

namespace tailrace::app {

namespace {

using statemachine::Command;
using statemachine::Operation;

std::string_view operation_name(Operation operation) {
  switch (operation) {
    case Operation::kEvent:
      return "event";
    case Operation::kPut:
      return "put";
    case Operation::kDelete:
      return "delete";
    case Operation::kAdd:
      return "add";
    case Operation::kCas:
      return "cas";
    case Operation::kDigest:
      return "digest";
    case Operation::kExpire:
      return "expire";
    case Operation::kTime:
      return "time";
    case Operation::kCompare:
      return "compare";
    case Operation::kRules:
      return "rules";
    case Operation::kInsert:
      return "insert";
  }
  return "unknown";
}

/// Nothing for what is not a command, or one of a newer version.
std::optional<Command> command_of(const ShownRecord& record) {
  if (record.kind != statemachine::kCommandRecord) return std::nullopt;
  const auto command = statemachine::decode(record.payload);
  return command ? std::optional<Command>(*command) : std::nullopt;
}

bool has_value(Operation operation) {
  return operation == Operation::kEvent || operation == Operation::kPut ||
         operation == Operation::kCas || operation == Operation::kInsert;
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
  out["kind"] = operation_name(command->operation);
  set_text(out, command->operation == Operation::kEvent ? "stream" : "key", as_text(command->key));
  if (command->operation == Operation::kAdd) out["delta"] = command->delta;
  if (command->operation == Operation::kCas) set_text(out, "expected", as_text(command->expected));
  if (has_value(command->operation) || !command->value.empty())
    set_text(out, "payload", as_text(command->value));
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
                  command ? operation_name(command->operation) : name_of(record.kind));
  const auto column = [&](ByteSpan bytes) { line += "\t" + one_line(as_text(bytes)); };
  if (!command) {
    column(record.payload);
    return line;
  }
  column(command->key);
  if (command->operation == Operation::kAdd) line += fmt::format("\t{}", command->delta);
  if (command->operation == Operation::kCas) column(command->expected);
  if (has_value(command->operation) || !command->value.empty()) column(command->value);
  return line;
}

}  // namespace tailrace::app
