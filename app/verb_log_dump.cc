// `tailrace log dump`: a log's records from its files, without a server.

#include <algorithm>
#include <charconv>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/client_options.h"
#include "app/json_text.h"
#include "app/log_flags.h"
#include "app/log_report.h"
#include "app/output.h"
#include "app/verbs.h"
#include "fasterlog/dump_log.h"

namespace tailrace::app {

namespace {

struct DumpVerbOptions {
  LogFlags log;
  std::string from = "begin", to = "end";
  bool skip_damage = false, json = false;
};

/// An address, or `otherwise` for `word`.
Result<Address> parse_address(const std::string& text, std::string_view option,
                              std::string_view word, Address otherwise) {
  if (text == word) return otherwise;
  Address address;
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, address.value);
  if (error == std::errc{} && stopped == end) return address;
  return make_error(ErrorCode::kInvalidArgument,
                    fmt::format("{} is '{}'; it must be an address or '{}'", option, text, word));
}

void print(const fasterlog::DumpedRecord& record, bool json) {
  const std::string_view payload = as_text(record.payload);
  if (!json) {
    print_out("{}\t{}\t{}\t{}\t{}\n", record.address.value, record.end.value, record.epoch.value,
              name_of(record.kind), one_line(payload));
    return;
  }
  nlohmann::ordered_json out = {{"address", record.address.value},
                                {"end", record.end.value},
                                {"epoch", record.epoch.value},
                                {"kind", name_of(record.kind)}};
  set_text(out, "payload", payload);
  if (!record.whole_batch) out["whole_batch"] = false;
  print_out("{}\n", json_text(out));
}

int dump(const DumpVerbOptions& options) {
  const auto from = parse_address(options.from, "--from", "begin", Address{});
  if (!from) return report(from.error());
  const auto to = parse_address(options.to, "--to", "end", Address::max());
  if (!to) return report(to.error());
  uint64_t torn = 0;
  fasterlog::DumpVisitor visitor;
  visitor.record = [&](const fasterlog::DumpedRecord& record) {
    print(record, options.json);
    torn += record.whole_batch ? 0 : 1;
    return !output_fails();
  };
  visitor.skipped = [](AddressRange range, const std::string& file, const std::string& reason) {
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
  CLI::App* verb = log.add_subcommand(
      "dump", "Prints the records of a log's files, one a line; reads only, also on a log in use");
  const auto options = std::make_shared<DumpVerbOptions>();
  options->log.add_to(*verb);
  verb->add_option("--from", options->from, "An address, or begin")->capture_default_str();
  verb->add_option("--to", options->to, "An address, or end")->capture_default_str();
  verb->add_flag("--skip-damage", options->skip_damage,
                 "Goes on behind damage, and says on standard error what it skipped");
  verb->add_flag("--json", options->json, "One JSON object a line");
  verb->callback([options, &exit_code] { exit_code = dump(*options); });
}

}  // namespace tailrace::app
