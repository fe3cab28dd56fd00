// `tailrace streams`: which streams there are.

#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "app/cli/client_options.h"
#include "app/cli/option_values.h"
#include "app/cli/output.h"
#include "app/cli/verbs.h"
#include "app/verbs/stream_text.h"
#include "json/json_writer.h"
#include "json/time_text.h"

namespace tailrace::app {

namespace {

struct StreamsVerbOptions {
  ClientFlags client;
  std::string prefix, after, read = "linearizable";
  uint64_t limit = 0;
  bool json = false;
};

void print_listed(const rpc::ListedStream& stream, bool json) {
  if (!json) {
    print_out("{}\t{}\t{}\n", stream.name, stream.stream.first, stream.stream.end);
    return;
  }
  std::string line;
  JsonWriter to(line);
  to.begin_object().bytes("stream", stream.name);
  to.name("first").number(stream.stream.first);
  to.name("next").number(stream.stream.end);
  to.name("last_time").text(rfc3339_text(stream.last_time_ns));
  to.name("max_count").number(stream.stream.max_count);
  to.name("max_age_ns").number(stream.stream.max_age_ns);
  to.name("dedupe").number(stream.stream.dedupe).end_object();
  write_out(line + "\n");
}

int list_streams(const StreamsVerbOptions& options) {
  const auto level = parse_read_level(options.read);
  if (!level) return report(level.error());
  auto client = options.client.connect();
  if (!client) return report(client.error());
  gather_output();
  const auto visit = [&](const rpc::ListedStream& stream) {
    print_listed(stream, options.json);
    return !output_fails();
  };
  const auto count =
      (*client)->streams(options.prefix, {*level, options.after, options.limit}, visit);
  const auto flushed = flush_output();
  if (!count) return report_answer(count.error());
  if (!flushed) return report(flushed.error());
  return *count > 0 ? kDone : kNegative;
}

}  // namespace

void add_streams_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand(
      "streams",
      "Prints the streams whose names begin with PREFIX, sorted: name, first version that can be "
      "read, version of the next event. Exit code 1 when there are none");
  const auto options = std::make_shared<StreamsVerbOptions>();
  verb->add_option("PREFIX", options->prefix, "What the names begin with; without it all streams");
  verb->add_option("--after", options->after, "Only names that come behind this one")
      ->type_name("STREAM");
  whole_number(verb->add_option("-n,--limit", options->limit, "At most so many streams"), 1,
               UINT64_MAX);
  verb->add_option("--read", options->read, kReadLevelHelp)->capture_default_str();
  verb->add_flag(
      "--json", options->json,
      "One object a line: stream, first, next, last_time, max_count, max_age_ns, dedupe");
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = list_streams(*options); });
}

}  // namespace tailrace::app
