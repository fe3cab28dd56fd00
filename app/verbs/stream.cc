// `tailrace stream`: what is kept of one stream, and its end.

#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "app/cli/client_options.h"
#include "app/cli/option_values.h"
#include "app/cli/output.h"
#include "app/cli/printable.h"
#include "app/cli/verbs.h"
#include "app/verbs/stream_text.h"
#include "json/json_writer.h"
#include "json/time_text.h"

namespace tailrace::app {

namespace {

using statemachine::TxnEffect;
using statemachine::TxnEffectKind;

struct StreamVerbOptions {
  ClientFlags client;
  std::string stream, max_age, read = "linearizable";
  std::optional<uint64_t> max_count, truncate_before, dedupe;
  bool json = false;
};

constexpr uint64_t kMillisecondOfAge = 1'000'000;

/// One effect on the stream, for good or not at all.
int change_stream(const StreamVerbOptions& options, TxnEffect effect) {
  auto client = options.client.connect();
  if (!client) return report(client.error());
  effect.name = as_bytes(options.stream);
  statemachine::Txn txn;
  txn.then.push_back(effect);
  const auto answer = (*client)->txn(txn);
  if (!answer) return report_answer(answer.error());
  if (answer->succeeded) return kDone;
  const bool told = answer->result && !answer->result->failed.empty();
  print_error("tailrace: {}; nothing changed\n",
              told ? wrong_stream_text(options.stream, answer->result->failed.front())
                   : "the stream is not as was expected");
  return kNegative;
}

int set_policy(const StreamVerbOptions& options) {
  TxnEffect policy{.kind = TxnEffectKind::kPolicy};
  policy.max_count = options.max_count;
  policy.truncate_before = options.truncate_before;
  policy.dedupe = options.dedupe;
  if (!options.max_age.empty()) {
    const bool none = options.max_age == "0" || options.max_age == "none";
    const auto milliseconds = parse_duration_ms(options.max_age);
    if (!none && !milliseconds)
      return report(Error{ErrorCode::kInvalidArgument,
                          "--max-age is '" + options.max_age +
                              "'; it must be a time with a unit, such as 30s, 12h or 7d, or none"});
    policy.max_age_ns = none ? 0 : *milliseconds * kMillisecondOfAge;
  }
  if (!policy.max_count && !policy.truncate_before && !policy.dedupe && !policy.max_age_ns)
    return report(Error{ErrorCode::kInvalidArgument,
                        "stream set needs one of --max-count, --max-age, --truncate-before and "
                        "--dedupe"});
  return change_stream(options, policy);
}

const char* stream_state_name(rpc::StreamState state) {
  switch (state) {
    case rpc::StreamState::kNone:
      return "none";
    case rpc::StreamState::kExists:
      return "exists";
    case rpc::StreamState::kDeleted:
      return "deleted";
    case rpc::StreamState::kTombstoned:
      return "tombstoned";
  }
  return "none";
}

void print_stream(const StreamVerbOptions& options, const rpc::StreamInfo& stream) {
  if (!options.json) {
    const std::string policy = policy_text(stream);
    print_out("{} {}: versions {} to before {}, keeps {}, remembers {} ids\n",
              printable(options.stream), stream_state_name(stream.state), stream.first, stream.end,
              policy.empty() ? "all" : policy, stream.dedupe);
    return;
  }
  std::string line;
  JsonWriter to(line);
  to.begin_object().bytes("stream", options.stream);
  to.name("state").text(stream_state_name(stream.state));
  to.name("first").number(stream.first).name("next").number(stream.end);
  to.name("max_count").number(stream.max_count);
  to.name("max_age_ns").number(stream.max_age_ns);
  to.name("dedupe").number(stream.dedupe).end_object();
  write_out(line + "\n");
}

int show_stream(const StreamVerbOptions& options) {
  const auto level = parse_read_level(options.read);
  if (!level) return report(level.error());
  auto client = options.client.connect();
  if (!client) return report(client.error());
  rpc::Client::StreamReadOptions wanted;
  wanted.read = *level;
  wanted.limit = 0;
  const auto end = (*client)->read_stream(options.stream, wanted, [](const auto&) { return true; });
  if (!end) return report_answer(end.error());
  print_stream(options, end->stream);
  const auto flushed = flush_output();
  if (!flushed) return report(flushed.error());
  if (end->stream.state == rpc::StreamState::kNone)
    print_error("tailrace: the stream '{}' has no event yet\n", printable(options.stream));
  return end->stream.state == rpc::StreamState::kExists ? kDone : kNegative;
}

std::shared_ptr<StreamVerbOptions> add_stream_options(CLI::App& verb) {
  const auto options = std::make_shared<StreamVerbOptions>();
  verb.add_option("STREAM", options->stream, "The stream's name")->required();
  options->client.add_to(verb);
  return options;
}

void add_stream_set(CLI::App& parent, int& exit_code) {
  CLI::App* verb = parent.add_subcommand(
      "set", "Says what is kept of the stream. What cannot be read any more never can again");
  const auto options = add_stream_options(*verb);
  const auto number = [&](const char* name, std::optional<uint64_t>& to, uint64_t most,
                          const char* help) {
    whole_number(verb->add_option(name, to, help), 0, most);
  };
  number("--max-count", options->max_count, UINT64_MAX,
         "Only so many of the newest events can be read; 0: all");
  number("--truncate-before", options->truncate_before, UINT64_MAX,
         "Events before this version can be read no more");
  number("--dedupe", options->dedupe, statemachine::kMaxTxnDedupe,
         "The ids of so many last events are remembered");
  verb->add_option("--max-age", options->max_age,
                   "Only events younger than this can be read: 30s, 12h, 7d; none: all")
      ->type_name("TIME");
  verb->callback([options, &exit_code] { exit_code = set_policy(*options); });
}

void add_stream_change(CLI::App& parent, const char* name, const char* help, TxnEffectKind kind,
                       int& exit_code) {
  CLI::App* verb = parent.add_subcommand(name, help);
  const auto options = add_stream_options(*verb);
  verb->callback([options, kind, &exit_code] {
    exit_code = change_stream(*options, TxnEffect{.kind = kind});
  });
}

}  // namespace

void add_stream_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand("stream", "Shows and says what is kept of a stream");
  verb->require_subcommand(1);
  add_stream_set(*verb, exit_code);
  add_stream_change(
      *verb, "delete",
      "All its events can be read no more; an append brings it back and goes on with its "
      "numbers",
      TxnEffectKind::kDeleteStream, exit_code);
  add_stream_change(*verb, "tombstone", "Ends the stream for good: it takes no more events",
                    TxnEffectKind::kTombstone, exit_code);
  CLI::App* shows = verb->add_subcommand(
      "show", "Prints the stream's versions and what is kept; exit code 1 when there is none");
  const auto shown = add_stream_options(*shows);
  shows->add_option("--read", shown->read, kReadLevelHelp)->capture_default_str();
  shows->add_flag("--json", shown->json,
                  "One object: stream, state, first, next, max_count, max_age_ns, dedupe");
  shows->callback([shown, &exit_code] { exit_code = show_stream(*shown); });
}

}  // namespace tailrace::app
