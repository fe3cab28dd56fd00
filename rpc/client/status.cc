// status() and its kin: what servers say of themselves, and of each other.
#include <algorithm>
#include <iterator>
#include <set>

#include "rpc/client/impl.h"

namespace tailrace::rpc {
namespace {

// What servers tell of others is theirs to say: it must not cost more than this.
constexpr size_t kMostServers = 128;

Result<NodeStatusAnswer> read_status(const Reply& reply, const std::string& server) {
  TAILRACE_RETURN_IF_ERROR(reply);
  if (!reply->isStatus()) return tl::unexpected(unexpected_answer());
  const auto from = reply->getStatus();
  NodeStatusAnswer answer;
  answer.node = from.getNode();
  answer.address = server;
  answer.role = to_string(from.getRole());
  answer.problem = to_string(from.getProblem());
  answer.copy.stage = to_string(from.getCopy().getStage());
  answer.copy.from = from.getCopy().getFrom();
  answer.copy.received = from.getCopy().getReceived();
  answer.copy.bytes = from.getCopy().getBytes();
  answer.copy.problem = to_string(from.getCopy().getProblem());
  answer.epoch = from.getEpoch();
  answer.leader = from.getLeader();
  answer.vote = from.getVote();
  answer.source = from.getSource();
  answer.coordinator = to_string(from.getCoordinator());
  answer.unhealthy = to_string(from.getUnhealthy());
  answer.last_compared = from.getLastCompared();
  answer.diverged = from.getDiverged();
  answer.leader_address = to_string(from.getLeaderAddress());
  answer.serving = from.getServing();
  answer.begin = from.getBegin();
  answer.checkpointed = from.getCheckpointed();
  answer.applied = from.getApplied();
  answer.committed = from.getCommitted();
  answer.durable = from.getDurable();
  answer.tail = from.getTail();
  answer.log_disk_bytes = from.getLogDiskBytes();
  answer.store_used_bytes = from.getStoreUsedBytes();
  answer.store_capacity_bytes = from.getStoreCapacityBytes();
  answer.live_records = from.getLiveRecords();
  answer.store_log_begin = from.getStoreLogBegin();
  answer.store_log_head = from.getStoreLogHead();
  answer.store_log_read_only = from.getStoreLogReadOnly();
  answer.store_log_tail = from.getStoreLogTail();
  answer.log_time_ns = from.getLogTimeNs();
  for (const auto one : from.getFollowers()) {
    NodeStatusAnswer::Follower follower;
    follower.node = one.getNode();
    follower.voter = one.getVoter();
    follower.vote = one.getVote();
    follower.connected = one.getConnected();
    follower.relayed_by = one.getRelayedBy();
    follower.needs_checkpoint = one.getNeedsCheckpoint();
    follower.durable = one.getDurable();
    follower.applied = one.getApplied();
    follower.lag_bytes = one.getLagBytes();
    follower.lag_seconds = one.getLagSeconds();
    follower.unhealthy = to_string(one.getUnhealthy());
    follower.last_compared = one.getLastCompared();
    answer.followers.push_back(follower);
  }
  for (const auto one : from.getMembers())
    answer.members.push_back({one.getNode(), one.getVoter(), one.getJoining(),
                              to_string(one.getPeerAddress()), to_string(one.getClientAddress())});
  answer.members_in_log = from.getMembersInLog();
  answer.removed = from.getRemoved();
  answer.cluster_version = from.getClusterVersion();
  answer.cluster_identity = to_string(from.getClusterIdentity());
  for (const auto one : from.getAnchors())
    answer.anchors.emplace_back(to_string(one.getName()), one.getAddress());
  return answer;
}

// What a refusal takes at most; an attempt that takes longer had no answer.
constexpr std::chrono::milliseconds kLongerThanARefusal{1000};

/// Where `answer` says that other members are, but for those of which `known` are.
void add_members(const NodeStatusAnswer& answer, const std::set<uint32_t>& known,
                 std::vector<std::string>& to) {
  if (answer.removed) return;  // its word is of long ago
  const auto add = [&](uint32_t node, const std::string& address) {
    if (!address.empty() && !known.contains(node)) to.push_back(address);
  };
  add(answer.leader, answer.leader_address);
  for (const NodeStatusAnswer::Member& member : answer.members)
    add(member.node, member.client_address);
}

}  // namespace

std::vector<Client::ServerStatus> ClientImpl::ask_status(const std::vector<std::string>& servers) {
  std::vector<std::future<Result<NodeStatusAnswer>>> asked;
  for (const std::string& server : servers) {
    ClientRequest request = command(wire::Operation::NONE, {});
    request.verb = ClientRequest::Verb::kStatus;
    auto read = [server](const Reply& reply) { return read_status(reply, server); };
    asked.push_back(submit<NodeStatusAnswer>(queue_to(server), std::move(request), read));
  }
  std::vector<ServerStatus> answers;
  for (size_t i = 0; i < asked.size(); ++i)
    answers.emplace_back(servers[i], asked[i].get());
  return answers;
}

/// Where nobody has answered, and not for a refusal that came at once, they are asked again while
/// there is time: a server that very many connect to takes a few attempts to reach.
std::vector<Client::ServerStatus> ClientImpl::ask_named() {
  const SteadyTime deadline = std::chrono::steady_clock::now() + options_.timeout;
  for (;;) {
    const SteadyTime began = std::chrono::steady_clock::now();
    auto answers = ask_status(options_.servers);
    const SteadyTime now = std::chrono::steady_clock::now();
    const bool answered = std::ranges::any_of(
        answers, [](const ServerStatus& one) { return one.second.has_value(); });
    if (answered || now - began < kLongerThanARefusal || now >= deadline) return answers;
  }
}

std::vector<Client::ServerStatus> ClientImpl::status() {
  const Call call(*this);
  return ask_named();
}

std::vector<Client::ServerStatus> ClientImpl::cluster_status() {
  const Call call(*this);
  std::vector<ServerStatus> answers;
  std::set<std::string> asked;
  for (std::vector<std::string> next = options_.servers; !next.empty();) {
    const bool named = asked.empty();
    asked.insert(next.begin(), next.end());
    std::ranges::move(named ? ask_named() : ask_status(next), std::back_inserter(answers));
    next.clear();
    std::set<uint32_t> known;  // by whatever address
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
  ClientRequest request = command(wire::Operation::NONE, {});
  request.verb = ClientRequest::Verb::kStatus;
  const auto read = [](const Reply& reply) { return read_status(reply, {}); };
  return submit<NodeStatusAnswer>(leader_, std::move(request), read).get();
}

}  // namespace tailrace::rpc
