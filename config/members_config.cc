#include "config/members_config.h"

#include <map>
#include <set>

#include "core/host_port.h"

namespace tailrace::config {

namespace {

/// Where one of the members is: each address belongs to one of them, and to one of its two ports.
void read_address(YamlReader& item, const std::string& key, const std::string& what,
                  const std::string& listen_key, std::map<std::string, std::string>& taken,
                  std::string& into) {
  item.reachable_endpoint(key, listen_key, into);
  if (!item.has(key)) item.fail(key, "is missing; it is the member's HOST:PORT for " + what);
  if (into.empty()) return;
  const auto [found, first] = taken.emplace(comparable_address(into), item.full(key));
  if (!first) item.fail(key, "is " + printable(into) + ", which is " + found->second + ", too");
}

}  // namespace

void read_members(YamlReader& reader, replication::NodeOptions& node) {
  std::set<uint32_t> ids;
  std::map<std::string, std::string> taken;
  for (YamlReader& item : reader.sequence("members")) {
    replication::Member member;
    item.number("id", 1, UINT32_MAX, member.id.value);
    if (!item.has("id")) item.fail("id", "is missing; each member has a number from 1");
    read_address(item, "peer", "peers", "replication.listen", taken, member.peer_address);
    read_address(item, "client", "clients", "server.listen", taken, member.client_address);
    item.flag("voter", member.voter);
    item.number("upstream", 1, UINT32_MAX, member.upstream.value);
    if (member.upstream.value != 0 && member.voter) {
      item.fail("upstream",
                "is for learners (voter: false): what a voter acknowledges has to reach "
                "the leader itself");
    }
    if (!ids.insert(member.id.value).second) {
      item.fail("id", std::to_string(member.id.value) + " is given to two members");
    }
    item.finish();
    node.members.push_back(std::move(member));
  }
}

void check_listeners(YamlReader& top, const replication::NodeOptions& node, std::string peers,
                     const std::string& clients, const std::string& metrics) {
  for (const replication::Member& member : node.members)
    if (peers.empty() && member.id == node.self) peers = member.peer_address;
  const auto taken = [](const std::string& address, const char* by) {
    return "is " + address + ", where " + by + " listens, too: give one of them another port";
  };
  if (listen_at_once(peers, clients))
    top.mapping("server").fail("listen",
                               taken(clients, "replication (listen, or this member's peer)"));
  if (listen_at_once(metrics, clients))
    top.mapping("metrics").fail("listen", taken(metrics, "server"));
  if (listen_at_once(metrics, peers))
    top.mapping("metrics").fail("listen",
                                taken(metrics, "replication (listen, or this member's peer)"));
}

}  // namespace tailrace::config
