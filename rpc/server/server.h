#pragma once
// The client-facing server and the peer transport. Asio and Cap'n Proto stop in this folder.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/result.h"
#include "fasterlog/log.h"
#include "fasterlog/time/log_time.h"
#include "history/history.h"
#include "observability/metrics.h"
#include "replication/node.h"
#include "replication/transport.h"
#include "rpc/wire/status.h"
#include "statemachine/state_machine.h"

namespace tailrace::rpc {

struct ServerOptions {
  std::string listen = "127.0.0.1:7100";  // HOST:PORT; port 0 takes a free one
  std::string data_directory;             // of the node; clients are not told where that is
  /// Threads that serve connections, each with an io_context. 0: one for each four processors, at
  /// least one and at most eight.
  uint32_t io_threads = 0;
  size_t max_frame_bytes = 16u << 20;
  size_t max_value_bytes = 1u << 20;
  uint32_t max_connections = 1024;
  /// And so many more that have no place yet, for they have asked for nothing but what operators
  /// ask.
  uint32_t max_unplaced = 256;
  uint32_t max_in_flight = 4096;  // requests of one connection
  /// While more than this of the log is not applied, because a majority, the disk or the applier
  /// does not keep up, commands wait in their connections.
  uint64_t max_unapplied_bytes = 64u << 20;
  std::chrono::milliseconds hello_timeout{10000};
  std::chrono::milliseconds scan_idle_timeout{30000};  // then an open scan is closed
  std::chrono::milliseconds scan_lifetime{600'000};    // the same, however it is read
  /// What clients can make the server hold, all together, beside 64 KiB a connection: frames that
  /// come in, answers that are not read, requests in flight. Beyond it connections are not read on.
  uint64_t memory_bytes = 256u << 20;
  /// A connection on which nothing is asked for so long is closed, and after evict_after when
  /// others need its place.
  std::chrono::milliseconds idle_timeout{3'600'000};
  std::chrono::milliseconds evict_after{1000};
  std::chrono::milliseconds frame_timeout{30000};   // in which the rest of a frame has to come
  std::chrono::milliseconds unread_timeout{60000};  // in which some of what is sent has to be read
};

/// What the server works on; all outlive it.
struct ServerDependencies {
  fasterlog::Log* log = nullptr;
  statemachine::StateMachine* state_machine = nullptr;
  statemachine::Watermarks* watermarks = nullptr;
  statemachine::AnchorRegistry* anchors = nullptr;
  replication::Node* node = nullptr;
  const fasterlog::LogTime* log_time = nullptr;  // null: the wall clock
  /// What the node's last failure was; null: it is not told. Any thread.
  std::function<std::optional<NodeStatusAnswer::LastFailure>()> last_failure = nullptr;
  history::History* history = nullptr;  // null: events go with the log
  /// Without history: event files that are there from before. Any thread.
  std::function<Result<std::vector<storage::Path>>()> left_files = nullptr;
};

class Server {
 public:
  /// Binds at once (kInUse naming the address), serves from start() on.
  static Result<std::unique_ptr<Server>> create(ServerOptions options, ServerDependencies to);
  virtual ~Server() = default;
  virtual void start() = 0;
  /// Takes no new requests, answers those in flight until the deadline, then closes.
  virtual void drain_and_stop(std::chrono::milliseconds most) = 0;
  virtual int port() const = 0;
  /// The state machine's applied listener calls this. Any thread.
  virtual void on_applied(std::shared_ptr<const statemachine::AppliedBatch> batch) = 0;
  /// Role or epoch changed: pending answers of another epoch become "unknown". In the order of the
  /// changes; how late, and in which order with on_applied(), does not matter.
  virtual void on_role(const replication::NodeStatus& status) = 0;
  virtual void register_metrics(observability::MetricRegistry& registry) = 0;
};

}  // namespace tailrace::rpc
