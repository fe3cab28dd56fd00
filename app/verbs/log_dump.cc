// `tailrace log dump`: a log's records from its files, without a server.

#include <memory>
#include <utility>

#include <CLI/CLI.hpp>

#include "app/cli/client_options.h"
#include "app/cli/log_flags.h"
#include "app/cli/log_report.h"
#include "app/cli/option_values.h"
#include "app/cli/output.h"
#include "app/cli/record_json.h"
#include "app/cli/verbs.h"
#include "fasterlog/offline/dump_log.h"

namespace tailrace::app {

namespace {

struct DumpVerbOptions {
  LogFlags log;
  std::string from = "begin", to = "end";
  bool skip_damage = false, json = false;
};

ShownRecord shown(const fasterlog::DumpedRecord& record) {
  return {record.address, record.end, record.epoch, record.kind, record.payload};
}

void print_json(const fasterlog::DumpedRecord& record, bool behind_damage, JsonLine& line) {
  write_record(shown(record), line);
  line.number("batch", record.batch.value);
  if (record.batch_time_ns != 0) line.number("log_time_ns", record.batch_time_ns);
  if (!record.whole_batch) line.flag("whole_batch", false);
  if (behind_damage) line.flag("behind_damage", true);
  write_out(line.end());
}

int dump(const DumpVerbOptions& options) {
  Result<Address> from = Address{}, to = Address::max();
  if (options.from != "begin") from = parse_address(options.from, "--from", "'begin'");
  if (options.to != "end") to = parse_address(options.to, "--to", "'end'");
  if (!from || !to) return report((from ? to : from).error());
  if (const auto order = check_order(*from, *to); !order) return report(order.error());
  uint64_t torn = 0;
  bool behind_damage = false;  // and no record since
  gather_output();
  JsonLine line;
  fasterlog::DumpVisitor visitor;
  visitor.record = [&](const fasterlog::DumpedRecord& record) {
    const bool first_behind = std::exchange(behind_damage, false);
    if (options.json)
      print_json(record, first_behind, line);
    else
      print_out("{}\n", record_line(shown(record)));
    torn += record.whole_batch ? 0 : 1;
    return !output_fails();
  };
  visitor.skipped = [&](AddressRange range, const std::string& file, const std::string& reason) {
    behind_damage = true;
    print_error("tailrace: skipped addresses {} to {} in {}: {}\n", range.first.value,
                range.end.value, file, reason);
  };
  const auto done =
      fasterlog::dump_log(storage::posix_file_system(), options.log.directory,
                          {*from, *to, options.skip_damage, options.log.sizes()}, visitor);
  if (torn > 0)
    print_error("tailrace: {} of these records are of batches that are not whole\n", torn);
  const auto flushed = flush_output();
  if (!done) {
    const int code = report_unreadable(done.error(), options.log.directory);
    return done.error().code == ErrorCode::kCorruption ? kNegative : code;
  }
  return flushed ? kDone : report(flushed.error());
}

}  // namespace

void add_log_dump_verb(CLI::App& log, int& exit_code) {
  CLI::App* verb = log.add_subcommand("dump",
                                      "Prints the records of a log's files, one a line: addresses "
                                      "of its begin and end, epoch, kind, "
                                      "and what it holds. Reads only, also on a log in use");
  const auto options = std::make_shared<DumpVerbOptions>();
  options->log.add_to(*verb);
  verb->add_option("--from", options->from, "An address, or begin")->capture_default_str();
  verb->add_option("--to", options->to, "An address, or end")->capture_default_str();
  verb->add_flag("--skip-damage", options->skip_damage,
                 "Goes on behind damage, and says on standard error what it skipped");
  verb->add_flag(
      "--json", options->json,
      "One JSON object a line, as of `tail --json`, which `tailrace load` puts back; batch "
      "is the same for records that became durable together, and log_time_ns is when");
  verb->callback([options, &exit_code] { exit_code = dump(*options); });
}

}  // namespace tailrace::app
