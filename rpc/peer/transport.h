#pragma once
// The connections between the nodes of a cluster.

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/address.h"
#include "core/result.h"
#include "fasterlog/log.h"
#include "observability/metrics.h"
#include "replication/protocol/membership.h"
#include "replication/transport.h"

namespace tailrace::rpc {

/// An io_context with a thread of its own, behind replication's interfaces.
struct PeerTransportOptions {
  NodeId self;
  std::string cluster;
  /// HOST:PORT of the peer listener, which need not be what others are told; empty: none (single
  /// node)
  std::string listen;
  /// As the configuration file names them. Where the log names other addresses, both are tried.
  std::vector<replication::Member> members;
  size_t max_frame_bytes = 64u << 20;
  /// Of two nodes the one with the smaller id dials too once it had no connection for so long.
  std::chrono::milliseconds dial_patience{1500};
};

class PeerTransport : public replication::Transport, public replication::Executor {
 public:
  static Result<std::unique_ptr<PeerTransport>> create(PeerTransportOptions options);
  /// Starts the thread; `tick` runs on it every `interval`.
  virtual void start(std::chrono::milliseconds interval, std::function<void()> tick) = 0;
  virtual void stop() = 0;  // joins the thread
  /// As rpc/peer/flush_host.h, on this transport's thread.
  virtual Result<std::shared_ptr<void>> host_flushes(fasterlog::Log& log) = 0;
  virtual int port() const = 0;
  virtual void register_metrics(observability::MetricRegistry& registry) = 0;
};

}  // namespace tailrace::rpc
