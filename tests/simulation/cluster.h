#pragma once
// A whole cluster of replication cores, with model disks, a hostile network and a coordinator that
// lies, run from one seed. Independent checkers watch what the cores do.

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/random.h"
#include "event_state.h"
#include "model_log.h"
#include "model_state.h"
#include "replication/protocol/core.h"
#include "replication/protocol/invariants.h"
#include "rpc/server/pending.h"
#include "tests/support/linearizability.h"

namespace tailrace::simulation {

using Time = std::chrono::nanoseconds;

struct ClusterOptions {
  uint32_t nodes = 3;
  uint32_t learners = 0;  // of them
  NodeId upstream;        // of the learners; 0: the leader
  /// And so many, the last ones, that are no members at first. Then members come and go.
  uint32_t spares = 0;
  int64_t change_pause_us = 300000;  // between two changes, at most
  replication::ProtocolFaults faults;
  bool fsync_lies = false;              // durable is told before it is
  bool promise_lies = false;            // a promise is called persisted, and a crash loses it
  bool retry_as_new = false;            // clients send a write again as if it were another one
  bool disks = false;                   // they are lost, come back and are put back all the time
  bool clock_stops_in_suspend = false;  // as CLOCK_MONOTONIC does
  bool upgrades = false;  // nodes begin with a version before, and are upgraded one by one
  /// Each node has a server (server_side.h), and clients of these.
  bool servers = false;
  rpc::AnswerFaults answers;
  bool names_node_epoch = false;  // a read names the node's epoch, not that of its record
  /// Clients of streams and transactions, and what a node keeps of them (event_side.h). These take
  /// the place of half of the other writes.
  bool events = false;
  EventFaults event_faults;
};

/// CoreOptions::finalize_after of all nodes.
inline constexpr Time kFinalizeAfter = std::chrono::milliseconds(100);

struct Outcome {
  std::optional<std::string> violation;  // the first broken sentence
  uint64_t acknowledged = 0;             // writes
  uint64_t reads = 0;                    // linearizable ones that were answered
  uint64_t fresh = 0;                    // times that a node knew how fresh its state is
  uint64_t leader_starts = 0, crashes = 0, truncations = 0, cuts = 0, fetches = 0, wipes = 0,
           installs = 0, transfers = 0;
  uint64_t full_disks = 0, damaged_disks = 0;
  uint64_t operations = 0, repeats = 0;  // of clients; writes that were sent again
  uint64_t bounded_reads = 0, own_reads = 0;
  uint64_t too_hard = 0;  // histories that could not be judged
  uint64_t changes = 0;   // records of the members that were committed
  uint64_t relayed = 0;   // acknowledgements of what a follower had shipped
  uint64_t returned_disks = 0, put_back = 0, replaced = 0;  // disks; votes that changed disks
  uint64_t clones = 0;                                      // that ran beside their originals
  uint64_t served_done = 0, served_unknown = 0, served_refused = 0, served_reads = 0;
  // Of clients of streams: commands that were answered, done, refused, sent again while they had no
  // answer, and long after they had one; linearizable reads, and looks at any node.
  uint64_t event_commands = 0, event_done = 0, event_refused = 0, event_repeats = 0,
           event_replays = 0, event_reads = 0, looks = 0;
  uint64_t checkpoints = 0, event_files = 0;
  bool operator==(const Outcome&) const = default;
  /// All counts of it as well.
  void add(const Outcome& other);
};

class Cluster {
 public:
  Cluster(uint64_t seed, ClusterOptions options);
  /// Faults for three simulated seconds, then none; says what was found.
  Outcome run();

 private:
  class ServerSide;
  class EventSide;
  /// What a server has told of a read.
  struct ServedRead {
    statemachine::LogPoint shown, asked;  // asked: epoch 0 if nothing was
    Address told_before;                  // linearizable: the end of what anyone was told by then
    uint64_t seen = 0;
  };
  /// What the clients of the servers know.
  struct Served {
    Random random;  // of its own: without servers every seed gives the history that it gave
    std::map<uint64_t, std::string> done;  // by session: the answer
    std::set<uint64_t> refused;
    std::vector<statemachine::LogPoint> tokens;  // ends of commands
    std::vector<ServedRead> reads;
    Address told_end;
  };
  struct Read {
    uint64_t round;
    Epoch epoch;
    Address committed;  // the leader's when it arrived
    Address needed;     // the end of what had been acknowledged to anyone by then
  };
  /// What a node keeps on a disk, and what its peers have told it durably.
  struct Disk {
    ModelLog log;
    replication::Promise promise;
    std::map<NodeId, uint64_t> met;  // starts of the others' present disks
    EventDisk events;
  };
  struct SimNode {
    NodeId id;
    uint32_t version = kClusterVersion;
    Time version_since{0};
    /// What its configuration file names: with a new disk, the members of that time.
    replication::Members file;
    uint64_t boot = 0;  // counts starts; 0 while down
    Time clock{0};      // what its clock shows beyond the true time
    // The disk.
    ModelLog log;
    replication::Promise promise;
    std::map<NodeId, uint64_t> met;  // as in Disk
    EventDisk events;
    std::optional<ModelLog> lost_log;  // what the disk before this one held
    std::optional<Disk> shelf;         // the disk before this one, as it was when it was taken out
    std::optional<Disk> copy;          // of this disk, as it once was
    uint64_t forgot = 0;               // incarnation of a disk that was put back to such a copy
    std::optional<Time> put_back_at;   // until it has caught up with what it was told then
    Epoch granted;                     // the newest
    Time full_until{0};                // the log waits for room until then
    bool damaged = false;              // found when it starts, which it then does not
    // Lost in a crash.
    std::unique_ptr<replication::Core> core;
    std::unique_ptr<replication::InvariantChecker> invariants;
    bool flushing = false;
    std::optional<Epoch> leads;  // as the last step began or ended: one step may commit and resign
    Address committed;
    std::map<NodeId, Address> anchors;
    std::vector<Read> reads;
    Time promise_written{0};
    ModelState state;
    EventMemory event_memory;
    std::shared_ptr<ServerSide> server;  // null without servers
    bool paused = false;                 // takes part in nothing; what comes waits
    bool met_others = false;             // of a clone: it had a connection
    std::vector<std::function<void()>> waiting;
  };
  /// One thing at a time. After a write that it gave up it begins a new session.
  struct ModelClient {
    struct Attempt {
      NodeId node;
      uint64_t boot = 0;
      Epoch epoch;
      Address end;  // a write's; for a read what was committed
      Time began{0};
    };
    uint64_t number = 0, values = 0;
    bool busy = false;
    ModelCommand command;
    testing::HistoryOperation operation;
    std::optional<Attempt> attempt;
    uint64_t attempts = 0, repeats = 0, round = 0;
    // What it was told last.
    std::string last_seen;
    Address last_end;
    Epoch last_epoch;
    uint64_t last_sum = 0;
  };
  struct Write {
    AddressRange range;
    NodeId node;
    uint64_t boot;
    Epoch epoch;
  };
  struct Timer {
    Time at;
    uint64_t order;
    std::function<void()> run;
    bool operator<(const Timer& other) const {
      return at != other.at ? at > other.at : order > other.order;
    }
  };
  using Pair = std::pair<uint32_t, uint32_t>;

  // cluster.cc
  /// With addresses of its own, each of one letter.
  static replication::Member member_of(NodeId id, bool voter) {
    const auto number = static_cast<char>(id.value);
    return {id, voter, std::string(1, static_cast<char>('a' + number)),
            std::string(1, static_cast<char>('A' + number))};
  }
  /// Whom the newest record in that log names; without one, those of the beginning.
  replication::Members members_in(const std::vector<Batch>& batches) const {
    return record_in(batches).members;
  }
  replication::MembersRecord record_in(const std::vector<Batch>& batches) const;
  void check_version(const SimNode& leader, const replication::MembersRecord& record);
  void meet(SimNode& node, SimNode& other);
  void connect(SimNode& a, SimNode& b, bool beside = false);
  void after(Time delay, std::function<void()> run);
  /// As after(), unless the node has crashed by then; waits while it is paused.
  void after(SimNode& node, Time delay, std::function<void()> run);
  Time between(int64_t low_us, int64_t high_us);
  void start(SimNode& node);
  /// Unless its disk is damaged: then it comes back with a new one as soon as the others can spare
  /// it.
  void bring_up(SimNode& node);
  void crash(SimNode& node);
  void tick(SimNode& node);
  void feed(SimNode& node, const replication::Event& event);
  void trace(const SimNode& node, const replication::Event& event,
             const std::vector<replication::Action>& actions) const;
  void perform(SimNode& node, const replication::Action& action);
  void ship(SimNode& node, const replication::ShipBytes& action);
  void persist(SimNode& node, const replication::Promise& promise);
  void settled(SimNode& node);
  void flush(SimNode& node);
  /// Everything that may be applied is.
  static Address applied(const SimNode& node) {
    return std::min(node.committed, node.log.durable());
  }
  SimNode& at(NodeId id) { return nodes_[id.value - 1]; }

  // network.cc
  void dial();
  void unlink(NodeId a, NodeId b);
  void late_hello(SimNode& node);
  void send(SimNode& from, NodeId to, replication::Message message);
  bool cut(NodeId a, NodeId b) const { return cuts_.contains({a.value, b.value}); }
  static Pair pair_of(NodeId a, NodeId b) {
    return {std::min(a.value, b.value), std::max(a.value, b.value)};
  }

  // faults.cc
  void coordinate();
  void grant(SimNode& node, Epoch epoch);
  void resign(Epoch epoch, NodeId successor);
  void exchange(SimNode& node, Epoch known);
  void write();
  void read();
  void disturb();
  void truncate();
  void change_members();
  std::optional<replication::MemberChange> some_change(const SimNode& leader);
  bool may_vote(const replication::Member& member) const;
  bool may_wipe(const SimNode& node) const;
  void wipe(SimNode& node);
  static Disk disk_of(const SimNode& node);
  void insert_disk(SimNode& node, Disk disk);
  bool votes_by_disk() const;
  void return_disk(SimNode& node);
  bool will_be_noticed(const SimNode& node, const Disk& copy);
  void put_back(SimNode& node);
  void copy_disk(SimNode& node);
  void lose_power(SimNode& some);
  void lose_sight_of_the_longest(const SimNode& node);
  /// `end`: where its log ended when it was refused.
  void install_checkpoint(SimNode& node, SimNode& source, Address end);

  // clones.cc
  /// Of the bodies of a number the one that has its connection with `seen_by`.
  SimNode& body(NodeId of, NodeId seen_by);
  bool has_link(const SimNode& node, NodeId peer);
  void begin_clone(SimNode& node);
  void end_clone(SimNode& clone);
  bool is_calm();
  void meet_clone(SimNode& clone);
  void take_link(SimNode& node, SimNode& peer);
  bool is_owing();

  // clients.cc
  void start_clients();
  void new_session(ModelClient& client);
  void client_pause(ModelClient& client);
  void client_next(ModelClient& client);
  SimNode* any_serving();
  bool still_leads(const ModelClient::Attempt& attempt);
  static const ModelState& state_of(SimNode& node);
  void client_write(ModelClient& client);
  void client_attempt(ModelClient& client, SimNode& node);
  void client_written(ModelClient& client, SimNode& node);
  static void client_saw(ModelClient& client, const std::optional<std::string>& value);
  void client_done(ModelClient& client);
  void client_read(ModelClient& client);
  void client_await_read(ModelClient& client);
  void read_bounded();
  void read_own(const ModelClient& client);
  void judge_clients();

  // server_side.cc
  void request();
  void told_done(uint64_t session, Epoch epoch, AddressRange range, const std::string& answer);
  void told_read(const ServedRead& read);
  void judge_served();

  // checkers.cc
  void violate(const std::string& what);
  void check_committed(SimNode& node, Address address);
  void check_leads(const SimNode& node);
  void check_change(const replication::Members& before, const replication::Members& now);
  void check_acknowledge(const SimNode& node, const replication::Acknowledge& message);
  void check_sealed(const SimNode& node, const replication::Sealed& message);
  void check_obeys(const SimNode& node, const replication::Event& event,
                   const std::vector<replication::Action>& actions);
  void check_fresh(const SimNode& node);
  void check_read(const SimNode& node, const Read& read);
  void check_end();
  std::string describe() const;

  const ClusterOptions options_;
  Random random_;
  Served served_;
  std::shared_ptr<EventSide> events_;  // null without events
  const bool trace_;
  Time now_{0};
  uint64_t orders_ = 0;
  uint64_t boots_ = 0, disks_ = 1;
  std::priority_queue<Timer> timers_;
  std::vector<SimNode> nodes_;
  std::vector<std::unique_ptr<SimNode>> clones_;  // the last one may run
  std::map<Pair, SimNode*> by_clone_;             // links that a clone has
  replication::Members first_members_;
  std::vector<Write> pending_;  // writes that were not answered yet
  std::vector<AddressRange> acknowledged_;
  Address acknowledged_end_;
  std::vector<std::pair<Time, Address>> acknowledged_by_;  // when, and the greatest end by then
  Time last_acknowledged_{0};
  std::vector<Batch> golden_;                // what was ever committed
  std::optional<ClusterIdentity> identity_;  // that any disk has kept
  std::vector<Epoch> committed_in_;          // of each, ascending
  std::map<uint64_t, uint32_t> committers_;  // epoch to the node that committed in it
  std::map<uint64_t, uint64_t> writers_;     // epoch to the boot that wrote in it
  std::vector<ModelClient> clients_;
  uint64_t sessions_ = 0;
  std::vector<testing::HistoryOperation> history_;
  std::vector<std::pair<Time, uint64_t>> sums_;  // when a sum was told, and the greatest by then
  std::set<Pair> links_;
  std::set<Pair> cuts_;            // one direction
  std::map<Pair, Time> arrivals_;  // of the last message in order
  // The coordinator.
  uint64_t revision_ = 0;
  NodeId holder_, successor_;
  uint64_t holder_boot_ = 0;
  Epoch held_;
  Time lease_end_{0};
  bool faults_ = true;
  Outcome outcome_;
};

}  // namespace tailrace::simulation
