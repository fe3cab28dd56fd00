// `tailrace log check`: every bad byte of a log's files, without a server.

#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/cli/client_options.h"
#include "app/cli/json_text.h"
#include "app/cli/log_flags.h"
#include "app/cli/log_report.h"
#include "app/cli/output.h"
#include "app/cli/verbs.h"
#include "fasterlog/offline/check_log.h"

namespace tailrace::app {

namespace {

struct CheckVerbOptions {
  LogFlags log;
  bool json = false;
};

void print_text(const fasterlog::CheckReport& report) {
  print_out("checked    {} to {}, {} segments\n", report.checked_from.value,
            report.checked_to.value, report.segments);
  if (!report.metadata_error) print_out("proven     {}\n", report.metadata.proven.value);
  print_out("durable    {}\n", report.durable.value);
  print_out("records    {} in {} whole batches, {} bytes\n", report.records, report.batches,
            report.sound_bytes);
  for (const auto& epoch : report.epochs)
    print_out("epoch      {} from {}\n", epoch.epoch.value, epoch.start.value);
  if (report.records_outside > 0)
    print_out("outside    {} sound records in batches that are not whole\n",
              report.records_outside);
  for (const fasterlog::Finding& finding : report.findings)
    print_out("{}    {}\n", finding.place == fasterlog::Place::kBeyond ? "beyond " : "damage ",
              to_text(finding));
  if (report.batches_behind_damage > 0)
    print_out("behind     {} whole batches stand behind the first damage, up to {}\n",
              report.batches_behind_damage, report.last_batch_end.value);
  for (const std::string& note : report.notes)
    print_out("note       {}\n", note);
  if (report.in_use) print_out("note       the log is in use: it changed meanwhile\n");
}

int check(const CheckVerbOptions& options) {
  auto report = fasterlog::check_log(storage::posix_file_system(), options.log.directory,
                                     {options.log.sizes(), terminal_progress("checked")});
  if (!report) return report_unreadable(report.error(), options.log.directory);
  if (options.json) {
    print_out("{}\n", json_text(to_json(*report), 2));
  } else {
    print_text(*report);
  }
  if (auto flushed = flush_output(); !flushed) return app::report(flushed.error());
  if (!report->damaged()) return kDone;
  std::string what = report->bad_bytes > 0 ? fmt::format("{} bytes", report->bad_bytes) : "";
  for (const fasterlog::Finding& finding : report->findings) {
    if (finding.place != fasterlog::Place::kFile) continue;
    if (!what.empty()) what += " and ";
    what += storage::Path(finding.file).filename().string();
  }
  print_error(
      "tailrace: {} is damaged ({}); where other nodes have the data, move the data directory away "
      "and "
      "start the node, else see what `tailrace log repair{}` would do\n",
      options.log.directory, what,
      report->metadata_error ? " --rebuild-meta --owner CLUSTER/NODE" : "");
  return kNegative;
}

}  // namespace

void add_log_check_verb(CLI::App& log, int& exit_code) {
  CLI::App* verb = log.add_subcommand(
      "check", "Finds every bad byte; reads only, also on a log in use. Exits with 1 on damage");
  const auto options = std::make_shared<CheckVerbOptions>();
  options->log.add_to(*verb);
  verb->add_flag("--json", options->json, "One JSON object");
  verb->callback([options, &exit_code] { exit_code = check(*options); });
}

}  // namespace tailrace::app
