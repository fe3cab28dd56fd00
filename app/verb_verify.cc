// `tailrace verify`: every node computes, for one common address, a digest of its log bytes and one
// of its state; they must be equal.

#include <algorithm>
#include <optional>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/client_options.h"
#include "app/json_text.h"
#include "app/output.h"
#include "app/verbs.h"

namespace tailrace::app {

namespace {

// A node may truncate its log between our asking where it begins and its digest.
constexpr int kMostAttempts = 5;

struct VerifyOptions {
  ClientFlags client;
  bool json = false;
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
  bool logs_agree() const {
    return std::all_of(nodes.begin(), nodes.end(), [&](const auto& node) {
      const rpc::DigestAnswer &one = node.second, &first = nodes.front().second;
      return one.log_high == first.log_high && one.log_low == first.log_low;
    });
  }
};

/// The least address from which every node still has its log.
Result<Address> common_begin(rpc::Client& client) {
  Address begin;
  for (const auto& [server, status] : client.status()) {
    if (!status) return tl::unexpected(with_context(server, status.error()));
    begin = std::max(begin, Address{status->begin});
  }
  return begin;
}

Result<Verification> compare(rpc::Client& client, const std::vector<std::string>& servers) {
  Verification result;
  auto begin = common_begin(client);
  if (!begin) return tl::unexpected(std::move(begin).error());
  result.log_from = *begin;
  auto address = client.request_digest();
  if (!address) return tl::unexpected(std::move(address).error());
  result.address = *address;
  for (const std::string& server : servers) {
    auto digest = client.digest(server, result.address, result.log_from);
    if (!digest) return tl::unexpected(with_context(server, std::move(digest).error()));
    result.nodes.emplace_back(server, *digest);
  }
  return result;
}

std::string hex(uint64_t high, uint64_t low) {
  return fmt::format("{:016x}{:016x}", high, low);
}

void print_json(const Verification& result) {
  nlohmann::ordered_json out = {{"address", result.address.value},
                                {"log_from", result.log_from.value},
                                {"states_agree", result.states_agree()},
                                {"logs_agree", result.logs_agree()}};
  out["nodes"] = nlohmann::json::array();
  for (const auto& [server, digest] : result.nodes) {
    out["nodes"].push_back({{"server", server},
                            {"state", hex(digest.state_high, digest.state_low)},
                            {"pairs", digest.pairs},
                            {"log", hex(digest.log_high, digest.log_low)}});
  }
  print_out("{}\n", json_text(out, 2));
}

void print_text(const Verification& result) {
  print_out("log from {} and state, at address {}\n", result.log_from.value, result.address.value);
  for (const auto& [server, digest] : result.nodes) {
    print_out("{}  log {}  state {}  {} pairs\n", server, hex(digest.log_high, digest.log_low),
              hex(digest.state_high, digest.state_low), digest.pairs);
  }
}

int verify(const VerifyOptions& options) {
  auto flags = options.client.client_options();
  if (!flags) return report(flags.error());
  const std::vector<std::string> servers = flags->servers;
  auto client = rpc::Client::create(std::move(*flags));
  if (!client) return report(client.error());
  auto result = compare(**client, servers);
  for (int attempt = 1; attempt < kMostAttempts; ++attempt) {
    if (result || result.error().code != ErrorCode::kTruncated) break;
    result = compare(**client, servers);
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
  if (servers.size() == 1) {
    print_error(
        "tailrace: one node was named: there is nothing to compare it with; name "
        "all of them with --server\n");
  } else if (!options.json) {
    print_error("tailrace: {} nodes agree\n", servers.size());
  }
  return kDone;
}

}  // namespace

void add_verify_verb(CLI::App& app, int& exit_code) {
  CLI::App* verb = app.add_subcommand(
      "verify", "Compares log and state of all --server nodes at one common address");
  const auto options = std::make_shared<VerifyOptions>();
  verb->add_flag("--json", options->json, "One JSON object");
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = verify(*options); });
}

}  // namespace tailrace::app
