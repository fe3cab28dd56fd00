#pragma once
// One node's YAML file, checked and turned into each module's own options.

#include <string>

#include "config/coordinator_config.h"
#include "core/result.h"
#include "fasterlog/log.h"
#include "history/types/options.h"
#include "http/monitoring.h"
#include "kv/store.h"
#include "replication/node.h"
#include "rpc/peer/transport.h"
#include "rpc/server/server.h"
#include "statemachine/state_machine.h"
#include "storage/io_choice.h"

namespace tailrace::config {

/// What becomes of events when the log is truncated.
enum class KeepHistory : uint8_t { kEvents, kNone };

struct HistoryConfig {
  KeepHistory keep = KeepHistory::kEvents;
  history::Compression compression = history::Compression::kZstd;
  std::string directory;  // of event files
  std::string outcomes;   // of what became of transactions
};

struct NodeConfig {
  std::string data_dir;
  fasterlog::LogOptions log;
  kv::StoreOptions store;
  statemachine::StateMachineOptions state_machine;
  HistoryConfig history;
  replication::NodeOptions node;
  CoordinatorConfig coordinator;
  rpc::ServerOptions server;
  rpc::PeerTransportOptions peers;
  http::MonitoringOptions metrics;
  std::string log_level = "info";
  storage::IoChoice io = storage::IoChoice::kAuto;
};

/// Every error names file, line and key, and for an unknown key the nearest valid one. Sizes take
/// KiB, MiB, GiB; times ms, s, m, h.
Result<NodeConfig> load_node_config(const std::string& file);
/// A single node with defaults: `serve --data-dir DIR`. `client_address` is what it tells clients
/// of itself; empty: nothing, for they have found it.
NodeConfig single_node_config(const std::string& data_dir, const std::string& client_address = {});
/// A digest of the settings that the nodes of a cluster should share: all but names, addresses,
/// places and numbers of threads. Nodes that differ in it are set up differently.
std::string shared_digest(const NodeConfig& config);
/// Fills the paths (log, store, promise file) below data_dir and the owner strings.
void place_in_directory(NodeConfig& config, const std::string& data_dir);

}  // namespace tailrace::config
