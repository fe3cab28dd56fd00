// `tailrace bench service`: load on a running service, measured from its clients.

#include <algorithm>
#include <map>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/bench/latency_report.h"
#include "app/bench/service/history_load.h"
#include "app/bench/service/load_progress.h"
#include "app/bench/service/service_load.h"
#include "app/cli/client_options.h"
#include "app/cli/json_text.h"
#include "app/cli/option_values.h"
#include "app/cli/output.h"
#include "app/cli/verbs.h"

namespace tailrace::app {

namespace {

const std::map<std::string, LoadOptions::Operation> kOperations = {
    {"put", LoadOptions::Operation::kPut}, {"append", LoadOptions::Operation::kAppend},
    {"get", LoadOptions::Operation::kGet}, {"mixed", LoadOptions::Operation::kMixed},
    {"own", LoadOptions::Operation::kOwn},
};

struct BenchServiceOptions {
  ClientFlags client;
  LoadOptions load;
  std::string operation = "put";
  std::string read = "linearizable";
  std::string history;  // a file
  bool json = false;
};

bool reads(LoadOptions::Operation operation) {
  return operation == LoadOptions::Operation::kGet || operation == LoadOptions::Operation::kMixed;
}

void print_json(const BenchServiceOptions& options, const LoadResult& result) {
  nlohmann::ordered_json out = {
      {"op", options.operation},
      {"clients", options.load.clients},
      {"in_flight", options.load.in_flight},
  };
  if (options.history.empty()) out["threads"] = options.load.threads;
  if (options.load.share_connections) out["share_connections"] = true;
  if (options.load.rate) out["rate"] = *options.load.rate;
  if (options.history.empty()) out["value_bytes"] = options.load.value_bytes;
  if (options.history.empty() && options.load.operation == LoadOptions::Operation::kAppend)
    out["batch"] = options.load.batch;
  if (options.history.empty() && reads(options.load.operation)) out["read"] = options.read;
  out["seconds"] = result.seconds;
  out["ops"] = result.operations;
  out["ops_per_s"] = static_cast<double>(result.operations) / result.seconds;
  out["records_per_s"] = static_cast<double>(result.records) / result.seconds;
  if (options.history.empty()) out["cpu_us_per_op"] = result.cpu_us_per_operation;
  out["errors"] = result.errors;
  if (options.load.rate) out["not_started"] = result.not_started;
  if (!options.history.empty()) out["unknown"] = result.unknown;
  if (result.errors > 0) out["first_error"] = result.first_error->message;
  add_latency(out, result.latency_ns);
  print_out("{}\n", json_text(out, 2));
}

void print_text(const BenchServiceOptions& options, const LoadResult& result) {
  print_out("{} x {} in flight, ", options.load.clients, options.load.in_flight);
  if (options.load.threads > 1) print_out("{} threads, ", options.load.threads);
  if (options.history.empty()) print_out("{} bytes, ", options.load.value_bytes);
  print_out("{:.1f} s: {:.0f} {} per second", result.seconds,
            static_cast<double>(result.operations) / result.seconds, options.operation);
  if (result.records != result.operations)
    print_out(" ({:.0f} records per second)", static_cast<double>(result.records) / result.seconds);
  if (options.history.empty())
    print_out(", {:.1f} us of this tool's processor time each", result.cpu_us_per_operation);
  print_out("\n{}, {} errors", latency_text(result.latency_ns), result.errors);
  if (result.errors > 0) print_out(" (the first: {})", result.first_error->message);
  if (!options.history.empty()) print_out(", {} of them writes of unknown outcome", result.unknown);
  print_out("\n");
  if (result.not_started > 0)
    print_out(
        "{} more were due before the end and not started: no client was free for them. More "
        "--clients or --in-flight, or a lower --rate\n",
        result.not_started);
}

int bench_service(BenchServiceOptions& options) {
  const bool history = !options.history.empty();
  if (history) {
    options.operation = "operations";
    if (uint64_t{options.load.clients} * options.load.in_flight > kMostHistoryRequests)
      return report(Error{ErrorCode::kInvalidArgument,
                          fmt::format("--clients times --in-flight is more than {}, which is as "
                                      "many as a judge of --history can tell apart",
                                      kMostHistoryRequests)});
  } else {
    options.load.operation = kOperations.at(options.operation);
    const auto level = parse_read_level(options.read);
    if (!level) return report(level.error());
    options.load.read = *level;
    if (const auto checked = check_load(options.load); !checked) return report(checked.error());
    options.load.threads = std::min(options.load.threads, options.load.clients);
  }
  auto flags = options.client.client_options();
  if (!flags) return report(flags.error());
  const auto progress = load_progress();
  std::unique_ptr<HistoryFile> file;
  if (history) {
    auto created = HistoryFile::create(storage::posix_file_system(), options.history);
    if (!created) return report(with_context("--history", std::move(created).error()));
    file = std::move(*created);
  }
  const auto result = history ? run_history_load(*flags, options.load, *file, progress)
                              : run_load(*flags, options.load, progress);
  if (!result) return report_answer(result.error());
  if (options.json)
    print_json(options, *result);
  else
    print_text(options, *result);
  if (const auto flushed = flush_output(); !flushed) return report(flushed.error());
  if (result->operations > 0 || !result->first_error) return kDone;
  return report_answer(with_context("every request failed", *result->first_error));
}

}  // namespace

void add_bench_service_verb(CLI::App& bench, int& exit_code) {
  CLI::App* verb = bench.add_subcommand(
      "service", "Load on a running service; a put or append counts once its answer is there");
  const auto options = std::make_shared<BenchServiceOptions>();
  LoadOptions& load = options->load;
  std::vector<std::string> operations;
  for (const auto& [name, operation] : kOperations)
    operations.push_back(name);
  CLI::Option* op =
      verb->add_option("--op", options->operation,
                       "mixed: half puts, half gets; own: a put and then a get of it, from any "
                       "server that has applied it, of which only the get is timed")
          ->check(CLI::IsMember(operations))
          ->capture_default_str();
  CLI::Option* read =
      verb->add_option("--read", options->read,
                       fmt::format("Of gets: {}. Without the leader each client begins with "
                                   "another one of the servers",
                                   kReadLevelHelp))
          ->capture_default_str();
  whole_number(
      verb->add_option("--clients", load.clients,
                       "Each with a session, and a connection of its own unless they share"),
      1, 65536)
      ->capture_default_str();
  CLI::Option* threads =
      whole_number(verb->add_option("--threads", load.threads, "That the clients run on"), 1,
                   static_cast<int>(rpc::Runtime::kMostThreads))
          ->capture_default_str();
  CLI::Option* share = verb->add_flag("--share-connections", load.share_connections,
                                      "Clients of one thread have one connection for each server");
  CLI::Option* in_flight =
      whole_number(
          verb->add_option("--in-flight", load.in_flight,
                           "Requests in flight of each client; with --history 1 unless given"),
          1, 4096)
          ->capture_default_str();
  CLI::Option* batch =
      whole_number(verb->add_option("--batch", load.batch, "Events in one append"), 1, 10000)
          ->capture_default_str();
  CLI::Option* value_bytes =
      whole_number(verb->add_option("--value-bytes", load.value_bytes, "Of each value or event"), 0,
                   64 << 20)
          ->capture_default_str();
  CLI::Option* keys =
      whole_number(verb->add_option(
                       "--keys", load.keys,
                       fmt::format("Different keys; with --history {} unless given", kHistoryKeys)),
                   uint64_t{1}, uint64_t{1} << 40)
          ->capture_default_str();
  seconds(verb->add_option("--seconds", load.seconds, "How long"), 0.1, 86400.0)
      ->capture_default_str();
  CLI::Option* rate = per_second(
      verb->add_option("--rate", load.rate,
                       "Operations a second of all clients, by a fixed schedule, and not "
                       "one after each answer; a latency counts from the moment of the "
                       "schedule"),
      0.001, 1e9);
  verb->add_option("--history", options->history,
                   "Instead of --op: puts, linearizable gets, compare-and-swaps and deletes of few "
                   "keys, and adds to a counter, each written to this file with its answer, a JSON "
                   "object a line, to be judged; errors of single ones do not end it")
      ->type_name("FILE")
      ->check([](const std::string& file) { return file.empty() ? "it names no file" : ""; })
      ->excludes(op)
      ->excludes(read)
      ->excludes(batch)
      ->excludes(value_bytes)
      ->excludes(threads)
      ->excludes(share)
      ->excludes(rate);
  verb->add_flag("--json", options->json, "One JSON object");
  options->client.add_to(*verb);
  verb->callback([options, in_flight, keys, &exit_code] {
    if (!options->history.empty()) {
      if (in_flight->count() == 0) options->load.in_flight = 1;
      if (keys->count() == 0) options->load.keys = kHistoryKeys;
    }
    exit_code = bench_service(*options);
  });
}

}  // namespace tailrace::app
