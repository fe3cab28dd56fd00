// `tailrace append`: one event a line (appender.h).

#include <cerrno>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "app/cli/client_options.h"
#include "app/cli/option_values.h"
#include "app/cli/output.h"
#include "app/cli/verbs.h"
#include "app/verbs/appender.h"
#include "app/verbs/stream_text.h"
#include "json/json_writer.h"
#include "json/uuid.h"

namespace tailrace::app {

namespace {

struct AppendOptions {
  ClientFlags client;
  std::string stream;
  std::vector<std::string> words;  // STREAM, FILE
  std::string expect = "any", id, output = "text";
  AppendLines lines;
  std::string file = "-";
};

/// A lone word is the stream, unless it can only be meant as a file.
bool is_file_name(const std::string& word) {
  return word == "-" || word.starts_with("/") || word.starts_with("./") || word.starts_with("../");
}

Result<> take_words(AppendOptions& options) {
  std::vector<std::string> words = options.words;
  const bool named = !options.stream.empty();
  if (named) options.lines.stream = options.stream;
  if (!named && !words.empty() && (words.size() > 1 || !is_file_name(words[0]))) {
    options.lines.stream = words[0];
    words.erase(words.begin());
  }
  if (words.size() > 1)
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("'{}' is one word too many behind --stream", words[1]));
  if (!words.empty()) options.file = words[0];
  return {};
}

Result<> take_values(AppendOptions& options) {
  TAILRACE_RETURN_IF_ERROR(take_words(options));
  TAILRACE_ASSIGN_OR_RETURN(options.lines.expected, parse_expected(options.expect));
  if (options.id.empty()) return {};
  options.lines.id = parse_uuid(options.id);
  if (options.lines.id) return {};
  return make_error(ErrorCode::kInvalidArgument,
                    fmt::format("--id is '{}'; it must be a UUID: 32 hexadecimal digits, with "
                                "dashes or without",
                                options.id));
}

/// The positions of the first and the last event, as the stream has them.
Result<std::pair<uint64_t, uint64_t>> appended_positions(rpc::Client& client,
                                                         const Appender& appender,
                                                         const std::string& stream) {
  const auto position = [&](uint64_t version) -> Result<uint64_t> {
    std::optional<uint64_t> found;
    const auto visit = [&](const rpc::StreamEvent& event) {
      if (event.version == version) found = event.position;
      return false;
    };
    rpc::Client::StreamReadOptions options;
    options.read = after(appender.epoch(), appender.end());
    options.from = version;
    options.limit = 1;
    TAILRACE_RETURN_IF_ERROR(client.read_stream(stream, options, visit));
    if (found) return *found;
    return make_error(ErrorCode::kNotFound, "the stream's policy keeps no such event");
  };
  TAILRACE_ASSIGN_OR_RETURN(const uint64_t first, position(appender.versions()->first));
  TAILRACE_ASSIGN_OR_RETURN(const uint64_t last, position(appender.versions()->last));
  return std::pair{first, last};
}

void print_appended(rpc::Client& client, const Appender& appender, const std::string& stream) {
  const auto positions = appended_positions(client, appender, stream);
  std::string text;
  JsonWriter to(text);
  to.begin_object().bytes("stream", stream);
  to.name("first").number(appender.versions()->first);
  to.name("last").number(appender.versions()->last);
  const auto position = [&](std::string_view name, uint64_t value) {
    to.name(name);
    if (positions)
      to.number(value);
    else
      to.json("null");
  };
  position("first_position", positions ? positions->first : 0);
  position("position", positions ? positions->second : 0);
  to.name("replayed").flag(appender.versions()->replayed).end_object();
  write_out(text + "\n");
}

/// What was there before stands elsewhere than its repeat: there the stream has it.
void print_addresses(rpc::Client& client, const Appender& appender, const std::string& stream) {
  std::string first = std::to_string(appender.first().value);
  std::string last = std::to_string(appender.last().value);
  if (appender.versions() && appender.versions()->some_replayed) {
    const auto positions = appended_positions(client, appender, stream);
    first = positions ? std::to_string(positions->first) : "-";
    last = positions ? std::to_string(positions->second) : "-";
  }
  print_out("first {} last {} records {} end {}:{}\n", first, last, appender.lines(),
            appender.epoch().value, appender.end().value);
}

/// What has come of it, on standard output; and on standard error what becomes of the events.
void tell_appended(rpc::Client& client, const AppendOptions& options, const Appender& appender) {
  if (options.output == "json" && appender.versions()) {
    print_appended(client, appender, options.lines.stream);
  } else {
    print_addresses(client, appender, options.lines.stream);
  }
  if (!appender.versions()) return;
  rpc::Client::StreamReadOptions none;
  none.read = after(appender.epoch(), appender.end());
  none.limit = 0;
  const auto end = client.read_stream(options.lines.stream, none, [](const auto&) { return true; });
  if (end) warn_of_policy(options.lines.stream, end->stream);
}

/// Whoever appends events to keep them is to hear if the log alone keeps them, for a while.
void tell_how_long(rpc::Client& client) {
  const auto leader = client.leader_status();
  if (!leader || leader->begin <= fasterlog::kFirstAddress || leader->leader_address.empty())
    return;
  const auto history = client.history(leader->leader_address);
  if (history && !history->kept)
    warn_of_truncation(leader->begin, ", and the new ones will be, too");
}

int append_lines(const AppendOptions& options, int input, const std::string& name) {
  auto client = options.client.connect();
  if (!client) return report(client.error());
  Appender appender(**client, options.lines, name);
  LineReader lines(input, name, kMostValueBytes);
  const auto done = appender.take(lines);
  appender.end_progress();
  if (appender.any()) tell_appended(**client, options, appender);
  if (!done) return report_answer(done.error());
  if (appender.any()) tell_how_long(**client);
  const auto flushed = flush_output();
  if (!flushed) return report(flushed.error());
  if (appender.wrong()) {
    print_error("tailrace: {}: the first {} lines are in the log, none after it: {}\n", name,
                appender.lines(), wrong_stream_text(options.lines.stream, *appender.wrong()));
    return kNegative;
  }
  if (!appender.any()) print_error("tailrace: {} holds no line\n", name);
  return kDone;
}

int append(AppendOptions options) {
  if (const auto taken = take_values(options); !taken) return report(taken.error());
  const bool standard_input = options.file == "-";
  const int input =
      standard_input ? STDIN_FILENO : ::open(options.file.c_str(), O_RDONLY | O_CLOEXEC);
  if (input < 0) return report(io_error("open", options.file, errno));
  const int code = append_lines(options, input, standard_input ? "standard input" : options.file);
  if (!standard_input) ::close(input);
  return code;
}

}  // namespace

void add_append_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand(
      "append",
      "Appends each line as an event; prints the first and last record's address, how many events "
      "there are, and EPOCH:ADDRESS of their end (for get --read at-least=). Exit code 1 when the "
      "stream is not as --expect says");
  const auto options = std::make_shared<AppendOptions>();
  verb->add_option(
          "STREAM", options->words,
          "The stream that the events belong to, a name of at most 1024 bytes (default: "
          "default), and then a FILE of lines; - is standard input. With --stream, and for "
          "a lone word that begins with / or ./, only the FILE")
      ->expected(0, 2)
      ->type_name("[STREAM] [FILE]");
  verb->add_option("--stream", options->stream, "The stream, in another way");
  verb->add_option("--expect", options->expect,
                   "What the stream must be: any, none (no such stream), exists, or the version of "
                   "its last event")
      ->capture_default_str();
  verb->add_option("--type", options->lines.type, "Of events that have no type of their own");
  auto* id = verb->add_option("--id", options->id,
                              "The UUID of the only event: appended again it is known by it");
  verb->add_flag("--ids", options->lines.new_ids, "Gives each event without an id a new UUID")
      ->excludes(id);
  verb->add_flag("--json", options->lines.json,
                 "A line is {\"id\",\"type\",\"data\"|\"text\"|\"data_base64\",\"meta\",\"tags\"}");
  verb->add_option("--output", options->output,
                   "text, or json: {\"stream\",\"first\",\"last\",\"first_position\","
                   "\"position\",\"replayed\"}")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = append(*options); });
}

}  // namespace tailrace::app
