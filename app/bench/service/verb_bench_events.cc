// `tailrace bench events`: load on the streams of a running service, measured from its clients, and
// plain puts in turns with it.

#include <algorithm>
#include <array>
#include <chrono>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/bench/latency_report.h"
#include "app/bench/measuring.h"
#include "app/bench/service/event_load.h"
#include "app/bench/service/load_progress.h"
#include "app/bench/service/service_load.h"
#include "app/cli/client_options.h"
#include "app/cli/json_text.h"
#include "app/cli/option_values.h"
#include "app/cli/output.h"
#include "app/cli/verbs.h"
#include "core/random.h"

namespace tailrace::app {

namespace {

/// Of the two loads with --compare.
constexpr int kTurnsOfEach = 3;
constexpr uint32_t kPutsInFlight = 256;

/// What --op chooses, with what the other options are unless they are given.
struct EventMode {
  std::string_view name;
  EventLoad::Operation operation;
  std::string_view unit;  // of the records
  uint32_t batch;
  uint32_t in_flight;
  uint64_t streams;
  uint64_t length;
};
constexpr std::array kEventModes{
    EventMode{"append", EventLoad::Operation::kAppend, "events", 1, 256, 100'000, 0},
    EventMode{"batch", EventLoad::Operation::kAppend, "events", 100, 64, 100'000, 0},
    EventMode{"txn", EventLoad::Operation::kTxn, "transactions", 1, 256, 100'000, 0},
    EventMode{"read", EventLoad::Operation::kRead, "events", 1, 4, 1, 100'000},
    EventMode{"read-many", EventLoad::Operation::kRead, "events", 1, 256, 100'000, 10},
};

struct BenchEventsOptions {
  ClientFlags client;
  LoadOptions load;
  std::string operation = "append";
  std::string read = "linearizable";
  std::optional<uint64_t> batch, in_flight, streams, length;
  bool compare = false, json = false;

  const EventMode& mode() const {
    return *std::ranges::find(kEventModes, operation, &EventMode::name);
  }
  bool reads() const { return load.events.operation == EventLoad::Operation::kRead; }
};

struct EventsResult {
  double fill_seconds = 0;  // how long it took to append what is read
  LoadResult events;
  std::optional<LoadResult> puts;
};

/// The figures of one turn more.
void add_turn(LoadResult& sum, const LoadResult& turn) {
  const auto before = static_cast<double>(sum.operations);
  const auto more = static_cast<double>(turn.operations);
  if (before + more > 0)
    sum.cpu_us_per_operation =
        (sum.cpu_us_per_operation * before + turn.cpu_us_per_operation * more) / (before + more);
  sum.seconds += turn.seconds;
  sum.operations += turn.operations;
  sum.records += turn.records;
  if (sum.errors == 0) sum.first_error = turn.first_error;
  sum.errors += turn.errors;
  sum.latency_ns.add(turn.latency_ns);
}

double per_second_of(uint64_t count, const LoadResult& result) {
  return static_cast<double>(count) / result.seconds;
}

/// Of the operations with the puts' rate as 1.
double ratio_of(const EventsResult& result) {
  const double puts = per_second_of(result.puts->operations, *result.puts);
  return puts == 0 ? 0 : per_second_of(result.events.operations, result.events) / puts;
}

std::string new_prefix() {
  return fmt::format("bench/{:016x}", random_seed());
}

LoadOptions puts_beside(const LoadOptions& events) {
  LoadOptions puts = events;
  puts.operation = LoadOptions::Operation::kPut;
  puts.in_flight = std::max(1u, kPutsInFlight / events.clients);
  return puts;
}

Result<EventsResult> measure_events(const rpc::ClientOptions& client, BenchEventsOptions& options) {
  LoadOptions& load = options.load;
  const auto progress = load_progress();
  EventsResult result;
  load.events.prefix = new_prefix();
  if (options.reads()) {
    const auto began = std::chrono::steady_clock::now();
    TAILRACE_ASSIGN_OR_RETURN(const auto filling, rpc::Client::create(client));
    TAILRACE_RETURN_IF_ERROR(fill_streams(*filling, load));
    result.fill_seconds = seconds_since(began);
  }
  const int turns = options.compare ? kTurnsOfEach : 1;
  load.seconds /= turns;
  const LoadOptions puts = puts_beside(load);
  if (options.compare) result.puts.emplace();
  for (int turn = 0; turn < turns; ++turn) {
    if (!options.reads()) load.events.prefix = new_prefix();
    TAILRACE_ASSIGN_OR_RETURN(const auto events, run_load(client, load, progress));
    add_turn(result.events, events);
    if (!options.compare) continue;
    TAILRACE_ASSIGN_OR_RETURN(const auto others, run_load(client, puts, progress));
    add_turn(*result.puts, others);
  }
  return result;
}

void add_load(nlohmann::ordered_json& out, const LoadResult& result) {
  out["seconds"] = result.seconds;
  out["ops"] = result.operations;
  out["ops_per_s"] = per_second_of(result.operations, result);
  out["records_per_s"] = per_second_of(result.records, result);
  out["cpu_us_per_op"] = result.cpu_us_per_operation;
  out["errors"] = result.errors;
  if (result.errors > 0) out["first_error"] = result.first_error->message;
  add_latency(out, result.latency_ns);
}

void print_json(const BenchEventsOptions& options, const EventsResult& result) {
  const LoadOptions& load = options.load;
  nlohmann::ordered_json out = {{"op", options.operation},        {"clients", load.clients},
                                {"in_flight", load.in_flight},    {"threads", load.threads},
                                {"streams", load.events.streams}, {"size", load.value_bytes}};
  if (load.events.operation == EventLoad::Operation::kAppend) out["batch"] = load.batch;
  if (options.reads()) {
    out["length"] = load.events.length;
    out["read"] = options.read;
    out["fill_seconds"] = result.fill_seconds;
  }
  add_load(out, result.events);
  if (result.puts) {
    nlohmann::ordered_json puts;
    add_load(puts, *result.puts);
    out["puts"] = std::move(puts);
    out["ratio"] = ratio_of(result);
  }
  print_out("{}\n", json_text(out, 2));
}

void print_text(const BenchEventsOptions& options, const EventsResult& result) {
  const LoadOptions& load = options.load;
  const LoadResult& events = result.events;
  const EventMode& mode = options.mode();
  print_out("{} x {} in flight, ", load.clients, load.in_flight);
  if (load.threads > 1) print_out("{} threads, ", load.threads);
  print_out("{} streams, {} bytes, {:.1f} s: {:.0f} {} per second", load.events.streams,
            load.value_bytes, events.seconds, per_second_of(events.records, events), mode.unit);
  if (events.records != events.operations)
    print_out(" ({:.1f} requests per second)", per_second_of(events.operations, events));
  print_out(", {:.1f} us of this tool's processor time for each request\n{}, {} errors",
            events.cpu_us_per_operation, latency_text(events.latency_ns), events.errors);
  if (events.errors > 0) print_out(" (the first: {})", events.first_error->message);
  print_out("\n");
  if (options.reads())
    print_out("{} events were appended to each stream before, in {:.1f} s\n", load.events.length,
              result.fill_seconds);
  if (!result.puts) return;
  const LoadResult& puts = *result.puts;
  print_out(
      "plain puts in turns with it: {:.0f} per second; requests are {:.2f} of that\n{}, {} "
      "errors",
      per_second_of(puts.operations, puts), ratio_of(result), latency_text(puts.latency_ns),
      puts.errors);
  if (puts.errors > 0) print_out(" (the first: {})", puts.first_error->message);
  print_out("\n");
}

/// What --op says of the options that were not given.
Result<> settle(BenchEventsOptions& options) {
  LoadOptions& load = options.load;
  const EventMode& mode = options.mode();
  load.operation = LoadOptions::Operation::kEvents;
  load.events.operation = mode.operation;
  load.batch = static_cast<uint32_t>(options.batch.value_or(mode.batch));
  load.in_flight = static_cast<uint32_t>(options.in_flight.value_or(mode.in_flight));
  load.events.streams = options.streams.value_or(mode.streams);
  load.events.length = options.length.value_or(mode.length);
  load.threads = std::min(load.threads, load.clients);
  TAILRACE_ASSIGN_OR_RETURN(load.read, parse_read_level(options.read));
  const uint64_t requests = uint64_t{load.clients} * load.in_flight;
  if (!options.reads() && load.events.streams < requests)
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("--streams is {}, and there are {} requests at once, each with "
                                  "streams of its own; lower --clients or --in-flight",
                                  load.events.streams, requests));
  return check_load(load);
}

int bench_events(BenchEventsOptions& options) {
  if (const auto settled = settle(options); !settled) return report(settled.error());
  const auto flags = options.client.client_options();
  if (!flags) return report(flags.error());
  const auto result = measure_events(*flags, options);
  if (!result) return report_answer(result.error());
  if (options.json)
    print_json(options, *result);
  else
    print_text(options, *result);
  if (const auto flushed = flush_output(); !flushed) return report(flushed.error());
  const LoadResult& events = result->events;
  if (events.operations > 0 || !events.first_error) return kDone;
  return report_answer(with_context("every request failed", *events.first_error));
}

/// "append 256, batch 64, …": of each --op.
template <typename Member>
std::string defaults(Member member) {
  std::string text;
  for (const EventMode& mode : kEventModes)
    if (mode.*member != 0)
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", mode.name, mode.*member);
  return text;
}

void add_mode_options(CLI::App& verb, BenchEventsOptions& options) {
  std::vector<std::string> names;
  for (const EventMode& mode : kEventModes)
    names.emplace_back(mode.name);
  verb.add_option("--op", options.operation,
                  "append: an event that expects its stream's exact version; batch: many of them; "
                  "txn: such an event, a sum, a value and an event of one outbox; read: a long "
                  "stream forwards; read-many: short streams at random")
      ->check(CLI::IsMember(names))
      ->capture_default_str();
  whole_number(verb.add_option("--in-flight", options.in_flight,
                               fmt::format("Requests in flight of each client; unless given: {}",
                                           defaults(&EventMode::in_flight))),
               1, 4096);
  whole_number(verb.add_option("--streams", options.streams,
                               fmt::format("New ones, which stay; unless given: {}",
                                           defaults(&EventMode::streams))),
               1, uint64_t{1} << 32);
  whole_number(
      verb.add_option("--length", options.length,
                      fmt::format("Events of each stream that is read, appended before; unless "
                                  "given: {}",
                                  defaults(&EventMode::length))),
      1, uint64_t{1} << 32);
  whole_number(verb.add_option("--batch", options.batch,
                               "Events in one append; unless given: append 1, batch 100"),
               1, 4095);
}

}  // namespace

void add_bench_events_verb(CLI::App& bench, int& exit_code) {
  CLI::App* verb = bench.add_subcommand(
      "events", "Load on the streams of a running service: appends, transactions and reads");
  const auto options = std::make_shared<BenchEventsOptions>();
  LoadOptions& load = options->load;
  load.clients = 1;
  add_mode_options(*verb, *options);
  whole_number(
      verb->add_option("--size", load.value_bytes, "Bytes of each event, and of the values"), 0,
      64 << 20)
      ->capture_default_str();
  whole_number(verb->add_option("--clients", load.clients, "Each with a session and a connection"),
               1, 65536)
      ->capture_default_str();
  whole_number(verb->add_option("--threads", load.threads, "That the clients run on"), 1,
               static_cast<int>(rpc::Runtime::kMostThreads))
      ->capture_default_str();
  verb->add_option("--read", options->read, fmt::format("Of reads: {}", kReadLevelHelp))
      ->capture_default_str();
  seconds(verb->add_option("--seconds", load.seconds, "How long"), 0.1, 86400.0)
      ->capture_default_str();
  verb->add_flag("--compare", options->compare,
                 fmt::format("In turns with plain puts of that size, {} of each, {} in flight",
                             kTurnsOfEach, kPutsInFlight));
  verb->add_flag("--json", options->json, "One JSON object");
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = bench_events(*options); });
}

}  // namespace tailrace::app
