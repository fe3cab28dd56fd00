#include "app/cli/client_options.h"

#include <sstream>

#include <CLI/CLI.hpp>

#include "app/cli/option_values.h"
#include "app/cli/output.h"
#include "app/cli/printable.h"
#include "app/cli/verbs.h"
#include "fasterlog/log.h"

namespace tailrace::app {

namespace {

// Beyond a year no bound on how old an answer may be means anything.
constexpr uint64_t kMostStalenessMs = uint64_t{366} * 86'400'000;

bool parse_number(std::string_view text, uint64_t most, uint64_t& number) {
  const auto parsed = parse_whole_number(text);
  if (!parsed || *parsed > most) return false;
  number = *parsed;
  return true;
}

}  // namespace

int report(const Error& error) {
  print_error("tailrace: {}\n", printable(error.message));  // it may be a server's
  switch (error.code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kNotFound:
      return kUsage;
    case ErrorCode::kTimedOut:
    case ErrorCode::kUnavailable:
    case ErrorCode::kUnknownOutcome:
      return kUnreachable;
    default:
      return kRefused;
  }
}

int report_answer(const Error& error) {
  const int code = report(error);
  return code == kUsage ? kRefused : code;
}

void ClientFlags::add_to(CLI::App& verb) {
  verb.add_option("-s,--server", servers, "The nodes' client addresses, separated by commas")
      ->type_name("HOST:PORT,...")
      ->envname("TAILRACE_SERVER")
      ->capture_default_str();
  seconds_or_time(verb.add_option("--timeout", timeout_s,
                                  "How long to wait for an answer: seconds, or 500ms, 2s, 1m"),
                  0.001, 86400.0)
      ->capture_default_str();
}

Result<rpc::ClientOptions> ClientFlags::client_options() const {
  rpc::ClientOptions options;
  options.servers.clear();
  std::stringstream list(servers);
  for (std::string one; std::getline(list, one, ',');) {
    if (one.empty()) continue;
    if (one.find(':') == std::string::npos || one.back() == ']' || one.back() == ':')
      return make_error(ErrorCode::kInvalidArgument,
                        "--server " + one +
                            ": the port is missing (HOST:PORT, clients' port is "
                            "7100 unless the node's file says another)");
    options.servers.push_back(one);
  }
  if (options.servers.empty())
    return make_error(ErrorCode::kInvalidArgument, "--server names no HOST:PORT");
  options.timeout = std::chrono::milliseconds(static_cast<int64_t>(timeout_s * 1000));
  return options;
}

Result<std::unique_ptr<rpc::Client>> ClientFlags::connect() const {
  TAILRACE_ASSIGN_OR_RETURN(auto options, client_options());
  return rpc::Client::create(std::move(options));
}

Result<rpc::ReadOptions> parse_read_level(const std::string& text) {
  using Level = rpc::ReadOptions::Level;
  rpc::ReadOptions options;
  if (text == "linearizable") return options;
  options.level = Level::kAny;
  if (text == "any") return options;
  options.level = Level::kAtLeast;
  constexpr std::string_view kPrefix = "at-least=";
  if (text.starts_with(kPrefix)) {
    const std::string_view rest = std::string_view(text).substr(kPrefix.size());
    const size_t colon = rest.find(':');
    if (colon != std::string_view::npos &&
        parse_number(rest.substr(0, colon), UINT64_MAX, options.epoch.value) &&
        parse_number(rest.substr(colon + 1), kMostAddress.value, options.address.value)) {
      return options;
    }
  }
  constexpr std::string_view kBounded = "bounded=";
  if (text.starts_with(kBounded)) {
    const auto time = parse_milliseconds(std::string_view(text).substr(kBounded.size()));
    if (time && *time == 0)
      return make_error(ErrorCode::kInvalidArgument,
                        "--read is '" + text +
                            "', which no follower can promise: give a longer time, or use "
                            "linearizable");
    if (time && *time <= kMostStalenessMs) {
      options.level = Level::kBounded;
      options.staleness_ms = *time;
      return options;
    }
  }
  return make_error(ErrorCode::kInvalidArgument,
                    "--read is '" + text +
                        "'; it must be linearizable, any, bounded=TIME (500ms, 2s, 1m, or a number "
                        "of milliseconds; at most 366 days) or at-least=EPOCH:ADDRESS");
}

void warn_of_truncation(Address begin, std::string_view more) {
  if (begin <= fasterlog::kFirstAddress) return;
  print_error(
      "tailrace: the log begins at address {}: events before it were truncated{}. "
      "state_machine.retention_bytes in the nodes' files (serve --retention) keeps more of the "
      "log\n",
      begin.value, more);
}

int report_outcome(const rpc::CommandAnswer& answer, const std::string& key) {
  using statemachine::Outcome;
  const auto say = [&](ExitCode code, const std::string& what) {
    print_error("tailrace: {}\n", what);
    return code;
  };
  switch (answer.answer.outcome) {
    case Outcome::kDone:
      return kDone;
    case Outcome::kAbsent:
      return say(kNegative, "no key '" + key + "'");
    case Outcome::kCasMismatch:
      return say(kNegative, answer.answer.has_value ? "the value of '" + key + "' is another one"
                                                    : "no key '" + key + "'");
    case Outcome::kNotAnInteger:
      return say(kRefused,
                 "the value of '" + key +
                     "' is not an integer, or the sum does not fit in 64 bits; nothing changed");
    case Outcome::kSerialGap:
    case Outcome::kSessionExpired:
      return say(kRefused, "the session had ended; nothing changed");
    case Outcome::kTxnFailed:
      return say(kNegative, "a check of the transaction failed");
    case Outcome::kAnswerForgotten:
      return say(kUnreachable, "the command was applied, but its answer is forgotten");
  }
  return say(kRefused, "the server's answer is of a newer version");
}

}  // namespace tailrace::app
