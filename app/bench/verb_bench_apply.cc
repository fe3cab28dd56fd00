// `tailrace bench apply`: how fast one applier takes committed commands from the log to the store.

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "app/bench/apply_load.h"
#include "app/cli/client_options.h"
#include "app/cli/json_text.h"
#include "app/cli/option_values.h"
#include "app/cli/output.h"
#include "app/cli/verbs.h"

namespace tailrace::app {

namespace {

struct BenchApplyOptions {
  ApplyLoadOptions load;
  std::string operation = "put";
  std::string directory = ".";
  bool json = false;
};

void print(const BenchApplyOptions& options, const ApplyLoadResult& result) {
  const ApplyLoadOptions& load = options.load;
  const double bytes_per_s = static_cast<double>(result.log_bytes) / result.seconds;
  if (options.json) {
    const nlohmann::ordered_json out = {
        {"operation", options.operation},
        {"commands", load.commands},
        {"keys", load.keys},
        {"sessions", load.sessions},
        {"store_bytes", result.store_bytes},
        {"store_memory_bytes", result.memory_bytes},
        {"commands_per_s", result.commands_per_s},
        {"log_bytes_per_s", bytes_per_s},
        {"scan_records_per_s", result.scan_records_per_s},
    };
    print_out("{}\n", json_text(out, 2));
    return;
  }
  print_out("{} commands ({}), {} keys, {} sessions\n", load.commands, options.operation, load.keys,
            load.sessions);
  if (load.memory_bytes != 0)
    print_out("store    {:8.1f} MiB of log, of which {:.1f} MiB in memory\n",
              static_cast<double>(result.store_bytes) / (1 << 20),
              static_cast<double>(result.memory_bytes) / (1 << 20));
  print_out("applied  {:8.3f} M commands/s   {:.3f} GB/s of log\n", result.commands_per_s / 1e6,
            bytes_per_s / 1e9);
  print_out("read     {:8.3f} M records/s, decoded and not applied\n",
            result.scan_records_per_s / 1e6);
}

int bench_apply(BenchApplyOptions& options) {
  storage::FileSystem& files = storage::posix_file_system();
  options.load.kind = options.operation == "add"   ? ApplyLoadKind::kAdd
                      : options.operation == "txn" ? ApplyLoadKind::kTxn
                                                   : ApplyLoadKind::kPut;
  options.load.directory =
      storage::Path(options.directory) / ("tailrace-bench-" + std::to_string(::getpid()));
  if (auto made = files.make_directory(options.load.directory); !made) return report(made.error());
  const bool terminal = ::isatty(STDERR_FILENO) == 1;
  auto result = run_apply_load(files, options.load, [&](const std::string& what) {
    if (terminal) print_error("\r\033[K{} ...", what);
  });
  if (terminal) print_error("\r\033[K");
  const auto removed = files.remove_directory(options.load.directory);
  if (!result) return report(result.error());
  if (!removed) return report(removed.error());
  print(options, *result);
  const auto flushed = flush_output();
  return flushed ? kDone : report(flushed.error());
}

}  // namespace

void add_bench_apply_verb(CLI::App& bench, int& exit_code) {
  CLI::App* verb = bench.add_subcommand(
      "apply", "One applier alone: committed commands from the log into the store");
  const auto options = std::make_shared<BenchApplyOptions>();
  verb->add_option("--op", options->operation,
                   "put, add, or txn: an append of one event to a stream")
      ->check(CLI::IsMember({"put", "add", "txn"}))
      ->capture_default_str();
  whole_number(verb->add_option("--commands", options->load.commands, "Applied"), uint64_t{1},
               uint64_t{1} << 36)
      ->capture_default_str();
  whole_number(
      verb->add_option("--keys", options->load.keys, "Or streams, of 8 bytes, drawn evenly"),
      uint64_t{1}, uint64_t{1} << 32)
      ->capture_default_str();
  whole_number(verb->add_option("--sessions", options->load.sessions,
                                "Exactly-once clients that the commands are of; 0: none"),
               0, 1 << 20)
      ->capture_default_str();
  byte_size(verb->add_option("--memory-bytes", options->load.memory_bytes,
                             "Of the store's log, as 256MiB: what does not fit is read from the "
                             "disk; 0: room for all keys"),
            uint64_t{16} << 40)
      ->capture_default_str();
  verb->add_option("--dir", options->directory, "Where log and store go while it runs")
      ->capture_default_str();
  verb->add_flag("--json", options->json, "One JSON object");
  verb->callback([options, &exit_code] { exit_code = bench_apply(*options); });
}

}  // namespace tailrace::app
