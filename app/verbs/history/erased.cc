// `tailrace history erased`: where events of a stream still are, node by node.

#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/cli/client_options.h"
#include "app/cli/json_text.h"
#include "app/cli/output.h"
#include "app/cli/printable.h"
#include "app/cli/verbs.h"
#include "app/verbs/history/history_verbs.h"
#include "statemachine/txn/names.h"

namespace tailrace::app {

namespace {

struct ErasedOptions {
  ClientFlags client;
  std::string stream;
  bool json = false;
};

nlohmann::ordered_json json_of_remains(const std::string& server,
                                       const Result<std::vector<rpc::StreamRemains>>& remains) {
  nlohmann::ordered_json node = {{"server", server}};
  if (!remains) {
    node["error"] = std::string(name_of(remains.error().code));
    node["message"] = remains.error().message;
    return node;
  }
  node["remains"] = nlohmann::ordered_json::array();
  for (const rpc::StreamRemains& each : *remains)
    node["remains"].push_back(
        {{"what", each.what}, {"from", each.range.first.value}, {"to", each.range.end.value}});
  return node;
}

void print_remains(const std::string& server,
                   const Result<std::vector<rpc::StreamRemains>>& remains) {
  if (!remains)
    return print_out("{}  cannot be asked: {}\n", printable(server),
                     printable(remains.error().message));
  if (remains->empty()) return print_out("{}  nothing left\n", printable(server));
  for (const rpc::StreamRemains& each : *remains)
    print_out("{}  {}\n", printable(server), printable(each.what));
}

int erased(const ErasedOptions& options) {
  if (options.stream.empty() || options.stream.size() > statemachine::kMaxStreamBytes)
    return report(Error{ErrorCode::kInvalidArgument,
                        fmt::format("a stream's name has 1 to {} bytes, and this one {}",
                                    statemachine::kMaxStreamBytes, options.stream.size())});
  auto client = options.client.connect();
  if (!client) return report(client.error());
  nlohmann::ordered_json nodes = nlohmann::ordered_json::array();
  bool all = true;
  for (const auto& [server, status] : (*client)->cluster_status()) {
    const auto remains =
        status ? (*client)->remains(server, options.stream)
               : Result<std::vector<rpc::StreamRemains>>(tl::unexpected(status.error()));
    all = all && remains && remains->empty();
    if (options.json)
      nodes.push_back(json_of_remains(server, remains));
    else
      print_remains(server, remains);
  }
  all = all && (!options.json || !nodes.empty());
  if (options.json)
    print_out("{}\n", json_text(nlohmann::ordered_json{{"erased", all}, {"nodes", nodes}}, 2));
  if (const auto flushed = flush_output(); !flushed) return report(flushed.error());
  return all ? kDone : kNegative;
}

}  // namespace

void add_erased_verb(CLI::App& history, int& exit_code) {
  CLI::App* const verb = history.add_subcommand(
      "erased",
      "Where events of a stream still are, readable or not: on each member, in event files, in the "
      "log, and in files that have bytes of a log which was truncated; exit code 1 if anywhere");
  const auto options = std::make_shared<ErasedOptions>();
  verb->add_option("stream", options->stream, "The stream's name")->required()->type_name("STREAM");
  verb->add_flag("--json", options->json, "One object: erased, and nodes with what remains");
  options->client.add_to(*verb);
  verb->callback([options, &exit_code] { exit_code = erased(*options); });
}

}  // namespace tailrace::app
