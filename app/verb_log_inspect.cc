#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/log_flags.h"
#include "app/verbs.h"
#include "fasterlog/inspect.h"

namespace tailrace::app {

namespace {

struct InspectOptions {
  LogFlags log;
  bool json = false;
};

void print_json(const fasterlog::InspectReport& report) {
  nlohmann::json out;
  if (report.metadata_error) out["metadata_error"] = report.metadata_error->message;
  out["owner"] = report.metadata.owner;
  out["page_bytes"] = report.metadata.page_bytes;
  out["segment_bytes"] = report.metadata.segment_bytes;
  out["begin"] = report.metadata.begin.value;
  out["proven"] = report.metadata.proven.value;
  out["durable"] = report.durable.value;
  out["records"] = report.records;
  out["batches"] = report.batches;
  out["segments"] = nlohmann::json::array();
  for (const auto& segment : report.segments) {
    out["segments"].push_back({{"name", segment.name}, {"first", segment.first.value}});
  }
  out["epochs"] = nlohmann::json::array();
  for (const auto& epoch : report.epochs) {
    out["epochs"].push_back({{"epoch", epoch.epoch.value}, {"start", epoch.start.value}});
  }
  out["damaged"] = report.damaged;
  out["in_use"] = report.in_use;
  out["end"] = {{"address", report.first_bad.value},
                {"file", report.first_bad_file},
                {"reason", report.first_bad_reason}};
  fmt::print("{}\n", out.dump(2));
}

void print_text(const fasterlog::InspectReport& report) {
  fmt::print("owner      {}\n",
             report.metadata_error ? "(lost with META)" : report.metadata.owner.c_str());
  fmt::print("pages      {} bytes, segments {} bytes\n", report.metadata.page_bytes,
             report.metadata.segment_bytes);
  fmt::print("begin      {}\n", report.metadata.begin.value);
  fmt::print("proven     {}\n", report.metadata.proven.value);
  fmt::print("durable    {}\n", report.durable.value);
  fmt::print("records    {} in {} batches\n", report.records, report.batches);
  for (const auto& segment : report.segments) {
    fmt::print("segment    {} from {}\n", segment.name, segment.first.value);
  }
  for (const auto& epoch : report.epochs) {
    fmt::print("epoch      {} from {}\n", epoch.epoch.value, epoch.start.value);
  }
  fmt::print("scan ended at {} in {}: {}\n", report.first_bad.value, report.first_bad_file,
             report.first_bad_reason);
  if (report.in_use) fmt::print("note       the log is in use: it changed meanwhile\n");
}

int inspect(const InspectOptions& options) {
  const auto report =
      fasterlog::inspect(storage::posix_file_system(), options.log.directory, options.log.sizes());
  if (!report) return app::report(report.error());
  if (options.json) {
    print_json(*report);
  } else {
    print_text(*report);
  }
  // Without META this is what the segments alone say.
  if (report->metadata_error) return app::report(*report->metadata_error);
  if (!report->damaged) return kDone;
  fmt::print(
      stderr,
      "tailrace: damaged: the log was proven durable up to {} but reads only up to {}; see "
      "{} at address {}; restore that file from a copy or another node; `tailrace log check` "
      "lists all that is bad, `tailrace log repair` says what it would keep\n",
      report->metadata.proven.value, report->durable.value, report->first_bad_file,
      report->first_bad.value);
  return kNegative;
}

}  // namespace

void add_log_inspect_verb(CLI::App& log, int& exit_code) {
  CLI::App* verb = log.add_subcommand(
      "inspect", "Prints what a log holds; reads only, also on a damaged log or one in use");
  // Lives as long as the parser that holds the callback.
  const auto options = std::make_shared<InspectOptions>();
  options->log.add_to(*verb);
  verb->add_flag("--json", options->json, "One JSON object");
  verb->callback([options, &exit_code] { exit_code = inspect(*options); });
}

}  // namespace tailrace::app
