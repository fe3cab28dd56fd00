// `tailrace append`: one event a line. Lines are sent in atomic batches, each answered (so: durable
// on a majority and applied) before the next one is sent; whatever goes wrong, the number of lines
// that are in the log is known.

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "app/cli/client_options.h"
#include "app/cli/line_reader.h"
#include "app/cli/output.h"
#include "app/cli/verbs.h"
#include "core/clock.h"

namespace tailrace::app {

namespace {

// A batch of lines fits into one page of any log that the service makes.
constexpr size_t kMostBatchBytes = 512u << 10;
constexpr size_t kMostBatchLines = 2048;
constexpr std::chrono::milliseconds kShownEvery{500};

struct AppendOptions {
  ClientFlags client;
  std::string stream = "default";
  std::string file = "-";
};

class Appender {
 public:
  Appender(rpc::Client& client, const std::string& stream, const std::string& name)
      : client_(client), stream_(stream), name_(name) {}

  Result<> take(LineReader& lines) {
    for (;;) {
      // Before the reader waits for more: what it gave is valid until then, and should show up.
      if (!lines.ready()) TAILRACE_RETURN_IF_ERROR(send());
      const auto line = lines.next();
      if (!line) {
        TAILRACE_RETURN_IF_ERROR(send());
        return tl::unexpected(
            Error{line.error().code, fmt::format("{}; the {} lines before it are in the log",
                                                 line.error().message, lines_)});
      }
      if (!*line) return send();
      TAILRACE_RETURN_IF_ERROR(add(**line));
    }
  }

  uint64_t lines() const { return lines_; }
  bool any() const { return lines_ > 0; }
  Address first() const { return first_; }
  const rpc::CommandAnswer& newest() const { return newest_; }

 private:
  Result<> add(std::string_view line) {
    if (batch_bytes_ + line.size() > kMostBatchBytes || batch_.size() >= kMostBatchLines) {
      TAILRACE_RETURN_IF_ERROR(send());
    }
    batch_.push_back(as_bytes(line));
    batch_bytes_ += line.size();
    return {};
  }

  Result<> send() {
    if (batch_.empty()) return {};
    auto answer = client_.append(stream_, batch_);
    if (!answer) {
      const std::string known =
          fmt::format("{}: the first {} lines are in the log; {}", name_, lines_,
                      answer.error().code == ErrorCode::kUnknownOutcome
                          ? fmt::format("the {} after it may or may not be", batch_.size())
                          : "none after it") +
          longest_line(answer.error());
      return tl::unexpected(with_context(known, std::move(answer).error()));
    }
    if (lines_ == 0) first_ = answer->range.first;
    newest_ = *answer;
    lines_ += batch_.size();
    batch_.clear();
    batch_bytes_ = 0;
    show_progress();
    return {};
  }

  /// What a refusal of the batch is most likely about.
  std::string longest_line(const Error& error) const {
    if (error.code != ErrorCode::kInvalidArgument) return {};
    const auto longest =
        std::max_element(batch_.begin(), batch_.end(),
                         [](ByteSpan left, ByteSpan right) { return left.size() < right.size(); });
    const auto number = lines_ + static_cast<uint64_t>(longest - batch_.begin()) + 1;
    return fmt::format("; of the lines that were refused line {} is the longest, {} bytes", number,
                       longest->size());
  }

  void show_progress() {
    if (::isatty(STDERR_FILENO) != 1) return;
    const SteadyTime now = system_clock().now();
    if (now - shown_ < kShownEvery) return;
    shown_ = now;
    print_error("\r{} lines appended", lines_);
    line_open_ = true;
  }

 public:
  void end_progress() {
    if (std::exchange(line_open_, false)) print_error("\r\033[K");
  }

 private:
  rpc::Client& client_;
  const std::string& stream_;
  const std::string& name_;
  std::vector<ByteSpan> batch_;
  size_t batch_bytes_ = 0;
  uint64_t lines_ = 0;
  Address first_;
  rpc::CommandAnswer newest_;
  SteadyTime shown_ = system_clock().now();
  bool line_open_ = false;
};

int append(const AppendOptions& options) {
  const bool standard_input = options.file == "-";
  const int input =
      standard_input ? STDIN_FILENO : ::open(options.file.c_str(), O_RDONLY | O_CLOEXEC);
  if (input < 0) return report(io_error("open", options.file, errno));
  auto client = options.client.connect();
  if (!client) return report(client.error());
  const std::string name = standard_input ? "standard input" : options.file;
  Appender appender(**client, options.stream, name);
  LineReader lines(input, name, kMostValueBytes);
  const auto done = appender.take(lines);
  appender.end_progress();
  if (!standard_input) ::close(input);
  if (appender.any()) {
    const rpc::CommandAnswer& newest = appender.newest();
    print_out("first {} last {} records {} end {}:{}\n", appender.first().value, newest.last.value,
              appender.lines(), newest.epoch.value, newest.range.end.value);
  }
  if (!done) return report_answer(done.error());
  // Whoever appends events to keep them is to hear that the log keeps them for a while only.
  if (appender.any()) {
    if (const auto leader = (*client)->leader_status())
      warn_of_truncation(leader->begin, ", and the new ones will be, too");
  }
  if (!appender.any()) print_error("tailrace: {} holds no line\n", name);
  const auto flushed = flush_output();
  return flushed ? kDone : report(flushed.error());
}

}  // namespace

void add_append_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand(
      "append",
      "Appends each line as an event; prints the first and last record's address, how many there "
      "are, and EPOCH:ADDRESS of their end (for get --read at-least=)");
  const auto options = std::make_shared<AppendOptions>();
  verb->add_option("--stream", options->stream,
                   "The stream that the events belong to: a name of at most 1024 bytes")
      ->capture_default_str();
  verb->add_option("FILE", options->file, "A file of lines; - is standard input")
      ->capture_default_str();
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = append(*options); });
}

}  // namespace tailrace::app
