// `tailrace tail`: committed records, events as lines or all as JSON.

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "app/cli/client_options.h"
#include "app/cli/option_values.h"
#include "app/cli/output.h"
#include "app/cli/record_json.h"
#include "app/cli/verbs.h"
#include "statemachine/command/command.h"
#include "statemachine/txn/txn.h"

namespace tailrace::app {

namespace {

struct TailVerbOptions {
  ClientFlags client;
  std::string from = "begin", to = "end";
  std::optional<std::string> stream;
  uint64_t count = 0;  // lines; 0: no limit
  bool follow = false, json = false;
};

using Events = std::vector<ByteSpan>;

/// Those of the stream that is asked for, or of any, as they were sent: those of a transaction's
/// `then`, whatever came of its checks.
void find_events(const statemachine::Command& command, const TailVerbOptions& options,
                 statemachine::Txn& txn, Events& found) {
  using statemachine::Operation;
  const auto is_wanted = [&](ByteSpan stream) {
    return !options.stream || as_text(stream) == *options.stream;
  };
  found.clear();
  if (command.operation == Operation::kEvent && is_wanted(command.key))
    found.push_back(command.value);
  if (command.operation != Operation::kTxn || !statemachine::decode(command.value, txn)) return;
  for (const statemachine::TxnEffect& effect : txn.then)
    if (effect.kind == statemachine::TxnEffectKind::kAppend && is_wanted(effect.name))
      for (const statemachine::TxnEvent& event : txn.events_of(effect))
        found.push_back(event.data);
}

/// Prints what is wanted of records.
class Printer {
 public:
  explicit Printer(const TailVerbOptions& options) : options_(options) {}

  /// Up to `most` lines; how many they were.
  uint64_t print(const rpc::TailRecord& record, uint64_t most) {
    if (!options_.json || options_.stream) {
      if (record.kind != statemachine::kCommandRecord) return 0;
      const auto command = statemachine::decode(as_bytes(record.payload));
      if (!command) return 0;
      find_events(*command, options_, txn_, events_);
      if (events_.empty()) return 0;
      if (!options_.json) return print_events(most);
    }
    write_record({record.address, record.end, record.epoch, record.kind, as_bytes(record.payload)},
                 line_);
    write_out(line_.end());
    return 1;
  }

 private:
  uint64_t print_events(uint64_t most) const {
    const uint64_t count = std::min<uint64_t>(events_.size(), most);
    for (uint64_t i = 0; i < count; ++i) {
      write_out(as_text(events_[i]));
      write_out("\n");
    }
    return count;
  }

  const TailVerbOptions& options_;
  JsonLine line_;
  statemachine::Txn txn_;
  Events events_;
};

Result<rpc::Client::TailOptions> parse(const TailVerbOptions& options) {
  rpc::Client::TailOptions tail;
  tail.follow = options.follow;
  tail.from_end = options.from == "end";
  if (options.from != "begin" && options.from != "end") {
    TAILRACE_ASSIGN_OR_RETURN(tail.from, parse_address(options.from, "--from", "'begin' or 'end'"));
  }
  if (options.to != "end") {
    TAILRACE_ASSIGN_OR_RETURN(tail.to, parse_address(options.to, "--to", "'end'"));
  }
  if (tail.from && tail.to) TAILRACE_RETURN_IF_ERROR(check_order(*tail.from, *tail.to));
  return tail;
}

int tail(const TailVerbOptions& options) {
  auto what = parse(options);
  if (!what) return report(what.error());
  what->started = [from_begin = options.from == "begin"](Address from) {
    if (from_begin)
      warn_of_truncation(from,
                         ", but those of streams are in event files (tailrace read STREAM), unless "
                         "history.keep is none");
  };
  gather_output();
  // A reader sees each record at once: what has come is written before more is waited for.
  what->caught_up = [] { return flush_output().has_value(); };
  auto client = options.client.connect();
  if (!client) return report(client.error());
  uint64_t printed = 0;
  Printer printer(options);
  const auto visit = [&](const rpc::TailRecord& record) {
    printed += printer.print(record, options.count == 0 ? UINT64_MAX : options.count - printed);
    return !output_fails() && (options.count == 0 || printed < options.count);
  };
  const auto reached = (*client)->tail(*what, visit);
  const auto flushed = flush_output();
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
      "-f,--follow", options->follow,
      "Goes on with what is committed later, and waits for it as long as it takes: also for "
      "a server, and through restarts");
  verb->add_option("--stream", options->stream, "Only the events of this stream");
  whole_number(
      verb->add_option("-n,--count", options->count, "Ends when so many lines are printed"), 1,
      UINT64_MAX);
  verb->add_flag("--json", options->json,
                 "All records, with address, epoch, kind, stream or key, and payload. A command is "
                 "shown as it was sent: what it came to (an absent key, a lost compare-and-swap, a "
                 "repeat that did nothing) is not in the log");
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = tail(*options); });
}

}  // namespace tailrace::app
