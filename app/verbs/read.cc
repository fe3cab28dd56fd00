// `tailrace read`: the events of one stream.

#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "app/cli/client_options.h"
#include "app/cli/option_values.h"
#include "app/cli/output.h"
#include "app/cli/printable.h"
#include "app/cli/verbs.h"
#include "app/verbs/stream_text.h"
#include "json/event_json.h"
#include "json/time_text.h"

namespace tailrace::app {

namespace {

struct ReadVerbOptions {
  ClientFlags client;
  std::string stream, from, read = "linearizable";
  uint64_t limit = 0;
  bool backward = false, json = false;
};

/// Nothing: from the beginning, or backwards from the end.
Result<std::optional<uint64_t>> parse_version(const ReadVerbOptions& options) {
  const std::string& from = options.from;
  const bool forward = !options.backward;
  if (from.empty() || from == (forward ? "begin" : "end")) return std::nullopt;
  if (from == "begin") return uint64_t{0};
  if (from == "end") return UINT64_MAX;
  if (const auto version = parse_whole_number(from)) return *version;
  return make_error(ErrorCode::kInvalidArgument,
                    "--from is '" + from + "'; it must be a version, 'begin' or 'end'");
}

void print_event(const std::string& stream, const rpc::StreamEvent& event, std::string& line) {
  line.clear();
  JsonWriter to(line);
  to.begin_object().bytes("stream", stream);
  to.name("version").number(event.version);
  to.name("position").number(event.position);
  to.name("time").text(rfc3339_text(event.time_ns));
  write_event(event.event, event.tags, to);
  to.end_object();
  line += '\n';
  write_out(line);
}

int tell_no_events(const ReadVerbOptions& options, const rpc::StreamInfo& info) {
  const std::string name = printable(options.stream);
  switch (info.state) {
    case rpc::StreamState::kNone:
      print_error("tailrace: there is no stream '{}'\n", name);
      break;
    case rpc::StreamState::kDeleted:
      print_error("tailrace: the stream '{}' was deleted; its next event will be {}\n", name,
                  info.end);
      break;
    case rpc::StreamState::kTombstoned:
      print_error("tailrace: the stream '{}' was tombstoned\n", name);
      break;
    case rpc::StreamState::kExists:
      print_error(
          "tailrace: the stream '{}' has no event there; its versions from {} to before {} "
          "can be read\n",
          name, info.first, info.end);
      return kDone;
  }
  return kNegative;
}

int read_events(const ReadVerbOptions& options) {
  const auto level = parse_read_level(options.read);
  if (!level) return report(level.error());
  const auto from = parse_version(options);
  if (!from) return report(from.error());
  auto client = options.client.connect();
  if (!client) return report(client.error());
  gather_output();
  rpc::Client::StreamReadOptions wanted{*level, *from, options.backward, std::nullopt};
  if (options.limit != 0) wanted.limit = options.limit;
  std::string line;
  const auto visit = [&](const rpc::StreamEvent& event) {
    if (options.json) {
      print_event(options.stream, event, line);
    } else {
      write_out(as_text(event.event.data));
      write_out("\n");
    }
    return !output_fails();
  };
  const auto end = (*client)->read_stream(options.stream, wanted, visit);
  const auto flushed = flush_output();
  if (!end) return report_answer(end.error());
  if (!flushed) return report(flushed.error());
  if (end->events == 0) return tell_no_events(options, end->stream);
  warn_of_policy(options.stream, end->stream);
  return kDone;
}

}  // namespace

void add_read_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand(
      "read",
      "Prints the events of a stream, the data of one a line; exit code 1 when there is no "
      "such stream");
  const auto options = std::make_shared<ReadVerbOptions>();
  verb->add_option("STREAM", options->stream, "The stream's name")->required();
  verb->add_option("--from", options->from,
                   "The version to begin with, 'begin' or 'end' (default: begin; with --backward: "
                   "end)")
      ->type_name("VERSION");
  verb->add_flag("--backward", options->backward, "From the newer to the older events");
  whole_number(verb->add_option("-n,--limit", options->limit, "At most so many events"), 1,
               UINT64_MAX);
  verb->add_option("--read", options->read, kReadLevelHelp)->capture_default_str();
  verb->add_flag("--json", options->json,
                 "One object a line: stream, version, position, time, and the event as `append "
                 "--json` takes it");
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = read_events(*options); });
}

}  // namespace tailrace::app
