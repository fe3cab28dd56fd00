// `tailrace scan`: the pairs whose keys have a prefix, as they were at one address.

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/client_options.h"
#include "app/json_text.h"
#include "app/output.h"
#include "app/verbs.h"

namespace tailrace::app {

namespace {

struct ScanVerbOptions {
  ClientFlags client;
  std::string prefix;
  std::string read = "linearizable";
  uint64_t limit = 0;
  bool json = false;
};

void print_pair(ByteSpan key, ByteSpan value, bool json) {
  if (json) {
    nlohmann::ordered_json out;
    set_text(out, "key", as_text(key));
    set_text(out, "value", as_text(value));
    print_out("{}\n", json_text(out));
    return;
  }
  write_out(as_text(key));
  write_out("\t");
  write_out(as_text(value));
  write_out("\n");
}

int scan(const ScanVerbOptions& options) {
  const auto level = parse_read_level(options.read);
  if (!level) return report(level.error());
  auto client = options.client.connect();
  if (!client) return report(client.error());
  const auto visit = [&](ByteSpan key, ByteSpan value) {
    print_pair(key, value, options.json);
    return !output_fails();
  };
  const auto end = (*client)->scan(as_bytes(options.prefix), {*level, options.limit}, visit);
  if (end && options.json) {
    const nlohmann::ordered_json out = {{"address", end->address.value},
                                        {"epoch", end->epoch.value},
                                        {"pairs", end->pairs},
                                        {"complete", end->complete}};
    print_out("{}\n", json_text(out));
  }
  const auto flushed = flush_output();
  if (!end) return report_answer(end.error());
  if (!flushed) return report(flushed.error());
  if (!options.json) {
    print_error("tailrace: {} pairs{} at address {} of epoch {}\n", end->pairs,
                end->complete ? "" : ", and there may be more,", end->address.value,
                end->epoch.value);
  }
  return end->pairs > 0 ? kDone : kNegative;
}

}  // namespace

void add_scan_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand(
      "scan",
      "Prints the pairs whose keys begin with PREFIX, exactly as they were at one address; "
      "exit code 1 when there is none");
  const auto options = std::make_shared<ScanVerbOptions>();
  verb->add_option("PREFIX", options->prefix, "May be empty: all pairs")->required();
  verb->add_option("--limit", options->limit, "At most so many pairs; 0: all")
      ->capture_default_str();
  verb->add_option("--read", options->read, kReadLevelHelp)->capture_default_str();
  verb->add_flag("--json", options->json,
                 "One object a pair and line, and a last one with address, epoch, pairs, complete");
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = scan(*options); });
}

}  // namespace tailrace::app
