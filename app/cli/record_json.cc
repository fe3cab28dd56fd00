#include "app/cli/record_json.h"

#include <optional>

#include <fmt/format.h>

#include "app/cli/log_report.h"
#include "json/txn_json.h"
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

/// A transaction's JSON; nothing for other commands, and for a body of a newer version.
std::optional<std::string> txn_json(const Command& command) {
  if (command.operation != statemachine::Operation::kTxn) return std::nullopt;
  statemachine::Txn txn;
  if (!statemachine::decode(command.value, txn)) return std::nullopt;
  std::string text;
  JsonWriter to(text);
  write_txn(txn, to);
  return text;
}

/// In 16 digits.
void write_hex(uint64_t value, char* to) {
  for (int shift = 60; shift >= 0; shift -= 4)
    *to++ = "0123456789abcdef"[value >> shift & 0xf];
}

void write_session(const statemachine::SessionSerial& session, JsonLine& to) {
  char client[32];
  write_hex(session.client.high, client);
  write_hex(session.client.low, client + 16);
  to.text("client", {client, sizeof client});
  to.number("serial", session.serial);
  if (session.begins_before_ns != 0) to.number("begins_before_ns", session.begins_before_ns);
}

}  // namespace

void write_record(const ShownRecord& record, JsonLine& to) {
  to.number("address", record.address.value);
  to.number("end", record.end.value);
  to.number("epoch", record.epoch.value);
  const auto command = command_of(record);
  if (!command) {
    to.text("kind", name_of(record.kind));
    if (record.kind != fasterlog::RecordKind::kEpochStart)
      to.text("payload", as_text(record.payload));
    return;
  }
  to.text("kind", info_of(command->operation).name);
  if (const auto txn = txn_json(*command)) {
    to.json("txn", *txn);
    if (command->session) write_session(*command->session, to);
    return;
  }
  to.text(has(command->operation, statemachine::kHasStream) ? "stream" : "key",
          as_text(command->key));
  if (has(command->operation, statemachine::kHasDelta)) to.signed_number("delta", command->delta);
  if (has(command->operation, statemachine::kHasExpected))
    to.text("expected", as_text(command->expected));
  if (shows_value(*command)) to.text("payload", as_text(command->value));
  if (command->expires_at_ns != 0) to.number("expires_at_ns", command->expires_at_ns);
  if (command->session) write_session(*command->session, to);
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
  if (const auto txn = txn_json(*command)) {
    column(as_bytes(*txn));
    return line;
  }
  column(command->key);
  if (has(command->operation, statemachine::kHasDelta)) line += fmt::format("\t{}", command->delta);
  if (has(command->operation, statemachine::kHasExpected)) column(command->expected);
  if (shows_value(*command)) column(command->value);
  return line;
}

}  // namespace tailrace::app
