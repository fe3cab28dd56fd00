// `tailrace load`: puts a dump's events and commands back.

#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "app/cli/client_options.h"
#include "app/cli/line_reader.h"
#include "app/cli/option_values.h"
#include "app/cli/output.h"
#include "app/cli/verbs.h"
#include "app/verbs/loader.h"
#include "core/clock.h"
#include "fasterlog/log.h"
#include "statemachine/command/command.h"

namespace tailrace::app {

namespace {

// JSON may spell a byte in six.
constexpr size_t kMostDumpLineBytes = 6 * kMostValueBytes + (size_t{1} << 20);
constexpr std::chrono::milliseconds kLoadShownEvery{500};

struct LoadVerbOptions {
  ClientFlags client;
  std::string file = "-", from;
  bool apply_unknown = false;
};

/// How many records are in, now and then, where standard error is a terminal.
class LoadProgress {
 public:
  void show(const Loader& loader) {
    if (!terminal_ || system_clock().now() - shown_ < kLoadShownEvery) return;
    const Loader::Totals totals = loader.totals();
    shown_ = system_clock().now();
    open_ = true;
    print_error("\r{} events and {} commands loaded", totals.events, totals.commands);
  }
  ~LoadProgress() {
    if (open_) print_error("\r\033[K");
  }

 private:
  const bool terminal_ = ::isatty(STDERR_FILENO) == 1;
  SteadyTime shown_ = system_clock().now();
  bool open_ = false;
};

Result<> load_lines(LineReader& lines, Loader& loader) {
  LoadProgress progress;
  for (;;) {
    const auto text = lines.next();
    if (!text) {
      TAILRACE_RETURN_IF_ERROR(loader.finish());
      return tl::unexpected(text.error());
    }
    if (!*text) return loader.finish();
    auto line = parse_dumped_line(**text);
    if (!line) {
      TAILRACE_RETURN_IF_ERROR(loader.finish());
      return tl::unexpected(with_context(fmt::format("{}: line {}", lines.name(), lines.number()),
                                         std::move(line).error()));
    }
    TAILRACE_RETURN_IF_ERROR(loader.take(std::move(*line)));
    progress.show(loader);
  }
}

/// What of the dump cannot be told; whether something was left out for that.
bool report_unknown(const Loader& loader, bool applied) {
  const Loader::Totals totals = loader.totals();
  if (loader.expiry_unknown())
    print_error(
        "tailrace: this dump does not tell when its commands were applied, or how long a session "
        "lived: a command of a session that had ended then would have been applied twice. `log "
        "dump --json` of a whole log tells it\n");
  if (totals.unknown == 0) return false;
  print_error(
      "tailrace: {}: {} commands of sessions whose beginning the dump does not show (the first at "
      "address {}). Whether they were applied when they were written it does not tell; they may be "
      "repeats\n",
      applied ? "put back" : "LEFT OUT", totals.unknown, totals.first_unknown.value);
  if (!applied)
    print_error(
        "tailrace: to have them, put the log before this dump in front of it and say --from with "
        "the address where this one begins; or --apply-unknown, on your own word\n");
  return !applied;
}

int report_load(const Loader& loader, const LoadVerbOptions& options, const Result<>& done) {
  const Loader::Totals totals = loader.totals();
  print_out("events {} commands {} dump_end {}", totals.events, totals.commands,
            loader.resume().value);
  const auto [epoch, end] = loader.log_end();
  if (epoch != Epoch{}) print_out(" end {}:{}", epoch.value, end.value);
  print_out("\n");
  if (totals.without_effect > 0)
    print_error(
        "tailrace: {} of the commands had no effect, as a command on an absent key or a "
        "lost compare-and-swap\n",
        totals.without_effect);
  if (totals.divided > 0)
    print_error("tailrace: batches too large for this cluster were divided {} times\n",
                totals.divided);
  if (totals.own + totals.repeats + totals.before > 0)
    print_error(
        "tailrace: left out: {} records of the dumped cluster itself, {} commands that did "
        "nothing then, {} before --from\n",
        totals.own, totals.repeats, totals.before);
  const bool lacks = report_unknown(loader, options.apply_unknown);
  if (done) return lacks ? kNegative : kDone;
  const int code = report_answer(done.error());
  if (loader.resume() == Address{}) return code;
  const bool unknown = done.error().code == ErrorCode::kUnknownOutcome;
  print_error(
      "tailrace: all records before address {} of the dump are in. {}Go on with --from {}\n",
      loader.resume().value,
      unknown ? "It is not known whether the next one is: see `tailrace tail --json`. " : "",
      loader.resume().value);
  return code;
}

/// What a cluster writes for itself.
bool is_own(statemachine::Operation operation) {
  using enum statemachine::Operation;
  return operation == kDigest || operation == kTime || operation == kCompare ||
         operation == kRules || operation == kScavenge;
}

/// Whoever loads a dump twice has it twice. A repair's rest is loaded into what is there, too.
void warn_of_content(rpc::Client& client) {
  std::optional<Address> found;
  const auto visit = [&](const rpc::TailRecord& record) {
    if (record.kind != statemachine::kCommandRecord) return true;
    const auto command = statemachine::decode(as_bytes(record.payload));
    if (!command || is_own(command->operation)) return true;
    found = record.address;
    return false;
  };
  rpc::Client::TailOptions whole;
  whole.started = [&](Address begin) {
    if (begin != fasterlog::kFirstAddress) found = begin;
  };
  // What is wrong with the cluster the load itself finds out.
  if (client.tail(whole, visit) && found)
    print_error(
        "tailrace: the cluster's log already holds events or commands (from address {} on): what "
        "of this dump is among them is now put in once more\n",
        found->value);
}

int load(const LoadVerbOptions& options) {
  Result<Address> from = Address{};
  if (!options.from.empty()) from = parse_address(options.from, "--from", "");
  if (!from) return report(from.error());
  const bool standard_input = options.file == "-";
  const int input =
      standard_input ? STDIN_FILENO : ::open(options.file.c_str(), O_RDONLY | O_CLOEXEC);
  if (input < 0) return report(io_error("open", options.file, errno));
  auto client = options.client.connect();
  if (!client) return report(client.error());
  LineReader lines(input, standard_input ? "standard input" : options.file, kMostDumpLineBytes);
  if (*from == Address{}) warn_of_content(**client);
  Loader loader(**client, *from, options.apply_unknown);
  const auto done = load_lines(lines, loader);
  if (!standard_input) ::close(input);
  return report_load(loader, options, done);
}

}  // namespace

void add_load_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand(
      "load",
      "Puts the events and commands of a dump (`log dump --json`, `tail --json`) back, in their "
      "order; prints how many there were, dump_end (where the last of them ends in the dump) and "
      "end "
      "EPOCH:ADDRESS (where it ends in the cluster's log)");
  verb->footer(
      "Nobody else should write meanwhile. The records of the dumped cluster itself (epochs, "
      "members,\n"
      "digests, rules) and repeats of commands that did nothing are left out. Commands are applied "
      "to\n"
      "the state as it is: load a whole log into an empty cluster, or the end of a log into the\n"
      "state that was there where it begins. Within one load a command counts once; loading the "
      "same\n"
      "dump again applies it again. Times to live go on by this machine's clock.");
  const auto options = std::make_shared<LoadVerbOptions>();
  verb->add_option("FILE", options->file, "The dump; - is standard input")->capture_default_str();
  verb->add_option(
          "--from", options->from,
          "Leaves out the records before this address of the dump: goes on where an earlier "
          "load has stopped, or behind what a repair has kept")
      ->type_name("ADDRESS");
  verb->add_flag("--apply-unknown", options->apply_unknown,
                 "Also puts back commands of which the dump does not tell whether they were "
                 "applied; without it they are left out, and the exit code is 1");
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = load(*options); });
}

}  // namespace tailrace::app
