// `tailrace bench log`: FasterLog alone, beside what the same disk and memory do without it.

#include <algorithm>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "app/bench/latency_report.h"
#include "app/bench/log_load.h"
#include "app/bench/measuring.h"
#include "app/cli/client_options.h"
#include "app/cli/json_text.h"
#include "app/cli/option_values.h"
#include "app/cli/output.h"
#include "app/cli/verbs.h"

namespace tailrace::app {

namespace {

struct BenchLogOptions {
  LogLoadOptions load;
  std::string directory = ".";
  bool json = false;
};

void print_json(const BenchLogOptions& options, const LogLoadResult& log) {
  nlohmann::ordered_json out = {
      {"record_bytes", options.load.record_bytes},
      {"threads", options.load.threads},
      {"gather_bytes", options.load.gather_bytes},
      {"durable_bytes_per_s", log.durable_bytes_per_s},
      {"durable_records_per_s", log.durable_records_per_s},
      {"raw_bytes_per_s", log.raw_bytes_per_s},
      {"raw_fresh_bytes_per_s", log.raw_fresh_bytes_per_s},
      {"durable_ratio", median(log.durable_ratios)},
      {"durable_ratios", log.durable_ratios},
      {"enqueue_records_per_s", log.enqueue_records_per_s},
      {"enqueue_one_records_per_s", log.enqueue_one_records_per_s},
      {"enqueue_apart_records_per_s", log.enqueue_apart_records_per_s},
      {"enqueue_bytes_per_s", log.enqueue_records_per_s * options.load.record_bytes},
      {"memcpy_bytes_per_s", log.memcpy_bytes_per_s},
      {"fresh_commit_p50_us", log.fresh_commit_p50_us},
      {"raw_commit_p50_us", log.raw_commit_p50_us},
      {"commit_ratio", median(log.commit_ratios)},
      {"commit_ratios", log.commit_ratios},
      {"recovery_bytes_per_s", log.recovery_bytes_per_s},
      {"raw_read_bytes_per_s", log.raw_read_bytes_per_s},
      {"recovery_ratio", log.recovery_bytes_per_s / log.raw_read_bytes_per_s},
      {"scan_records_per_s", log.scan_records_per_s},
      {"scan_disk_bytes_per_s", log.scan_disk_bytes_per_s},
  };
  add_latency(out, log.commit_ns, "commit_");
  print_out("{}\n", json_text(out, 2));
}

void print_text(const BenchLogOptions& options, const LogLoadResult& log) {
  const double giga = 1e9;
  const auto range = [](const std::vector<double>& ratios) {
    const auto [least, most] = std::minmax_element(ratios.begin(), ratios.end());
    return fmt::format("{:.2f}   ({:.2f} to {:.2f} in {} turns)", median(ratios), *least, *most,
                       ratios.size());
  };
  const std::string gathered =
      options.load.gather_bytes == 0
          ? ""
          : fmt::format(", gathered to {} bytes", options.load.gather_bytes);
  print_out("records of {} bytes, {} writing thread{}{}\n", options.load.record_bytes,
            options.load.threads, options.load.threads == 1 ? "" : "s", gathered);
  print_out("durable append  {:8.3f} GB/s   raw {:8.3f} GB/s   ratio {}\n",
            log.durable_bytes_per_s / giga, log.raw_bytes_per_s / giga, range(log.durable_ratios));
  print_out("                {:8.3f} M/s    raw {:8.3f} GB/s on blocks never written before\n",
            log.durable_records_per_s / 1e6, log.raw_fresh_bytes_per_s / giga);
  print_out("enqueue only    {:8.3f} M/s    memcpy {:5.2f} GB/s\n", log.enqueue_records_per_s / 1e6,
            log.memcpy_bytes_per_s / giga);
  if (options.load.threads > 1) {
    print_out("                {:8.3f} M/s    one thread alone, ratio {:.2f}\n",
              log.enqueue_one_records_per_s / 1e6,
              log.enqueue_records_per_s / log.enqueue_one_records_per_s);
    print_out("                {:8.3f} M/s    each thread a log of its own, ratio {:.2f}\n",
              log.enqueue_apart_records_per_s / 1e6,
              log.enqueue_records_per_s / log.enqueue_apart_records_per_s);
  }
  print_out("commit p50      {:8.1f} us     raw {:8.1f} us     ratio {}\n",
            microseconds(log.commit_ns.quantile(0.5)), log.raw_commit_p50_us,
            range(log.commit_ratios));
  print_out("       {}\n", latency_text(log.commit_ns));
  print_out("       p50      {:8.1f} us     into segments never written before\n",
            log.fresh_commit_p50_us);
  print_out("recovery        {:8.3f} GB/s   raw {:8.3f} GB/s   ratio {:.2f}\n",
            log.recovery_bytes_per_s / giga, log.raw_read_bytes_per_s / giga,
            log.recovery_bytes_per_s / log.raw_read_bytes_per_s);
  print_out("scan            {:8.3f} M records/s from memory, {:.3f} GB/s from disk\n",
            log.scan_records_per_s / 1e6, log.scan_disk_bytes_per_s / giga);
}

int bench_log(BenchLogOptions& options) {
  storage::FileSystem& files = storage::posix_file_system();
  options.load.directory =
      storage::Path(options.directory) / ("tailrace-bench-" + std::to_string(::getpid()));
  if (auto made = files.make_directory(options.load.directory); !made) return report(made.error());
  const bool terminal = ::isatty(STDERR_FILENO) == 1;
  const auto stage = [&](const std::string& what) {
    if (terminal) print_error("\r\033[K{} ...", what);
  };
  auto log = run_log_load(files, options.load, stage);
  if (terminal) print_error("\r\033[K");
  const auto removed = files.remove_directory(options.load.directory);
  if (!log) return report(log.error());
  if (!removed) return report(removed.error());
  if (options.json)
    print_json(options, *log);
  else
    print_text(options, *log);
  const auto flushed = flush_output();
  return flushed ? kDone : report(flushed.error());
}

}  // namespace

void add_bench_log_verb(CLI::App& bench, int& exit_code) {
  CLI::App* verb = bench.add_subcommand(
      "log", "FasterLog alone, beside the raw limits of the same disk, in one run");
  const auto options = std::make_shared<BenchLogOptions>();
  whole_number(
      verb->add_option("--record-bytes", options->load.record_bytes, "Of each record's payload"), 0,
      1 << 20)
      ->capture_default_str();
  whole_number(verb->add_option("--threads", options->load.threads, "Writing threads"), 1, 64)
      ->capture_default_str();
  whole_number(
      verb->add_option("--gather-bytes", options->load.gather_bytes,
                       "Each thread gathers so many log bytes and enqueues them together; 0: each "
                       "record by itself"),
      0, 1 << 20)
      ->capture_default_str();
  seconds(verb->add_option("--seconds", options->load.seconds, "Of the durable append"), 0.1,
          3600.0)
      ->capture_default_str();
  verb->add_option("--dir", options->directory, "On the file system to be measured")
      ->capture_default_str();
  verb->add_flag("--json", options->json, "One JSON object");
  verb->callback([options, &exit_code] { exit_code = bench_log(*options); });
}

}  // namespace tailrace::app
