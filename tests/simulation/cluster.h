#pragma once
// A whole cluster of replication cores, with model disks and a hostile network, run from one seed.
// Independent checkers watch what the cores do; none of them reads the cores' own bookkeeping.

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <vector>

#include "core/random.h"
#include "model_log.h"
#include "replication/core.h"
#include "replication/invariants.h"

namespace tailrace::simulation {

using Time = std::chrono::nanoseconds;

struct ClusterOptions {
  uint32_t nodes = 3;
  uint32_t learners = 0;  // of them
  replication::ProtocolFaults faults;
  bool ship_not_durable = false;  // the leader's driver reads beyond its durable end
  bool fsync_lies = false;        // durable is told before it is
};

struct Outcome {
  std::optional<std::string> violation;  // the first broken sentence
  uint64_t acknowledged = 0;             // writes
  uint64_t leader_starts = 0, crashes = 0, truncations = 0;
};

class Cluster {
 public:
  Cluster(uint64_t seed, ClusterOptions options);
  /// Faults for three simulated seconds, then none; says what was found.
  Outcome run();

 private:
  struct SimNode {
    NodeId id;
    bool voter = true;
    uint64_t boot = 0;  // counts starts; 0 while down
    // The disk.
    ModelLog log;
    replication::Promise promise;
    // Lost in a crash.
    std::unique_ptr<replication::Core> core;
    std::unique_ptr<replication::InvariantChecker> invariants;
    bool dialing = false, linked = false, flushing = false;
    Address committed;
    std::map<NodeId, Address> anchors;
  };
  struct Write {
    AddressRange range;
    uint64_t leader_boot;
  };
  struct Timer {
    Time at;
    uint64_t order;
    std::function<void()> run;
    bool operator<(const Timer& other) const {
      return at != other.at ? at > other.at : order > other.order;
    }
  };

  void after(Time delay, std::function<void()> run);
  /// As after(), unless the node has crashed by then.
  void after(SimNode& node, Time delay, std::function<void()> run);
  Time between(int64_t low_us, int64_t high_us);
  void start(SimNode& node);
  void crash(SimNode& node);
  void tick(SimNode& node);
  void dial(SimNode& node);
  void unlink(SimNode& node, bool tell_leader);
  void send(SimNode& from, NodeId to, replication::Message message);
  void feed(SimNode& node, const replication::Event& event);
  void perform(SimNode& node, const replication::Action& action);
  void flush(SimNode& node);
  void write();
  void disturb();
  void truncate(SimNode& node);
  bool cut(NodeId a, NodeId b) const;
  SimNode& leader() { return nodes_[0]; }
  SimNode* find(NodeId id);

  // Checkers.
  void violate(const std::string& what);
  void check_committed(SimNode& node, Address address);
  void check_acknowledge(const SimNode& node, const replication::Acknowledge& message);
  void check_obeys(const SimNode& node, const replication::Event& event,
                   const std::vector<replication::Action>& actions);
  void check_end();

  const ClusterOptions options_;
  Random random_;
  Time now_{0};
  uint64_t orders_ = 0;
  uint64_t boots_ = 0;
  std::priority_queue<Timer> timers_;
  std::vector<SimNode> nodes_;
  std::vector<Write> pending_;  // writes that were not answered yet
  std::vector<AddressRange> acknowledged_;
  std::vector<Batch> golden_;  // what was ever committed
  std::set<std::pair<uint32_t, uint32_t>> cuts_;
  std::map<std::pair<uint32_t, uint32_t>, Time> arrivals_;  // of the last message in order
  bool faults_ = true;
  Outcome outcome_;
};

}  // namespace tailrace::simulation
