#include "config/node_config.h"

#include <algorithm>
#include <bit>
#include <fstream>
#include <sstream>

#include <yaml-cpp/yaml.h>

#include "config/members_config.h"
#include "config/yaml_reader.h"
#include "observability/logging.h"

namespace tailrace::config {

namespace {

constexpr uint64_t kKiB = uint64_t{1} << 10;
constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kGiB = uint64_t{1} << 30;
constexpr uint64_t kTiB = uint64_t{1} << 40;
// As the promise file has room for.
constexpr size_t kMostClusterBytes = 255;

void read_log(YamlReader reader, fasterlog::LogOptions& log) {
  reader.power_of_two_size("page_bytes", 64 * kKiB, 64 * kMiB, log.page_bytes);
  reader.number("buffer_pages", 4, 4096, log.buffer_pages);
  if (!std::has_single_bit(log.buffer_pages)) {
    reader.fail("buffer_pages",
                "is " + std::to_string(log.buffer_pages) + "; it must be a power of two");
  }
  reader.power_of_two_size("segment_bytes", 64 * kKiB, 64 * kGiB, log.segment_bytes);
  if (log.segment_bytes < log.page_bytes) {
    reader.fail("segment_bytes", "is " + std::to_string(log.segment_bytes) +
                                     " bytes, less than page_bytes (" +
                                     std::to_string(log.page_bytes) + ")");
  }
  reader.number("spare_segments", 0, 1024, log.spare_segments);
  reader.number("flushes_in_flight", 1, 64, log.flushes_in_flight);
  reader.size("reserve_disk_bytes", uint64_t{0}, kTiB, log.reserve_disk_bytes);
  reader.size("proven_lag_bytes", kMiB, kTiB, log.proven_lag_bytes);
  reader.duration("proven_lag_time", log.proven_lag_time);
  reader.flag("huge_pages", log.huge_pages);
  reader.finish();
}

void read_compaction(YamlReader reader, kv::CompactionOptions& compaction) {
  reader.flag("automatic", compaction.automatic);
  reader.fraction("target_utilisation", compaction.target_utilisation);
  reader.size("bytes_per_s", uint64_t{0}, kTiB, compaction.bytes_per_s);
  reader.size("least_log_bytes", uint64_t{0}, 1024 * kTiB, compaction.least_log_bytes);
  reader.number("quiet_from_hour", 0, 24, compaction.quiet_from_hour);
  reader.number("quiet_to_hour", 0, 24, compaction.quiet_to_hour);
  reader.finish();
}

void read_store(YamlReader reader, kv::StoreOptions& store) {
  reader.power_of_two_size("page_bytes", 64 * kKiB, kGiB, store.page_bytes);
  reader.size("memory_bytes", kMiB, 16 * kTiB, store.memory_bytes);
  if (store.memory_bytes < uint64_t{4} * store.page_bytes) {
    reader.fail("memory_bytes", "is " + std::to_string(store.memory_bytes) +
                                    " bytes, less than four pages of " +
                                    std::to_string(store.page_bytes));
  }
  reader.power_of_two_size("index_buckets", uint64_t{64}, uint64_t{1} << 34, store.index_buckets);
  reader.fraction("mutable_fraction", store.mutable_fraction);
  reader.number("checkpoints_kept", 1, 100, store.checkpoints_kept);
  reader.flag("huge_pages", store.huge_pages);
  reader.size("disk_bytes", uint64_t{0}, 1024 * kTiB, store.disk_bytes);
  reader.power_of_two_size("segment_bytes", 64 * kKiB, 64 * kGiB, store.segment_bytes);
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
  reader.flag("index_grows", store.index_grows);
  reader.flag("copy_reads_to_tail", store.copy_reads_to_tail);
  reader.flag("check_log_at_open", store.check_log_at_open);
  reader.number("recovery_threads", 0, 64, store.recovery_threads);
  read_compaction(reader.mapping("compaction"), store.compaction);
  reader.finish();
}

void read_state_machine(YamlReader reader, statemachine::StateMachineOptions& options) {
  reader.duration("checkpoint_interval", options.checkpoint_interval);
  reader.size("checkpoint_log_bytes", uint64_t{0}, 16 * kTiB, options.checkpoint_log_bytes);
  reader.size("retention_bytes", uint64_t{0}, 1024 * kTiB, options.retention_bytes);
  reader.duration("session_ttl", options.session_ttl);
  if (options.session_ttl < statemachine::kLeastSessionTtl ||
      options.session_ttl > statemachine::kMostSessionTtl) {
    reader.fail("session_ttl",
                "is " + std::to_string(options.session_ttl.count()) +
                    " s; it must be at least 1 s, and longer than any client may take "
                    "to send a command again (3600 s is a good value)");
  }
  reader.number("session_answers", 1, 65536, options.session_answers);
  statemachine::SessionLimits& limits = options.session_limits;
  reader.number("sessions", 1000, statemachine::kMostSessions, limits.sessions);
  reader.size("answers_bytes", kMiB, statemachine::kMostAnswersBytes, limits.answers_bytes);
  uint64_t value_bytes = limits.answer_value_bytes;
  reader.size("answer_value_bytes", uint64_t{64}, uint64_t{statemachine::kMostAnswerBytes},
              value_bytes);
  limits.answer_value_bytes = static_cast<uint32_t>(value_bytes);
  reader.size("digest_bytes_per_s", uint64_t{0}, kTiB, options.digest_bytes_per_s);
  reader.size("store_reserve_bytes", uint64_t{0}, kTiB, options.store_reserve_bytes);
  std::string kind = "fold_over";
  reader.text("checkpoint_kind", kind);
  if (kind == "fold_over") {
    options.checkpoint_kind = kv::CheckpointKind::kFoldOver;
  } else if (kind == "snapshot") {
    options.checkpoint_kind = kv::CheckpointKind::kSnapshot;
  } else if (kind == "incremental") {
    options.checkpoint_kind = kv::CheckpointKind::kIncremental;
  } else {
    reader.fail("checkpoint_kind",
                "is '" + kind + "'; it must be fold_over, snapshot or incremental");
  }
  reader.finish();
}

void read_storage(YamlReader reader, storage::IoChoice& io) {
  std::string choice = "auto";
  reader.text("io", choice);
  if (choice == "auto") {
    io = storage::IoChoice::kAuto;
  } else if (choice == "io_uring") {
    io = storage::IoChoice::kIoUring;
  } else if (choice == "posix") {
    io = storage::IoChoice::kPosix;
  } else {
    reader.fail("io", "is '" + choice + "'; it must be auto, io_uring or posix");
  }
  reader.finish();
}

void read_server(YamlReader reader, rpc::ServerOptions& server) {
  reader.endpoint("listen", server.listen);
  reader.number("io_threads", 1, 64, server.io_threads);
  uint64_t frame = server.max_frame_bytes;
  uint64_t value = server.max_value_bytes;
  reader.size("max_frame_bytes", 64 * kKiB, kGiB, frame);
  reader.size("max_value_bytes", uint64_t{1}, kGiB, value);
  server.max_frame_bytes = frame;
  server.max_value_bytes = value;
  if (value + 64 * kKiB > frame) {
    reader.fail("max_value_bytes", "is " + std::to_string(value) +
                                       " bytes; it must be 64 KiB below max_frame_bytes (" +
                                       std::to_string(frame) + ")");
  }
  reader.number("max_connections", 1, 1'000'000, server.max_connections);
  reader.number("max_in_flight", 1, 1'000'000, server.max_in_flight);
  reader.size("max_unapplied_bytes", uint64_t{1}, 1024 * kGiB, server.max_unapplied_bytes);
  reader.duration("scan_idle_timeout", server.scan_idle_timeout);
  reader.duration("scan_lifetime", server.scan_lifetime);
  server.memory_bytes = std::max(server.memory_bytes, 4 * frame);
  reader.size("memory_bytes", 16 * kMiB, kTiB, server.memory_bytes);
  if (server.memory_bytes < 4 * frame) {
    reader.fail("memory_bytes", "is " + std::to_string(server.memory_bytes) +
                                    " bytes; it must be four times max_frame_bytes (" +
                                    std::to_string(frame) + ") or more");
  }
  reader.duration("idle_timeout", server.idle_timeout);
  reader.duration("frame_timeout", server.frame_timeout);
  reader.duration("unread_timeout", server.unread_timeout);
  reader.finish();
}

void read_replication(YamlReader reader, replication::NodeOptions& node,
                      CoordinatorConfig& coordinator, rpc::PeerTransportOptions& peers) {
  read_coordinator(reader.mapping("coordinator"), node, coordinator);
  read_members(reader, node);
  reader.endpoint("listen", peers.listen);
  if (node.members.empty() && !peers.listen.empty())
    reader.fail("listen", "is where other nodes come in, and there are none: name the members");
  reader.duration("tick_interval", node.tick_interval);
  reader.duration("heartbeat_interval", node.heartbeat_interval);
  reader.duration("peer_timeout", node.peer_timeout);
  reader.duration("give_up_after", node.give_up_after);
  reader.duration("transfer_timeout", node.transfer_timeout);
  reader.duration("digest_interval", node.digest_interval);
  reader.duration("apply_stall_after", node.apply_stall_after);
  reader.size("window_bytes", 64 * kKiB, 16 * kGiB, node.window_bytes);
  reader.size("batch_bytes", 4 * kKiB, kGiB, node.batch_bytes);
  reader.size("follower_pin_bytes", uint64_t{0}, 1024 * kTiB, node.follower_pin_bytes);
  reader.size("checkpoint_bytes_per_s", uint64_t{0}, kTiB, node.checkpoint_bytes_per_s);
  reader.finish();
  if (node.tick_interval < std::chrono::milliseconds(1)) {
    reader.fail("tick_interval", "must be at least 1 ms");
  }
  if (node.digest_interval.count() != 0 && node.digest_interval < std::chrono::seconds(1)) {
    reader.fail("digest_interval", "must be 0 (never) or at least 1 s");
  }
  if (node.apply_stall_after < std::chrono::seconds(1)) {
    reader.fail("apply_stall_after", "must be at least 1 s");
  }
  if (node.give_up_after < node.peer_timeout) {
    reader.fail("give_up_after",
                "must be at least peer_timeout: a leader would give up before it misses anyone");
  }
  if (node.peer_timeout < 2 * node.heartbeat_interval) {
    reader.fail("peer_timeout", "must be at least twice heartbeat_interval");
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
    top.text("cluster", config.node.cluster);
    if (config.node.cluster.empty()) top.fail("cluster", "is missing; name the cluster");
    if (config.node.cluster.size() > kMostClusterBytes)
      top.fail("cluster", "has " + std::to_string(config.node.cluster.size()) +
                              " bytes; a cluster's name has at most " +
                              std::to_string(kMostClusterBytes));
    top.number("node", 1, UINT32_MAX, config.node.self.value);
    if (config.node.self.value == 0) top.fail("node", "is missing; give this node's number");
    top.text("data_dir", config.data_dir);
    if (config.data_dir.empty()) top.fail("data_dir", "is missing; name the node's directory");
    top.text("log_level", config.log_level);
    observability::LogLevel level;
    if (!observability::parse_log_level(config.log_level, level)) {
      top.fail("log_level",
               "is '" + config.log_level + "'; it must be debug, info, warning, error or off");
    }
    read_storage(top.mapping("storage"), config.io);
    read_log(top.mapping("log"), config.log);
    read_store(top.mapping("store"), config.store);
    read_state_machine(top.mapping("state_machine"), config.state_machine);
    read_replication(top.mapping("replication"), config.node, config.coordinator, config.peers);
    read_server(top.mapping("server"), config.server);
    YamlReader metrics = top.mapping("metrics");
    metrics.endpoint("listen", config.metrics.listen);
    metrics.finish();
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
