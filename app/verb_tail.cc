// `tailrace tail`: committed records, events as lines or all as JSON.

#include <charconv>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/client_options.h"
#include "app/json_text.h"
#include "app/output.h"
#include "app/verbs.h"
#include "statemachine/command.h"

namespace tailrace::app {

namespace {

struct TailVerbOptions {
  ClientFlags client;
  std::string from = "begin", to = "end";
  bool follow = false, json = false;
};

std::string_view name_of(statemachine::Operation operation) {
  using statemachine::Operation;
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
  }
  return "unknown";
}

std::string to_json(const rpc::TailRecord& record) {
  using statemachine::Operation;
  nlohmann::ordered_json out = {
      {"address", record.address.value}, {"end", record.end.value}, {"epoch", record.epoch.value}};
  if (record.kind == fasterlog::RecordKind::kEpochStart) {
    out["kind"] = "epoch_start";
    return json_text(out);
  }
  if (record.kind == fasterlog::RecordKind::kConfiguration) {
    out["kind"] = "configuration";
    set_text(out, "payload", record.payload);
    return json_text(out);
  }
  const auto command = statemachine::decode(as_bytes(record.payload));
  if (record.kind != statemachine::kCommandRecord || !command) {
    // Of a newer version: shown as it is.
    out["kind"] = fmt::format("{}", static_cast<int>(record.kind));
    set_text(out, "payload", record.payload);
    return json_text(out);
  }
  out["kind"] = name_of(command->operation);
  set_text(out, command->operation == Operation::kEvent ? "stream" : "key", as_text(command->key));
  if (command->operation == Operation::kAdd) out["delta"] = command->delta;
  if (command->operation == Operation::kCas) set_text(out, "expected", as_text(command->expected));
  if (command->operation == Operation::kEvent || command->operation == Operation::kPut ||
      command->operation == Operation::kCas)
    set_text(out, "payload", as_text(command->value));
  if (command->expires_at_ns != 0) out["expires_at_ns"] = command->expires_at_ns;
  if (command->session) {
    out["client"] =
        fmt::format("{:016x}{:016x}", command->session->client.high, command->session->client.low);
    out["serial"] = command->session->serial;
  }
  return json_text(out);
}

/// An address, or nothing for `word`.
Result<std::optional<Address>> parse_address(const std::string& text, std::string_view option,
                                             std::string_view words) {
  Address address;
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, address.value);
  if (error == std::errc{} && stopped == end && address.value != 0) return address;
  return make_error(ErrorCode::kInvalidArgument,
                    fmt::format("{} is '{}'; it must be an address or {}", option, text, words));
}

Result<rpc::Client::TailOptions> parse(const TailVerbOptions& options) {
  rpc::Client::TailOptions tail;
  tail.follow = options.follow;
  tail.from_end = options.from == "end";
  if (options.from != "begin" && options.from != "end") {
    auto from = parse_address(options.from, "--from", "'begin' or 'end'");
    if (!from) return tl::unexpected(std::move(from).error());
    tail.from = *from;
  }
  if (options.to != "end") {
    auto to = parse_address(options.to, "--to", "'end'");
    if (!to) return tl::unexpected(std::move(to).error());
    tail.to = *to;
  }
  return tail;
}

int tail(const TailVerbOptions& options) {
  auto what = parse(options);
  if (!what) return report(what.error());
  what->started = [from_begin = options.from == "begin"](Address from) {
    if (from_begin) warn_of_truncation(from.value, "");
  };
  auto client = options.client.connect();
  if (!client) return report(client.error());
  Result<> written;
  const auto visit = [&](const rpc::TailRecord& record) {
    if (options.json) {
      print_out("{}\n", to_json(record));
    } else {
      if (record.kind != statemachine::kCommandRecord) return true;
      const auto command = statemachine::decode(as_bytes(record.payload));
      if (!command || command->operation != statemachine::Operation::kEvent) return true;
      write_out(as_text(command->value));
      write_out("\n");
    }
    if (options.follow) written = flush_output();
    return written.has_value() && !output_fails();
  };
  const auto reached = (*client)->tail(*what, visit);
  const auto flushed = flush_output();
  if (!written) return report(written.error());
  if (!reached) return report_answer(reached.error());
  return flushed ? kDone : report(flushed.error());
}

}  // namespace

void add_tail_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand(
      "tail", "Prints committed events, one a line; with --json every record, one object a line");
  const auto options = std::make_shared<TailVerbOptions>();
  verb->add_option(
          "--from", options->from,
          "An address where a record begins or ends, begin (of what the log still keeps) or "
          "end")
      ->capture_default_str();
  verb->add_option("--to", options->to,
                   "An address, which is waited for, or end: what is committed now")
      ->capture_default_str();
  verb->add_flag(
      "--follow", options->follow,
      "Goes on with what is committed later, and waits for it as long as it takes: also for "
      "a server, and through restarts");
  verb->add_flag("--json", options->json,
                 "All records, with address, epoch, kind, stream or key, and payload");
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = tail(*options); });
}

}  // namespace tailrace::app
