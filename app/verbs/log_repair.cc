// `tailrace log repair`: says how a damaged log would be made one that opens; with --yes does it.

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/cli/client_options.h"
#include "app/cli/json_text.h"
#include "app/cli/log_flags.h"
#include "app/cli/log_report.h"
#include "app/cli/option_values.h"
#include "app/cli/output.h"
#include "app/cli/verbs.h"
#include "fasterlog/offline/repair.h"

namespace tailrace::app {

namespace {

struct RepairVerbOptions {
  LogFlags log;
  std::string owner;
  bool rebuild_metadata = false, yes = false, json = false;
};

/// How the sound records behind the cut are put back; nothing when there are none.
std::vector<std::string> recovery(const fasterlog::RepairPlan& plan, const std::string& log,
                                  const std::string& from) {
  if (plan.lost_records == 0 || !plan.cut) return {};
  return {fmt::format("tailrace log dump --json --skip-damage --from {} {} > rest.jsonl",
                      plan.cut->value, from),
          // The log before it tells load() which sessions there were.
          fmt::format("once the node serves: tailrace log dump --json --to {0} {1} | cat - "
                      "rest.jsonl | tailrace load --from {0}",
                      plan.cut->value, log)};
}

void print_plan(const RepairVerbOptions& options, const fasterlog::RepairPlan& plan,
                const storage::Path& copies) {
  if (options.json) {
    nlohmann::ordered_json out = to_json(plan);
    out["recover"] = recovery(plan, options.log.directory,
                              copies.empty() ? options.log.directory : copies.string());
    out["done"] = options.yes && !plan.nothing_to_do();
    if (!copies.empty()) out["copies"] = copies.string();
    print_out("{}\n", json_text(out, 2));
    return;
  }
  for (const fasterlog::Finding& finding : plan.report.findings) {
    if (finding.place != fasterlog::Place::kBeyond) print_out("damage     {}\n", to_text(finding));
  }
  if (plan.nothing_to_do()) {
    print_out("nothing to repair\n");
    return;
  }
  if (copies.empty()) {
    std::string names;
    for (const auto* list : {&plan.changed, &plan.removed}) {
      for (const std::string& name : *list)
        names += " " + name;
    }
    print_out("would      copy to {}.repair-N:{}\n", options.log.directory, names);
  } else {
    print_out("copied to  {}\n", copies.string());
  }
  for (const std::string& step : plan.steps)
    print_out("{}  {}\n", copies.empty() ? "would    " : "done     ", step);
  print_out("records    {} stay, {} sound ones are cut off\n", plan.kept_records,
            plan.lost_records);
  for (const std::string& step : recovery(plan, options.log.directory,
                                          copies.empty() ? options.log.directory : copies.string()))
    print_out("recover    {}\n", step);
}

/// A node's log stands beside its promises and its store, and the node opens only its own.
Result<> check_owner(const RepairVerbOptions& options, const storage::Path& directory) {
  if (!options.rebuild_metadata || options.owner.empty()) return {};
  const storage::Path log = directory.has_filename() ? directory : directory.parent_path();
  const storage::Path beside = log.parent_path();
  std::error_code ignored;
  const bool is_node = std::filesystem::exists(beside / "PROMISE", ignored) ||
                       std::filesystem::exists(beside / "store", ignored);
  const size_t slash = options.owner.rfind('/');
  const bool named = slash != std::string::npos && slash > 0 &&
                     parse_whole_number(options.owner.substr(slash + 1)).value_or(0) > 0;
  if (!is_node || named) return {};
  return make_error(ErrorCode::kInvalidArgument,
                    "--owner is '" + options.owner +
                        "', and this is a node's log: its owner is CLUSTER/NODE, as single/1");
}

int repair(const RepairVerbOptions& options) {
  fasterlog::RepairOptions how;
  how.rebuild_metadata = options.rebuild_metadata;
  how.owner = options.owner;
  how.check = {options.log.sizes(), terminal_progress("checked")};
  storage::Path directory = storage::Path(options.log.directory).lexically_normal();
  // The copies stand beside the directory: its name must be known.
  if (directory == "." || directory.filename() == "..")
    directory = std::filesystem::absolute(directory).lexically_normal();
  if (const auto owner = check_owner(options, directory); !owner) return report(owner.error());
  if (!options.yes) {
    const auto plan = fasterlog::plan_repair(storage::posix_file_system(), directory, how);
    if (!plan) return report_unreadable(plan.error(), options.log.directory);
    print_plan(options, *plan, {});
    if (auto flushed = flush_output(); !flushed) return report(flushed.error());
    if (plan->nothing_to_do()) return kDone;
    print_error("tailrace: nothing was changed; --yes does it\n");
    return kNegative;
  }
  const auto done = fasterlog::repair_log(
      storage::posix_file_system(), directory, how,
      [](const fasterlog::RepairPlan& plan) { return json_text(to_json(plan), 2) + "\n"; });
  if (!done) return report_unreadable(done.error(), options.log.directory);
  print_plan(options, done->plan, done->copies);
  const auto flushed = flush_output();
  return flushed ? kDone : report(flushed.error());
}

}  // namespace

void add_log_repair_verb(CLI::App& log, int& exit_code) {
  CLI::App* verb = log.add_subcommand(
      "repair", "Says how it would cut a damaged log where it is sound; with --yes does it");
  const auto options = std::make_shared<RepairVerbOptions>();
  options->log.add_to(*verb);
  verb->add_flag("--yes", options->yes, "Copies every file that it touches, then repairs");
  verb->add_flag("--rebuild-meta", options->rebuild_metadata,
                 "Makes a lost or damaged META anew from the segments");
  verb->add_option("--owner", options->owner,
                   "With --rebuild-meta: whose log it is. A node's log belongs to CLUSTER/NODE, "
                   "the names in its "
                   "file: single/1 for a node without a file");
  verb->add_flag("--json", options->json, "One JSON object");
  verb->callback([options, &exit_code] { exit_code = repair(*options); });
}

}  // namespace tailrace::app
