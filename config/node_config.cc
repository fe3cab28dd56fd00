#include "config/node_config.h"

#include <algorithm>
#include <bit>
#include <fstream>
#include <sstream>

#include <yaml-cpp/yaml.h>

#include "config/keys.h"
#include "config/members_config.h"
#include "config/yaml_reader.h"
#include "core/utf8.h"
#include "observability/logging.h"

namespace tailrace::config {

namespace {

// As the promise file has room for.
constexpr size_t kMostClusterBytes = 255;

/// A section that has no others below it.
YamlReader read_whole(YamlReader reader, std::string_view section, NodeConfig& config) {
  read_section(reader, section, config);
  reader.finish();
  return reader;
}

void check_log(YamlReader& reader, const fasterlog::LogOptions& log) {
  if (!std::has_single_bit(log.buffer_pages)) {
    reader.fail("buffer_pages",
                "is " + std::to_string(log.buffer_pages) + "; it must be a power of two");
  }
  if (log.segment_bytes < log.page_bytes) {
    reader.fail("segment_bytes", "is " + std::to_string(log.segment_bytes) +
                                     " bytes, less than page_bytes (" +
                                     std::to_string(log.page_bytes) + ")");
  }
}

void check_store(YamlReader& reader, const kv::StoreOptions& store) {
  if (store.memory_bytes < uint64_t{4} * store.page_bytes) {
    reader.fail("memory_bytes", "is " + std::to_string(store.memory_bytes) +
                                    " bytes, less than four pages of " +
                                    std::to_string(store.page_bytes));
  }
  if (store.segment_bytes < store.page_bytes) {
    reader.fail("segment_bytes", "is " + std::to_string(store.segment_bytes) +
                                     " bytes, less than page_bytes (" +
                                     std::to_string(store.page_bytes) + ")");
  }
  if (store.disk_bytes != 0 && store.disk_bytes < 4 * store.segment_bytes) {
    reader.fail("disk_bytes", "is " + std::to_string(store.disk_bytes) +
                                  " bytes, less than four segments of " +
                                  std::to_string(store.segment_bytes));
  }
}

void read_server(YamlReader reader, NodeConfig& config) {
  rpc::ServerOptions& server = config.server;
  const uint64_t memory_bytes = server.memory_bytes;
  read_section(reader, "server", config);
  const uint64_t frame = server.max_frame_bytes, value = server.max_value_bytes;
  if (value + 64 * kKiB > frame) {
    reader.fail("max_value_bytes", "is " + std::to_string(value) +
                                       " bytes; it must be 64 KiB below max_frame_bytes (" +
                                       std::to_string(frame) + ")");
  }
  if (!reader.has("memory_bytes")) server.memory_bytes = std::max(memory_bytes, 4 * frame);
  if (server.memory_bytes < 4 * frame) {
    reader.fail("memory_bytes", "is " + std::to_string(server.memory_bytes) +
                                    " bytes; it must be four times max_frame_bytes (" +
                                    std::to_string(frame) + ") or more");
  }
  reader.finish();
}

void read_replication(YamlReader reader, NodeConfig& config) {
  replication::NodeOptions& node = config.node;
  const CoordinatorConfig& coordinator = config.coordinator;
  read_coordinator(reader.mapping("coordinator"), node, config.coordinator);
  read_members(reader, node);
  read_section(reader, "replication", config);
  if (node.members.empty() && !config.peers.listen.empty())
    reader.fail("listen", "is where other nodes come in, and there are none: name the members");
  reader.finish();
  const auto in_words = [](std::chrono::milliseconds time) {
    return time_text(static_cast<uint64_t>(time.count()));
  };
  if (node.give_up_after < node.peer_timeout) {
    reader.fail("give_up_after", "is " + in_words(node.give_up_after) +
                                     "; it must be at least peer_timeout (" +
                                     in_words(node.peer_timeout) +
                                     "): a leader would give up before it misses anyone");
  }
  if (node.peer_timeout < 2 * node.tick_interval) {
    reader.fail("tick_interval", "is " + in_words(node.tick_interval) +
                                     "; it must be at most half of peer_timeout (" +
                                     in_words(node.peer_timeout) + ")");
  }
  if (node.peer_timeout < 2 * node.heartbeat_interval) {
    reader.fail("peer_timeout", "is " + in_words(node.peer_timeout) +
                                    "; it must be at least twice heartbeat_interval (" +
                                    in_words(node.heartbeat_interval) + ")");
  }

  const bool is_static = coordinator.kind == CoordinatorConfig::Kind::kStatic;
  const auto member = [&](NodeId id) {
    return std::find_if(node.members.begin(), node.members.end(),
                        [id](const replication::Member& each) { return each.id == id; });
  };
  if (node.members.empty()) {
    // A single node: it is its own cluster.
    node.members.push_back({node.self, true, "", ""});
    if (node.leader.value == 0 && is_static) node.leader = node.self;
  }
  if (member(node.self) == node.members.end()) {
    reader.fail("members", "do not have this node, " + std::to_string(node.self.value));
    return;
  }
  for (const replication::Member& each : node.members) {
    if (each.upstream.value == 0 || each.voter) continue;
    const auto upstream = member(each.upstream);
    if (upstream == node.members.end() || !upstream->voter) {
      reader.fail("members", "give node " + std::to_string(each.id.value) + " the upstream " +
                                 std::to_string(each.upstream.value) +
                                 (upstream == node.members.end()
                                      ? ", which is no member"
                                      : ", which is a learner; only a voter can feed others"));
    }
  }
  if (!is_static) return;
  const auto leader = member(node.leader);
  if (node.leader.value == 0) {
    reader.fail("coordinator", "names no leader; set replication.coordinator.leader");
  } else if (leader == node.members.end()) {
    reader.fail("coordinator",
                "names leader " + std::to_string(node.leader.value) +
                    ", which is no member: name one of `members` that has a vote. Who leads now "
                    "does not change by that, but by `tailrace promote` and `transfer`");
  } else if (!leader->voter) {
    reader.fail("coordinator", "names leader " + std::to_string(node.leader.value) +
                                   ", which has no vote: name one that has");
  }
}

/// What one module's setting demands of another's.
void check_together(YamlReader& top, const NodeConfig& config) {
  const uint64_t buffer = uint64_t{config.log.page_bytes} * config.log.buffer_pages;
  if (uint64_t{config.node.batch_bytes} * 2 > buffer) {
    top.fail("replication", "batch_bytes (" + std::to_string(config.node.batch_bytes) +
                                ") must be at most half of the log's memory (" +
                                std::to_string(buffer) + " bytes)");
  }
  const uint64_t most_value = config.server.max_value_bytes;
  if (most_value + 128 * kKiB > config.log.page_bytes ||
      most_value + 128 * kKiB > config.store.page_bytes) {
    top.fail("server", "max_value_bytes (" + std::to_string(most_value) +
                           ") must be 128 KiB below log.page_bytes and store.page_bytes");
  }
}

}  // namespace

Result<NodeConfig> load_node_config(const std::string& file) {
  std::ifstream stream(file);
  if (!stream) return tl::unexpected(io_error("open", file, errno));
  std::stringstream text;
  text << stream.rdbuf();

  ReadState state{file, std::nullopt};
  NodeConfig config;
  // The library throws on bad syntax; nothing of it leaves this function.
  try {
    const YAML::Node root = YAML::Load(text.str());
    YamlReader top(state, root, "");
    read_section(top, "", config);
    // A key that is misspelt is told before another one is missed.
    for (const Key& key : keys())
      if (!key.section.empty())
        (void)top.mapping(std::string(key.section.substr(0, key.section.find('.'))));
    top.finish();
    if (config.node.cluster.empty()) top.fail("cluster", "is missing; name the cluster");
    if (!is_utf8(config.node.cluster))
      top.fail("cluster", "is not UTF-8; Prometheus would refuse all that the node tells");
    if (config.node.cluster.size() > kMostClusterBytes)
      top.fail("cluster", "has " + std::to_string(config.node.cluster.size()) +
                              " bytes; a cluster's name has at most " +
                              std::to_string(kMostClusterBytes));
    if (config.node.self.value == 0) top.fail("node", "is missing; give this node's number");
    if (config.data_dir.empty()) top.fail("data_dir", "is missing; name the node's directory");
    observability::LogLevel level;
    if (!observability::parse_log_level(config.log_level, level)) {
      top.fail("log_level",
               "is '" + config.log_level + "'; it must be debug, info, warning, error or off");
    }
    read_whole(top.mapping("storage"), "storage", config);
    YamlReader log = read_whole(top.mapping("log"), "log", config);
    check_log(log, config.log);
    YamlReader store = top.mapping("store");
    read_section(store, "store", config);
    read_whole(store.mapping("compaction"), "store.compaction", config);
    store.finish();
    check_store(store, config.store);
    read_whole(top.mapping("state_machine"), "state_machine", config);
    read_whole(top.mapping("history"), "history", config);
    read_replication(top.mapping("replication"), config);
    read_server(top.mapping("server"), config);
    read_whole(top.mapping("metrics"), "metrics", config);
    check_together(top, config);
    check_listeners(top, config.node, config.peers.listen, config.server.listen,
                    config.metrics.listen);
    top.finish();
  } catch (const YAML::Exception& exception) {
    const std::string line =
        exception.mark.is_null() ? "" : ":" + std::to_string(exception.mark.line + 1);
    return make_error(ErrorCode::kInvalidArgument, file + line + ": " + exception.msg);
  }
  if (state.error) return tl::unexpected(std::move(*state.error));
  place_in_directory(config, config.data_dir);
  return config;
}

NodeConfig single_node_config(const std::string& data_dir, const std::string& client_address) {
  NodeConfig config;
  config.node.cluster = "single";
  config.node.self = NodeId{1};
  config.node.leader = NodeId{1};
  config.node.members = {{NodeId{1}, true, "", client_address}};
  place_in_directory(config, data_dir);
  return config;
}

void place_in_directory(NodeConfig& config, const std::string& data_dir) {
  const storage::Path root(data_dir);
  const std::string owner = config.node.cluster + "/" + std::to_string(config.node.self.value);
  config.data_dir = data_dir;
  config.server.data_directory = data_dir;
  config.log.directory = root / "log";
  config.log.owner = owner;
  config.store.directory = root / "store";
  config.store.owner = owner;
  config.history.directory = root / "history";
  config.history.outcomes = root / "outcomes";
  config.node.directory = root;
  config.peers.self = config.node.self;
  config.peers.cluster = config.node.cluster;
  config.peers.members = config.node.members;
  for (const replication::Member& member : config.node.members) {
    if (member.id != config.node.self) continue;
    if (config.peers.listen.empty()) config.peers.listen = member.peer_address;
    config.coordinator.etcd.peer_address = member.peer_address;
    config.coordinator.etcd.client_address = member.client_address;
  }
  config.coordinator.etcd.self = config.node.self;
  config.coordinator.etcd.cluster = config.node.cluster;
}

}  // namespace tailrace::config
