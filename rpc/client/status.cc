// status() and its kin: what servers say of themselves, and of each other.
#include <algorithm>
#include <iterator>
#include <set>

#include "rpc/client/impl.h"
#include "rpc/wire/status_codec.h"

namespace tailrace::rpc {
namespace {

// What servers tell of others is theirs to say: it must not cost more than this.
constexpr size_t kMostServers = 128;

Result<NodeStatusAnswer> status_of(const Reply& reply, const std::string& server) {
  TAILRACE_RETURN_IF_ERROR(reply);
  if (!reply->isStatus()) return tl::unexpected(unexpected_answer());
  NodeStatusAnswer answer = read_status(reply->getStatus());
  answer.address = server;
  return answer;
}

// What a refusal takes at most; an attempt that takes longer had no answer.
constexpr std::chrono::milliseconds kLongerThanARefusal{1000};

/// Where `answer` says that other members are, but for those of which `known` are.
void add_members(const NodeStatusAnswer& answer, const std::set<NodeId>& known,
                 std::vector<std::string>& to) {
  if (answer.removed) return;  // its word is of long ago
  const auto add = [&](NodeId node, const std::string& address) {
    if (!address.empty() && !known.contains(node)) to.push_back(address);
  };
  add(answer.leader, answer.leader_address);
  for (const NodeStatusAnswer::Member& member : answer.members)
    add(member.node, member.client_address);
}

}  // namespace

std::vector<Client::ServerStatus> ClientImpl::ask_status(const std::vector<std::string>& servers,
                                                         SteadyTime deadline) {
  std::vector<ServerStatus> answers;
  if (const auto checked = check_thread(); !checked) {
    for (const std::string& server : servers)
      answers.emplace_back(server, tl::unexpected(checked.error()));
    return answers;
  }
  std::vector<std::future<Result<NodeStatusAnswer>>> asked;
  for (const std::string& server : servers) {
    ClientRequest request = request_of(ClientRequest::Verb::kStatus);
    request.deadline = deadline;
    auto read = [server](const Reply& reply) { return status_of(reply, server); };
    asked.push_back(submit<NodeStatusAnswer>(queue_to(server), std::move(request), read));
  }
  for (size_t i = 0; i < asked.size(); ++i)
    answers.emplace_back(servers[i], asked[i].get());
  return answers;
}

/// Where nobody has answered, and not for a refusal that came at once, they are asked again while
/// there is time: a server that very many connect to takes a few attempts to reach.
std::vector<Client::ServerStatus> ClientImpl::ask_named(SteadyTime deadline) {
  for (;;) {
    const SteadyTime began = std::chrono::steady_clock::now();
    auto answers = ask_status(options_.servers, deadline);
    const SteadyTime now = std::chrono::steady_clock::now();
    const bool answered = std::ranges::any_of(
        answers, [](const ServerStatus& one) { return one.second.has_value(); });
    if (answered || now - began < kLongerThanARefusal || now >= deadline) return answers;
  }
}

std::vector<Client::ServerStatus> ClientImpl::status() {
  const Call call(*this);
  return ask_named(std::chrono::steady_clock::now() + options_.timeout);
}

std::vector<Client::ServerStatus> ClientImpl::cluster_status() {
  const Call call(*this);
  std::vector<ServerStatus> answers;
  std::set<std::string> asked;
  const SteadyTime deadline = std::chrono::steady_clock::now() + options_.timeout;
  for (std::vector<std::string> next = options_.servers; !next.empty();) {
    const bool named = asked.empty();
    asked.insert(next.begin(), next.end());
    std::ranges::move(named ? ask_named(deadline) : ask_status(next, deadline),
                      std::back_inserter(answers));
    next.clear();
    std::set<NodeId> known;  // by whatever address
    for (const auto& [server, answer] : answers)
      if (answer) known.insert(answer->node);
    std::vector<std::string> told;
    for (const auto& [server, answer] : answers)
      if (answer) add_members(*answer, known, told);
    for (const std::string& address : told)
      if (asked.size() + next.size() < kMostServers && !asked.contains(address) &&
          std::ranges::find(next, address) == next.end())
        next.push_back(address);
  }
  return answers;
}

Result<NodeStatusAnswer> ClientImpl::leader_status() {
  ClientRequest request = request_of(ClientRequest::Verb::kStatus);
  const auto read = [](const Reply& reply) { return status_of(reply, {}); };
  return wait_for<NodeStatusAnswer>(*leader_, std::move(request), read);
}

}  // namespace tailrace::rpc
