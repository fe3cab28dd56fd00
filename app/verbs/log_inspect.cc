#include <memory>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/cli/client_options.h"
#include "app/cli/json_text.h"
#include "app/cli/log_flags.h"
#include "app/cli/log_report.h"
#include "app/cli/output.h"
#include "app/cli/verbs.h"
#include "fasterlog/offline/inspect.h"

namespace tailrace::app {

namespace {

struct InspectOptions {
  LogFlags log;
  bool json = false;
};

void print_json(const fasterlog::InspectReport& report) {
  nlohmann::json out;
  // What only META says is null without it.
  const bool known = !report.metadata_error;
  const auto from_metadata = [&](nlohmann::json value) {
    return known ? std::move(value) : nlohmann::json();
  };
  if (!known) out["metadata_error"] = report.metadata_error->message;
  out["owner"] = from_metadata(report.metadata.owner);
  out["page_bytes"] = report.metadata.page_bytes;
  out["segment_bytes"] = report.metadata.segment_bytes;
  out["begin"] = report.metadata.begin.value;
  out["proven"] = from_metadata(report.metadata.proven.value);
  out["closed_in_order"] = from_metadata(report.metadata.clean);
  out["durable"] = report.durable.value;
  out["records"] = report.records;
  out["batches"] = report.batches;
  out["kinds"] = nlohmann::json::object();
  for (const auto& [kind, totals] : report.kinds)
    out["kinds"][name_of(kind)] = {{"records", totals.records},
                                   {"payload_bytes", totals.payload_bytes}};
  out["segments"] = nlohmann::json::array();
  for (const auto& segment : report.segments) {
    out["segments"].push_back({{"name", segment.name},
                               {"first", segment.first.value},
                               {"file_bytes", segment.file_bytes}});
  }
  out["spares"] = nlohmann::json::array();
  for (const auto& spare : report.spares)
    out["spares"].push_back({{"name", spare.name}, {"file_bytes", spare.file_bytes}});
  out["epochs"] = nlohmann::json::array();
  for (const auto& epoch : report.epochs) {
    out["epochs"].push_back({{"epoch", epoch.epoch.value}, {"start", epoch.start.value}});
  }
  if (report.consumers_error) out["consumers_error"] = report.consumers_error->message;
  out["consumers"] = nlohmann::json::array();
  for (const auto& consumer : report.consumers) {
    nlohmann::ordered_json one;
    set_text(one, "name", consumer.name);
    one["position"] = consumer.position.value;
    one["most_pinned_bytes"] = consumer.most_pinned_bytes;
    one["pins"] = consumer.pins;
    out["consumers"].push_back(nlohmann::json(one));
  }
  out["damaged"] = report.damaged;
  out["in_use"] = report.in_use;
  out["end"] = {{"address", report.first_bad.value},
                {"file", report.first_bad_file},
                {"reason", report.first_bad_reason}};
  print_out("{}\n", json_text(out, 2));
}

void print_text(const fasterlog::InspectReport& report) {
  const bool known = !report.metadata_error;
  const char* unknown = "(lost with META)";
  const auto& metadata = report.metadata;
  print_out("owner      {}\n", known ? metadata.owner.c_str() : unknown);
  print_out("pages      {} bytes, segments {} bytes\n", metadata.page_bytes,
            metadata.segment_bytes);
  print_out("begin      {}\n", metadata.begin.value);
  print_out("proven     {}\n", known ? std::to_string(metadata.proven.value) : unknown);
  print_out("durable    {}\n", report.durable.value);
  print_out("closed     {}\n", !known ? unknown : metadata.clean ? "in order" : "no");
  print_out("records    {} in {} batches\n", report.records, report.batches);
  for (const auto& [kind, totals] : report.kinds)
    print_out("kind       {}: {} records, {} bytes of payload\n", name_of(kind), totals.records,
              totals.payload_bytes);
  for (const auto& segment : report.segments) {
    print_out("segment    {} from {}, {} bytes\n", segment.name, segment.first.value,
              segment.file_bytes);
  }
  for (const auto& spare : report.spares)
    print_out("spare      {}, {} bytes\n", spare.name, spare.file_bytes);
  for (const auto& epoch : report.epochs) {
    print_out("epoch      {} from {}\n", epoch.epoch.value, epoch.start.value);
  }
  for (const auto& consumer : report.consumers)
    print_out("consumer   {} at {}{}\n", one_line(consumer.name), consumer.position.value,
              consumer.pins ? "" : ", holds nothing");
  print_out("scan ended at {} in {}: {}\n", report.first_bad.value, report.first_bad_file,
            report.first_bad_reason);
  if (report.in_use) print_out("note       the log is in use: it changed meanwhile\n");
}

int inspect(const InspectOptions& options) {
  const auto report =
      fasterlog::inspect(storage::posix_file_system(), options.log.directory, options.log.sizes());
  if (!report) return report_unreadable(report.error(), options.log.directory);
  if (options.json) {
    print_json(*report);
  } else {
    print_text(*report);
  }
  if (auto flushed = flush_output(); !flushed) return app::report(flushed.error());
  if (report->metadata_error) {
    print_error(
        "tailrace: damaged: {}. This is what the segments alone say; `tailrace log repair "
        "--rebuild-meta --owner CLUSTER/NODE` says how META would be made anew\n",
        report->metadata_error->message);
    return kNegative;
  }
  if (report->damaged) {
    print_error(
        "tailrace: damaged: the log was proven durable up to {} but reads only up to {}; "
        "see {} at address {}. Where other nodes have the data, move the data directory away and "
        "start "
        "the node; else `tailrace log check` lists all that is bad, `tailrace log repair` says "
        "what "
        "it would keep\n",
        report->metadata.proven.value, report->durable.value, report->first_bad_file,
        report->first_bad.value);
    return kNegative;
  }
  if (!report->consumers_error) return kDone;
  if (report->consumers_error->code == ErrorCode::kUnsupported)
    return app::report(*report->consumers_error);
  print_error("tailrace: damaged: {}\n", report->consumers_error->message);
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
