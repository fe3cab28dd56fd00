#pragma once
// A few cores with logs in memory and a network that delivers at once and in order, so that what
// they do reads as prose. A scenario says what happens to them; the trace says what they do.
//
// Left out: what repeats itself (heartbeats and acknowledgements that say nothing new), the anchors
// of the log, and steps that come to nothing.

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/random.h"
#include "replication/protocol/core.h"
#include "tests/simulation/model_log.h"

namespace tailrace::replication {

class TraceCluster {
 public:
  /// Nodes 1 to `voters`, and learners behind them; none is up.
  explicit TraceCluster(uint32_t voters, uint32_t learners = 0);
  /// Once a cluster runs: node 1 leads in epoch 1, all have followed. Its trace is thrown away.
  static TraceCluster running(uint32_t voters, uint32_t learners = 0, NodeId upstream = {});

  // What happens. Each is a paragraph of the trace, headed by `why`.
  void start(std::vector<uint32_t> nodes, const std::string& why);
  void stop(uint32_t node, const std::string& why);
  void lose_disk(uint32_t node, const std::string& why);
  /// Both ways; the nodes notice at once.
  void cut(uint32_t a, std::vector<uint32_t> from, const std::string& why);
  void heal(const std::string& why);
  /// The coordinator's next epoch.
  void grant(uint32_t node, const std::string& why);
  void append(uint32_t leader, const std::string& why);
  /// Without the disk: the bytes are in the node's log, and go on their way when it is `flush`ed.
  void hold_flushes(uint32_t node) { at(node).holds = true; }
  void ask(uint32_t node, const Event& event, const std::string& why);
  void pass(std::chrono::milliseconds time, const std::string& why);
  /// A node that was not there before, as its configuration file would say.
  void add_node(uint32_t node);
  /// These have confirmed checkpoints of all that is committed, and drop the log below.
  void truncate(std::vector<uint32_t> nodes, const std::string& why);
  /// The newest cluster version that its program knows, from its next start on.
  void set_version(uint32_t node, uint32_t version) { at(node).version = version; }

  const CoreState& state(uint32_t node) { return at(node).core->state(); }
  const simulation::ModelLog& log(uint32_t node) { return at(node).log; }
  const std::string& trace() const { return trace_; }
  void forget_trace() { trace_.clear(); }

 private:
  struct Node {
    NodeId id;
    Promise promise;
    simulation::ModelLog log;
    Address committed = fasterlog::kFirstAddress;
    std::unique_ptr<Core> core;  // null: it is down
    uint64_t runs = 0;
    uint32_t version = kClusterVersion;
    bool holds = false;
    std::map<NodeId, std::string> last_said;  // of what repeats itself
    std::string last_state;
  };

  Node& at(uint32_t node) { return nodes_.at(node); }
  void up(Node& node);
  void connect_all();
  void unlink(NodeId a, NodeId b);
  bool linked(NodeId a, NodeId b) const { return links_.contains(std::minmax(a, b)); }
  void feed(Node& node, const Event& event);
  void perform(Node& node, const Action& action);
  void flush(Node& node);
  void install_copy(Node& node, Node& source);
  void run();  // until nothing is left to be done
  void heading(const std::string& why);
  void show(Node& node, const Event& event, const std::vector<Action>& actions);
  bool is_news(Node& node, const Action& action);

  Members members_;
  NodeId upstream_;
  std::map<uint32_t, Node> nodes_;
  std::set<std::pair<NodeId, NodeId>> links_, cuts_;
  std::deque<std::function<void()>> work_;
  std::chrono::milliseconds now_{1000};
  uint64_t epochs_ = 0;
  Random random_{1};
  std::string trace_;
};

}  // namespace tailrace::replication
