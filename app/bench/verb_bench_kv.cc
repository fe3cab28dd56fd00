// `tailrace bench kv`: FasterKv alone, beside what the same disk does without it.

#include <algorithm>
#include <map>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "app/bench/kv_load.h"
#include "app/bench/latency_report.h"
#include "app/bench/raw_disk.h"
#include "app/cli/client_options.h"
#include "app/cli/json_text.h"
#include "app/cli/option_values.h"
#include "app/cli/output.h"
#include "app/cli/verbs.h"

namespace tailrace::app {

namespace {

const std::map<std::string, KvMix> kMixes = {
    {"a", KvMix::kA}, {"b", KvMix::kB}, {"c", KvMix::kC}, {"rmw", KvMix::kRmw}};
const std::map<std::string, KeyDistribution> kDistributions = {
    {"uniform", KeyDistribution::kUniform}, {"zipf", KeyDistribution::kZipf}};
const std::map<std::string, kv::CheckpointKind> kKinds = {
    {"fold-over", kv::CheckpointKind::kFoldOver},
    {"snapshot", kv::CheckpointKind::kSnapshot},
    {"incremental", kv::CheckpointKind::kIncremental}};

struct BenchKvOptions {
  KvLoadOptions load;
  std::string workload = "a", distribution = "uniform", checkpoint = "none", huge_pages = "on";
  std::string directory = ".";
  bool json = false;
};

/// What the disk can do, as far as the run has something to put beside it.
struct DiskLimits {
  struct Sequential {
    double write_bytes_per_s = 0, fresh_write_bytes_per_s = 0, read_bytes_per_s = 0;
  };
  std::optional<Sequential> sequential;
  double random_reads_per_s = 0;
  uint32_t depth = 0;
};

double p999_us(const KvWindow& window) {
  return microseconds(window.latency_ns.quantile(0.999));
}

/// Medians over the checkpoints that were taken.
struct CheckpointFigures {
  double ops_per_s = 0, p999_us = 0, bytes_per_s = 0;
};

CheckpointFigures medians(const std::vector<KvCheckpoint>& checkpoints) {
  const auto median = [&](auto figure) {
    std::vector<double> values;
    for (const KvCheckpoint& checkpoint : checkpoints)
      values.push_back(figure(checkpoint));
    std::sort(values.begin(), values.end());
    return values.empty() ? 0.0 : values[values.size() / 2];
  };
  CheckpointFigures figures;
  figures.ops_per_s = median([](const KvCheckpoint& one) { return one.during.ops_per_s; });
  figures.p999_us = median([](const KvCheckpoint& one) { return p999_us(one.during); });
  figures.bytes_per_s =
      median([](const KvCheckpoint& one) { return static_cast<double>(one.bytes) / one.seconds; });
  return figures;
}

nlohmann::ordered_json to_json(const BenchKvOptions& options, const DiskLimits& disk,
                               const KvLoadResult& kv) {
  const double keys = static_cast<double>(options.load.keys);
  nlohmann::ordered_json out = {
      {"workload", options.workload},
      {"distribution", options.distribution},
      {"keys", options.load.keys},
      {"threads", options.load.threads},
      {"batch", options.load.batch},
      {"pending", options.load.pending},
      {"huge_pages", options.load.huge_pages},
      {"ops_per_s", kv.steady.ops_per_s},
      {"ops_per_cpu_s", kv.ops_per_cpu_s},
      {"load_ops_per_s", kv.load_ops_per_s},
      {"memory_bytes", kv.memory_bytes},
      {"memory_bytes_per_key", static_cast<double>(kv.memory_bytes) / keys},
      {"index_bytes", kv.index_bytes},
      {"log_bytes", kv.log_bytes},
      {"log_memory_bytes", kv.log_memory_bytes},
  };
  add_latency(out, kv.steady.latency_ns);
  if (disk.random_reads_per_s > 0) {
    out["misses_per_s"] = kv.misses_per_s;
    out["raw_random_reads_per_s"] = disk.random_reads_per_s;
    out["raw_random_read_depth"] = disk.depth;
    out["misses_ratio"] = kv.misses_per_s / disk.random_reads_per_s;
  }
  if (!kv.checkpoints.empty() && disk.sequential) {
    const CheckpointFigures figures = medians(kv.checkpoints);
    out["checkpoint"] = {
        {"kind", options.checkpoint},
        {"ops_per_s_without", kv.steady.ops_per_s},
        {"ops_per_s_while", figures.ops_per_s},
        {"ops_ratio", figures.ops_per_s / kv.steady.ops_per_s},
        {"p999_us_without", p999_us(kv.steady)},
        {"p999_us_while", figures.p999_us},
        {"p999_ratio", figures.p999_us / p999_us(kv.steady)},
        {"bytes_per_s", figures.bytes_per_s},
        {"raw_bytes_per_s", disk.sequential->write_bytes_per_s},
        {"raw_fresh_bytes_per_s", disk.sequential->fresh_write_bytes_per_s},
        {"bytes_ratio", figures.bytes_per_s / disk.sequential->write_bytes_per_s},
    };
    out["checkpoints"] = nlohmann::json::array();
    for (const KvCheckpoint& one : kv.checkpoints) {
      nlohmann::ordered_json figures_of_it = {
          {"bytes", one.bytes}, {"seconds", one.seconds}, {"ops_per_s", one.during.ops_per_s}};
      add_latency(figures_of_it, one.during.latency_ns);
      out["checkpoints"].push_back(std::move(figures_of_it));
    }
  }
  if (options.load.recovery && disk.sequential) {
    const double rate = static_cast<double>(kv.recovery_bytes) / kv.recovery_seconds;
    out["recovery_bytes"] = kv.recovery_bytes;
    out["recovery_seconds"] = kv.recovery_seconds;
    out["recovery_bytes_per_s"] = rate;
    out["raw_read_bytes_per_s"] = disk.sequential->read_bytes_per_s;
    out["recovery_ratio"] = rate / disk.sequential->read_bytes_per_s;
  }
  return out;
}

void print_text(const BenchKvOptions& options, const DiskLimits& disk, const KvLoadResult& kv) {
  const double mega = 1e6, giga = 1e9;
  print_out("workload {}, {}, {} keys, {} thread{}, ", options.workload, options.distribution,
            options.load.keys, options.load.threads, options.load.threads == 1 ? "" : "s");
  if (options.load.batch > 1)
    print_out("batches of {}\n", options.load.batch);
  else if (options.load.pending > 0)
    print_out("{} reads in flight\n", options.load.pending);
  else
    print_out("single calls\n");
  print_out("operations   {:8.3f} M/s   {:.3f} M per CPU second\n", kv.steady.ops_per_s / mega,
            kv.ops_per_cpu_s / mega);
  print_out("             {}\n", latency_text(kv.steady.latency_ns));
  print_out("load         {:8.3f} M/s\n", kv.load_ops_per_s / mega);
  print_out("memory       {:8.1f} bytes a key; index {:.1f} MiB, log {:.1f} of {:.1f} MiB\n",
            static_cast<double>(kv.memory_bytes) / static_cast<double>(options.load.keys),
            static_cast<double>(kv.index_bytes) / (1 << 20),
            static_cast<double>(kv.log_memory_bytes) / (1 << 20),
            static_cast<double>(kv.log_bytes) / (1 << 20));
  if (disk.random_reads_per_s > 0)
    print_out("misses       {:8.0f} /s    raw {:.0f} /s at depth {}   ratio {:.2f}\n",
              kv.misses_per_s, disk.random_reads_per_s, disk.depth,
              kv.misses_per_s / disk.random_reads_per_s);
  if (!kv.checkpoints.empty() && disk.sequential) {
    const CheckpointFigures figures = medians(kv.checkpoints);
    print_out("checkpoint   {:8.3f} M/s while a {} checkpoint runs, ratio {:.2f}\n",
              figures.ops_per_s / mega, options.checkpoint,
              figures.ops_per_s / kv.steady.ops_per_s);
    print_out("             {:8.2f} us p99.9 meanwhile, ratio {:.2f}\n", figures.p999_us,
              figures.p999_us / p999_us(kv.steady));
    print_out("             {:8.3f} GB/s  raw {:.3f} GB/s   ratio {:.2f}\n",
              figures.bytes_per_s / giga, disk.sequential->write_bytes_per_s / giga,
              figures.bytes_per_s / disk.sequential->write_bytes_per_s);
  }
  if (options.load.recovery && disk.sequential) {
    const double rate = static_cast<double>(kv.recovery_bytes) / kv.recovery_seconds;
    print_out("recovery     {:8.3f} GB/s  raw {:.3f} GB/s   ratio {:.2f}   ({:.2f} s)\n",
              rate / giga, disk.sequential->read_bytes_per_s / giga,
              rate / disk.sequential->read_bytes_per_s, kv.recovery_seconds);
  }
}

Result<DiskLimits> measure_disk(storage::FileSystem& files, const BenchKvOptions& options,
                                bool misses) {
  DiskLimits disk;
  const KvLoadOptions& load = options.load;
  const double seconds = std::min(2.0, load.seconds);
  disk.depth = std::min(load.threads * std::max({load.batch, load.pending, 1u}), 1024u);
  const bool sequential = load.checkpoint || load.recovery;
  if (!sequential && !misses) return disk;
  TAILRACE_ASSIGN_OR_RETURN(auto raw, RawDisk::create(files, load.directory, disk.depth));
  if (sequential) {
    TAILRACE_ASSIGN_OR_RETURN(auto written, raw.write_bytes_per_s(seconds));
    TAILRACE_ASSIGN_OR_RETURN(auto read, raw.read_bytes_per_s(seconds));
    disk.sequential = {written, raw.fresh_write_bytes_per_s(), read};
  }
  if (misses) {
    TAILRACE_ASSIGN_OR_RETURN(disk.random_reads_per_s, raw.random_reads_per_s(disk.depth, seconds));
  }
  return disk;
}

int bench_kv(BenchKvOptions& options) {
  KvLoadOptions& load = options.load;
  load.mix = kMixes.at(options.workload);
  load.distribution = kDistributions.at(options.distribution);
  load.huge_pages = options.huge_pages == "on";
  if (options.checkpoint != "none") load.checkpoint = kKinds.at(options.checkpoint);
  storage::FileSystem& files = storage::posix_file_system();
  load.directory =
      storage::Path(options.directory) / ("tailrace-bench-" + std::to_string(::getpid()));
  if (auto made = files.make_directory(load.directory); !made) return report(made.error());
  const bool terminal = ::isatty(STDERR_FILENO) == 1;
  const auto stage = [&](const std::string& what) {
    if (terminal) print_error("\r\033[K{} ...", what);
  };
  stage("raw limits");
  auto disk = measure_disk(files, options, load.memory_bytes != 0);
  Result<KvLoadResult> kv;
  if (disk) kv = run_kv_load(files, load, stage);
  if (terminal) print_error("\r\033[K");
  const auto removed = files.remove_directory(load.directory);
  if (!disk) return report(disk.error());
  if (!kv) return report(kv.error());
  if (!removed) return report(removed.error());
  if (options.json)
    print_out("{}\n", json_text(to_json(options, *disk, *kv), 2));
  else
    print_text(options, *disk, *kv);
  const auto flushed = flush_output();
  return flushed ? kDone : report(flushed.error());
}

}  // namespace

void add_bench_kv_verb(CLI::App& bench, int& exit_code) {
  CLI::App* verb = bench.add_subcommand(
      "kv", "FasterKv alone: keys and values of 8 bytes, in memory or larger than it");
  const auto options = std::make_shared<BenchKvOptions>();
  KvLoadOptions& load = options->load;
  verb->add_option("--workload", options->workload,
                   "a: half reads, half upserts; b: 95 % reads; c: reads; rmw: adds 1")
      ->check(CLI::IsMember(kMixes))
      ->capture_default_str();
  verb->add_option("--distribution", options->distribution, "uniform or zipf (0.99, scattered)")
      ->check(CLI::IsMember(kDistributions))
      ->capture_default_str();
  whole_number(verb->add_option("--keys", load.keys, "Loaded first"), uint64_t{1},
               uint64_t{1} << 36)
      ->capture_default_str();
  whole_number(verb->add_option("--threads", load.threads, "Each with a session"), 1, 256)
      ->capture_default_str();
  seconds(verb->add_option("--seconds", load.seconds, "Timed; a fifth of it before, unseen"), 0.1,
          3600.0)
      ->capture_default_str();
  auto* batch =
      whole_number(verb->add_option("--batch", load.batch, "Operations of one call"), 1, 4096)
          ->capture_default_str();
  whole_number(verb->add_option("--pending", load.pending,
                                "Reads of a session in flight; 0: each read waits"),
               0, 4096)
      ->excludes(batch)
      ->capture_default_str();
  verb->add_option("--huge-pages", options->huge_pages, "on or off")
      ->check(CLI::IsMember({"on", "off"}))
      ->capture_default_str();
  byte_size(verb->add_option("--memory-bytes", load.memory_bytes,
                             "Of the log, as 256MiB; 0: room for all keys. With it the reads from "
                             "disk are counted, and the disk's own are measured"),
            uint64_t{16} << 40)
      ->capture_default_str();
  whole_number(verb->add_option("--index-buckets", load.index_buckets,
                                "A power of two; 0: one for two or three keys"),
               0, uint64_t{1} << 34)
      ->capture_default_str();
  verb->add_option("--checkpoint", options->checkpoint,
                   "Three checkpoints at the end: fold-over, snapshot (after three unseen ones), "
                   "incremental or none")
      ->check(CLI::IsMember({"fold-over", "snapshot", "incremental", "none"}))
      ->capture_default_str();
  verb->add_flag("--recovery", load.recovery, "Closes the store at the end and times its opening");
  verb->add_option("--dir", options->directory, "On the file system to be measured")
      ->capture_default_str();
  verb->add_flag("--json", options->json, "One JSON object");
  verb->callback([options, &exit_code] { exit_code = bench_kv(*options); });
}

}  // namespace tailrace::app
