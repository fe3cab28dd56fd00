// `tailrace verify`: every node computes, for one common address, a digest of its log bytes and one
// of its state; they must be equal.

#include <algorithm>
#include <optional>
#include <thread>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/cli/client_options.h"
#include "app/cli/json_text.h"
#include "app/cli/output.h"
#include "app/cli/printable.h"
#include "app/cli/verbs.h"
#include "app/verbs/history/history_report.h"

namespace tailrace::app {

namespace {

// A node may truncate its log between our asking where it begins and its digest, or have skipped
// the digest for a checkpoint that ran.
constexpr int kMostAttempts = 8;
constexpr std::chrono::milliseconds kPause{250};

struct VerifyOptions {
  ClientFlags client;
  bool json = false, only_named = false, history = false;
};

struct Verification {
  Address address, log_from;
  std::vector<std::pair<std::string, rpc::DigestAnswer>> nodes;

  bool states_agree() const {
    return std::all_of(nodes.begin(), nodes.end(), [&](const auto& node) {
      const rpc::DigestAnswer &one = node.second, &first = nodes.front().second;
      return one.state_high == first.state_high && one.state_low == first.state_low &&
             one.pairs == first.pairs;
    });
  }
  /// Whether any of the log was left to compare: a checkpoint may have let all of it go.
  bool any_log() const {
    return std::any_of(nodes.begin(), nodes.end(), [](const auto& node) {
      return node.second.log_high != 0 || node.second.log_low != 0;
    });
  }
  bool logs_agree() const {
    return std::all_of(nodes.begin(), nodes.end(), [&](const auto& node) {
      const rpc::DigestAnswer &one = node.second, &first = nodes.front().second;
      return one.log_high == first.log_high && one.log_low == first.log_low;
    });
  }
};

struct Nodes {
  std::vector<std::string> servers;
  Address begin;  // the least address from which every one still has its log
};

Result<Nodes> find_nodes(rpc::Client& client, const VerifyOptions& options) {
  Nodes nodes;
  size_t left_of_named = options.client.client_options()->servers.size();
  for (const auto& [server, status] :
       options.only_named ? client.status() : client.cluster_status()) {
    const bool named = left_of_named > 0;
    if (named) --left_of_named;
    if (!status)
      return tl::unexpected(with_context(
          named ? server : server + ", a member (--only-named compares --server alone)",
          status.error()));
    nodes.servers.push_back(server);
    nodes.begin = std::max(nodes.begin, status->begin);
  }
  return nodes;
}

/// A large state takes its time: as long as it is being read, that is no reason to give up.
Result<rpc::DigestAnswer> digest_of(rpc::Client& client, const std::string& server, Address address,
                                    Address log_from, std::chrono::milliseconds patience) {
  std::string last;
  auto since = std::chrono::steady_clock::now();
  for (;;) {
    auto digest = client.digest(server, address, log_from);
    if (digest || digest.error().code != ErrorCode::kWouldBlock) return digest;
    const auto now = std::chrono::steady_clock::now();
    if (digest.error().message == last) {
      if (now - since > patience) return digest;
      continue;
    }
    last = digest.error().message;
    since = now;
    print_error("tailrace: {}: {}\n", printable(server), printable(last));
  }
}

bool worth_another_attempt(const Error& error) {
  return error.code == ErrorCode::kTruncated || error.code == ErrorCode::kNotFound;
}

Result<Verification> compare(rpc::Client& client, const VerifyOptions& options) {
  Verification result;
  TAILRACE_ASSIGN_OR_RETURN(const auto nodes, find_nodes(client, options));
  result.log_from = nodes.begin;
  TAILRACE_ASSIGN_OR_RETURN(result.address, client.request_digest());
  const auto patience = options.client.client_options()->timeout;
  for (const std::string& server : nodes.servers) {
    auto digest = digest_of(client, server, result.address, result.log_from, patience);
    if (!digest) return tl::unexpected(with_context(server, std::move(digest).error()));
    result.nodes.emplace_back(server, *digest);
  }
  return result;
}

std::string hex(uint64_t high, uint64_t low) {
  return fmt::format("{:016x}{:016x}", high, low);
}

/// Of no bytes at all a digest would say nothing.
std::string log_text(const rpc::DigestAnswer& digest) {
  const bool any = digest.log_high != 0 || digest.log_low != 0;
  return any ? hex(digest.log_high, digest.log_low) : "nothing";
}

void print_json(const Verification& result) {
  nlohmann::ordered_json out = {{"address", result.address.value},
                                {"log_from", result.log_from.value},
                                {"states_agree", result.states_agree()},
                                {"logs_agree", result.logs_agree()},
                                {"logs_compared", result.any_log()}};
  out["nodes"] = nlohmann::json::array();
  for (const auto& [server, digest] : result.nodes) {
    out["nodes"].push_back({{"server", server},
                            {"state", hex(digest.state_high, digest.state_low)},
                            {"pairs", digest.pairs},
                            {"log", log_text(digest)}});
  }
  print_out("{}\n", json_text(out, 2));
}

void print_text(const Verification& result) {
  print_out("log from {} and state, at address {}\n", result.log_from.value, result.address.value);
  for (const auto& [server, digest] : result.nodes) {
    print_out("{}  log {}  state {}  {} pairs\n", printable(server), log_text(digest),
              hex(digest.state_high, digest.state_low), digest.pairs);
  }
}

int verify_history(rpc::Client& client, const VerifyOptions& options) {
  const HistoryOfNodes all = ask_history(client, options.only_named);
  if (!all.silent.empty()) {
    Error error = all.silent.front();
    if (!options.only_named)
      error.message += "; --only-named compares the nodes that --server names, without the others";
    return report_answer(error);
  }
  const int code = print_comparison(all, options.json);
  const auto flushed = flush_output();
  return flushed ? code : report(flushed.error());
}

int verify(const VerifyOptions& options) {
  auto client = options.client.connect();
  if (!client) return report(client.error());
  if (options.history) return verify_history(**client, options);
  auto result = compare(**client, options);
  for (int attempt = 1; attempt < kMostAttempts; ++attempt) {
    if (result || !worth_another_attempt(result.error())) break;
    std::this_thread::sleep_for(kPause);
    result = compare(**client, options);
  }
  if (!result) return report_answer(result.error());
  if (options.json)
    print_json(*result);
  else
    print_text(*result);
  if (const auto flushed = flush_output(); !flushed) return report(flushed.error());
  if (!result->logs_agree()) print_error("tailrace: the logs differ\n");
  if (!result->states_agree()) print_error("tailrace: the states differ\n");
  if (!result->logs_agree() || !result->states_agree()) return kNegative;
  const size_t asked = result->nodes.size();
  if (asked == 1) {
    print_error("tailrace: one node was asked: there is nothing to compare it with{}\n",
                options.only_named ? "; without --only-named all members are asked" : "");
  } else if (!result->any_log()) {
    print_error(
        "tailrace: {} nodes agree on the state; of the log nothing was left to compare: all before "
        "address {} is truncated\n",
        asked, result->log_from.value);
  } else if (!options.json) {
    print_error("tailrace: {} nodes agree\n", asked);
  }
  return kDone;
}

}  // namespace

void add_verify_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand("verify",
                                      "Compares log and state of all members of the cluster at one "
                                      "common address; all of them must "
                                      "answer");
  const auto options = std::make_shared<VerifyOptions>();
  verb->add_flag("--json", options->json, "One JSON object");
  verb->add_flag("--only-named", options->only_named, "Compare only the nodes that --server names");
  verb->add_flag("--history", options->history,
                 "Compare the event files instead: each range of the log must have the same events "
                 "on all members, and no member may lack what another has");
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = verify(*options); });
}

}  // namespace tailrace::app
