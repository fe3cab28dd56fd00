#include "app/top/poller.h"

#include <algorithm>
#include <utility>

#include "app/top/bounds.h"

namespace tailrace::app::top {

Poller::Poller(rpc::ClientOptions options)
    : options_(std::move(options)), named_(options_.servers) {}

Result<Poller> Poller::create(rpc::ClientOptions options) {
  Poller poller(std::move(options));
  TAILRACE_RETURN_IF_ERROR(poller.connect(poller.named_));
  return poller;
}

Result<> Poller::connect(std::vector<std::string> servers) {
  rpc::ClientOptions options = options_;
  options.servers = std::move(servers);
  TAILRACE_ASSIGN_OR_RETURN(auto client, rpc::Client::create(options));
  client_ = std::move(client);
  options_ = std::move(options);
  return {};
}

Snapshot Poller::poll() {
  Snapshot snapshot;
  snapshot.began = std::chrono::steady_clock::now();
  snapshot.servers = client_->cluster_status();
  bound(snapshot);
  snapshot.at = std::chrono::steady_clock::now();
  snapshot.unix_time_ms = static_cast<int64_t>(system_clock().unix_time_ns() / 1'000'000);
  learn(snapshot);
  return snapshot;
}

void Poller::learn(const Snapshot& snapshot) {
  std::set<std::string> told;
  bool answered = false;
  for (const auto& [server, answer] : snapshot.servers) {
    if (!answer) continue;
    answered = true;
    if (answer->removed) continue;
    told.insert(answer->leader_address);
    for (const auto& member : answer->members)
      told.insert(member.client_address);
  }
  if (!answered) return;
  std::vector<std::string> servers = named_;
  std::set<NodeId> known;
  // Those that were asked, as far as they are members, once each.
  for (const auto& [server, answer] : snapshot.servers) {
    const bool again = answer && !known.insert(answer->node).second;
    if (!again && told.contains(server) && std::ranges::find(servers, server) == servers.end())
      servers.push_back(server);
  }
  if (servers == options_.servers) return;
  // Where this does not work the client before goes on.
  (void)connect(std::move(servers));
}

}  // namespace tailrace::app::top
