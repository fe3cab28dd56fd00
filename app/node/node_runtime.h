#pragma once
// The composition root: one node's modules, opened in order, wired together, and stopped in order.
//
//     start                                   stop
//     data directory locked                   readyz says "stopping"
//     /metrics, /healthz, /readyz             no new requests, pending ones answered
//     peer port bound, client port free       replication stops, peer connections close
//     promise read: whose directory it is     applier and checkpointer stop
//     the last failure told
//     a copied state installed
//     store recovered                         log flushed, made durable and proven, closed
//     log recovered, state machine            everything destroyed
//     client port bound
//     replication starts: anchors are set
//     history is kept: its anchor is set
//     applier and checkpointer start
//     clients are served
//
// The log comes last of the three because only its recovery changes what is on disk: a directory
// that is another node's, damaged or of a newer format is refused before that.

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "app/node/failure_keeper.h"
#include "app/node/node_metrics.h"
#include "config/node_config.h"
#include "core/mutex.h"
#include "core/result.h"
#include "fasterlog/log.h"
#include "fasterlog/time/log_time.h"
#include "history/history.h"
#include "history/scavenge/scavenger.h"
#include "http/monitoring.h"
#include "kv/store.h"
#include "observability/metrics.h"
#include "replication/node.h"
#include "rpc/history/fetcher.h"
#include "rpc/peer/transport.h"
#include "rpc/server/server.h"
#include "statemachine/anchors.h"
#include "statemachine/state_machine.h"
#include "statemachine/watermarks.h"
#include "storage/file_system.h"

namespace tailrace::app {

class NodeRuntime {
 public:
  /// `on_failure` is called on any thread, once, when the node cannot go on: a failed write or
  /// fsync, or bytes that contradict what was committed.
  /// `on_restart`, on any thread: stop it and make another one, which goes on with what has come
  /// meanwhile.
  NodeRuntime(config::NodeConfig config, std::function<void(const Error&)> on_failure,
              std::function<void()> on_restart = nullptr);
  ~NodeRuntime();

  /// Everything of the table above. After an error the object can only be destroyed.
  Result<> start();
  /// Answers what is in flight until `drain` has passed; then the table above.
  Result<> stop(std::chrono::milliseconds drain);

  int client_port() const { return server_->port(); }
  int metrics_port() const { return monitoring_->port(); }

 private:
  /// Open files, io_uring: what this process may use.
  Result<> look_at_system();
  Result<> check_promise();
  Result<> install_copy();
  Result<> forget_outcomes();
  /// Of a time when history was kept.
  Result<std::vector<storage::Path>> left_event_files() const;
  Result<> open_log();
  Result<> open_store();
  Result<> open_history(statemachine::OutcomeLog& outcomes);
  void start_fetcher();
  Result<> start_replication();
  /// On the transport's thread, where the log's flushes are from now on if the system lets them.
  Result<> host_flushes();
  void hand_over();
  /// The leader moves the log time when a key expires and nobody writes.
  void keep_log_time();
  /// Once; the node goes on.
  void keep_store_failure();
  std::optional<rpc::NodeStatusAnswer::LastFailure> last_failure() const;
  /// Whatever is done now and then. The transport's thread.
  void tick();
  void on_role(const replication::NodeStatus& status);
  void fail(const Error& error);
  void set_stage(std::string stage);
  /// In the log and /readyz, every other second. The starting thread.
  void tell_progress(std::string_view what, double fraction);
  http::Health healthz() const;
  http::Health readyz() const;
  bool majority_connected(const replication::NodeStatus& status) const;
  std::optional<Error> first_failure() const;

  config::NodeConfig config_;
  const std::function<void(const Error&)> on_failure_;
  const std::function<void()> on_restart_;
  storage::FileSystem& file_system_;

  mutable Mutex stage_mutex_;
  std::string stage_ TAILRACE_GUARDED_BY(stage_mutex_) = "starting";  // empty once everything runs
  SteadyTime progress_told_ = system_clock().now();                   // the starting thread's
  // Set when all the modules below exist; monitoring's thread looks at them only then.
  std::atomic<bool> composed_{false};
  std::atomic<bool> failed_{false};
  bool store_failed_ = false;  // of the transport's thread

  // In the order of creation: what comes later uses what came before.
  std::unique_ptr<storage::DirectoryLock> lock_;
  observability::MetricRegistry metrics_;
  NodeMetrics node_metrics_;
  FailureKeeper failures_;
  std::unique_ptr<rpc::PeerTransport> transport_;
  std::shared_ptr<fasterlog::LogTime> log_time_;
  std::unique_ptr<fasterlog::Log> log_;
  std::unique_ptr<kv::Store> store_;
  std::unique_ptr<statemachine::Watermarks> watermarks_;
  statemachine::AnchorRegistry anchors_;
  SteadyTime time_appended_;  // of the transport's thread
  std::unique_ptr<statemachine::StateMachine> state_machine_;
  std::unique_ptr<history::History> history_;      // null: nothing is kept
  std::unique_ptr<history::Scavenger> scavenger_;  // with history only
  std::shared_ptr<void> flush_host_;               // of the log; null: its own thread
  std::unique_ptr<replication::Node> node_;
  std::unique_ptr<rpc::Server> server_;
  std::unique_ptr<rpc::HistoryFetcher> fetcher_;  // with history only
  std::unique_ptr<http::Monitoring> monitoring_;  // last: its thread reads all the others
  bool replicating_ = false;
};

}  // namespace tailrace::app
