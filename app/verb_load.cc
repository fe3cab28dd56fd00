// `tailrace load`: puts a dump's events and commands back.

#include <cerrno>
#include <memory>
#include <string>
#include <utility>

#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "app/client_options.h"
#include "app/line_reader.h"
#include "app/loader.h"
#include "app/option_values.h"
#include "app/output.h"
#include "app/verbs.h"
#include "core/clock.h"

namespace tailrace::app {

namespace {

// JSON may spell a byte in six.
constexpr size_t kMostDumpLineBytes = 6 * kMostValueBytes + (size_t{1} << 20);
constexpr std::chrono::milliseconds kLoadShownEvery{500};

struct LoadVerbOptions {
  ClientFlags client;
  std::string file = "-", from;
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

int report_load(const Loader& loader, const Result<>& done) {
  const Loader::Totals totals = loader.totals();
  print_out("events {} commands {} end {}\n", totals.events, totals.commands,
            loader.resume().value);
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
        "tailrace: left out: {} records of the dumped cluster itself, {} repeats that did "
        "nothing, {} before --from\n",
        totals.own, totals.repeats, totals.before);
  if (done) return kDone;
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
  Loader loader(**client, *from);
  const auto done = load_lines(lines, loader);
  if (!standard_input) ::close(input);
  return report_load(loader, done);
}

}  // namespace

void add_load_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand(
      "load",
      "Puts the events and commands of a dump (`log dump --json`, `tail --json`) back, in their "
      "order; prints how many there were and the end of the last record");
  verb->footer(
      "Nobody else should write meanwhile. The records of the dumped cluster itself (epochs, "
      "members,\n"
      "digests, rules) and repeats of commands that did nothing are left out. Commands are applied "
      "to\n"
      "the state as it is: load a whole log into an empty cluster, or the end of a log into the\n"
      "state that was there where it begins. Times to live go on by this machine's clock.");
  const auto options = std::make_shared<LoadVerbOptions>();
  verb->add_option("FILE", options->file, "The dump; - is standard input")->capture_default_str();
  verb->add_option(
          "--from", options->from,
          "Leaves out the records before this address of the dump: goes on where an earlier "
          "load has stopped, or behind what a repair has kept")
      ->type_name("ADDRESS");
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = load(*options); });
}

}  // namespace tailrace::app
