// `tailrace txn`: checks, and what is done if they hold, as one.

#include <cerrno>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "app/cli/client_options.h"
#include "app/cli/line_reader.h"
#include "app/cli/output.h"
#include "app/cli/verbs.h"
#include "json/txn_json.h"
#include "json/txn_result_json.h"

namespace tailrace::app {

namespace {

struct TxnVerbOptions {
  ClientFlags client;
  std::string file = "-";
};

// Of a transaction in base64 with its names and spaces.
constexpr size_t kMostTxnTextBytes = statemachine::kMaxTxnBytes * 4;

Result<std::string> read_txn_text(const std::string& file) {
  if (file == "-") return read_whole(STDIN_FILENO, "standard input", kMostTxnTextBytes);
  const int input = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (input < 0) return tl::unexpected(io_error("open", file, errno));
  auto text = read_whole(input, file, kMostTxnTextBytes);
  ::close(input);
  return text;
}

/// What is known of one whose result was too long to be kept for its repeat: the answer's place is
/// the repeat's own.
std::string short_result(const rpc::TxnAnswer& answer) {
  return fmt::format("{{\"succeeded\":{},\"replayed\":true}}", answer.succeeded);
}

int do_txn(const TxnVerbOptions& options) {
  const auto text = read_txn_text(options.file);
  if (!text) return report(text.error());
  const auto owned = parse_txn(*text);
  if (!owned)
    return report(
        with_context(options.file == "-" ? "standard input" : options.file, owned.error()));
  auto client = options.client.connect();
  if (!client) return report(client.error());
  const auto answer = (*client)->txn(owned->txn);
  if (!answer) return report_answer(answer.error());
  std::string line;
  if (answer->result) {
    JsonWriter to(line);
    write_txn_result(*answer->result, to);
  } else {
    line = short_result(*answer);
    print_error(
        "tailrace: the transaction was answered before; its results were too long to be kept for "
        "a repeat; where it stands in the log is not known\n");
  }
  write_out(line + "\n");
  const auto flushed = flush_output();
  if (!flushed) return report(flushed.error());
  return answer->succeeded ? kDone : kNegative;
}

}  // namespace

void add_txn_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb =
      app.add_subcommand("txn",
                         "Does a transaction: "
                         "{\"once\",\"if\":[checks],\"then\":[effects],\"else\":[effects]}; prints "
                         "what it came to. Exit code 1 when a check failed");
  const auto options = std::make_shared<TxnVerbOptions>();
  verb->add_option("FILE", options->file, "A file with the JSON; - is standard input")
      ->capture_default_str();
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = do_txn(*options); });
}

}  // namespace tailrace::app
