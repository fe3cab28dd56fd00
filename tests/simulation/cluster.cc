#include "cluster.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include <fmt/core.h>

#include "event_side.h"
#include "replication/protocol/describe.h"
#include "server_side.h"

namespace tailrace::simulation {

using namespace replication;

namespace {
constexpr Time kTick = std::chrono::milliseconds(10);
constexpr Time kFaultsEnd = std::chrono::seconds(3);
constexpr Time kEnd = std::chrono::seconds(6);
}  // namespace

Cluster::Cluster(uint64_t seed, ClusterOptions options)
    : options_(options),
      random_(seed),
      served_{Random(seed + 1'000'000'007), {}, {}, {}, {}, {}},
      trace_(std::getenv("TAILRACE_TRACE") != nullptr) {
  const uint32_t members = options_.nodes + options_.learners;
  nodes_.resize(members + options_.spares);
  for (uint32_t i = 0; i < nodes_.size(); ++i) {
    nodes_[i].id = NodeId{i + 1};
    if (i < members) first_members_.push_back(member_of(NodeId{i + 1}, i < options_.nodes));
    nodes_[i].promise.incarnation = i + 100;
    if (options_.upgrades) nodes_[i].version = 1;
    nodes_[i].promise.starts = nodes_[i].version == 1 ? 0 : 1;
    nodes_[i].clock = between(1, 1000000000);
  }
  for (SimNode& node : nodes_)
    node.file = first_members_;
  if (options_.events) events_ = std::make_shared<EventSide>(*this, seed + 2'000'000'011);
}

Outcome Cluster::run() {
  for (SimNode& node : nodes_)
    start(node);
  dial();
  coordinate();
  write();
  read();
  start_clients();
  if (options_.servers) request();
  if (events_) events_->start();
  disturb();
  if (options_.spares > 0) change_members();
  after(kFaultsEnd, [this] {
    faults_ = false;
    cuts_.clear();
    if (!clones_.empty() && clones_.back()->boot != 0) end_clone(*clones_.back());
    for (SimNode& node : nodes_) {
      node.damaged = false;  // what had to wait for the others was read in the end
      if (node.boot == 0) start(node);
      node.paused = false;
      for (auto& run : std::exchange(node.waiting, {}))
        after(node, Time{0}, std::move(run));
    }
  });
  while (!timers_.empty() && timers_.top().at <= kEnd && !outcome_.violation) {
    const Timer next = timers_.top();
    timers_.pop();
    now_ = next.at;
    next.run();
  }
  if (!outcome_.violation) check_end();
  if (!outcome_.violation) judge_clients();
  if (!outcome_.violation) judge_served();
  if (events_ && !outcome_.violation) events_->judge();
  outcome_.served_refused = served_.refused.size();
  outcome_.acknowledged = acknowledged_.size();
  return outcome_;
}

MembersRecord Cluster::record_in(const std::vector<Batch>& batches) const {
  const auto newest = std::find_if(batches.rbegin(), batches.rend(),
                                   [](const Batch& batch) { return batch.configuration; });
  return newest == batches.rend() ? MembersRecord{first_members_, 1} : members_of(*newest);
}

void Cluster::after(Time delay, std::function<void()> run) {
  timers_.push({now_ + delay, ++orders_, std::move(run)});
}

void Cluster::after(SimNode& node, Time delay, std::function<void()> run) {
  after(delay, [&node, boot = node.boot, run = std::move(run)]() mutable {
    if (node.boot != boot) return;
    if (node.paused)
      node.waiting.push_back(std::move(run));
    else
      run();
  });
}

Time Cluster::between(int64_t low_us, int64_t high_us) {
  return std::chrono::microseconds(
      random_.between(static_cast<uint64_t>(low_us), static_cast<uint64_t>(high_us)));
}

// ---- Nodes. ------------------------------------------------------------------------------------

void Cluster::start(SimNode& node) {
  node.boot = ++boots_;
  // Up to the newest, or only some of the way.
  if (random_.chance(1, 2) || !faults_) {
    const uint32_t before = node.version;
    node.version = faults_ && boots_ % 2 == 0 ? std::max(node.version, 2u) : kClusterVersion;
    if (node.version != before) node.version_since = now_;
  }
  if (node.promise.starts != 0) ++node.promise.starts;
  CoreOptions options;
  options.self = node.id;
  options.members = node.file;
  const Member* self = find_member(node.file, node.id);
  if (self == nullptr) options.members.push_back(member_of(node.id, false));
  if (self == nullptr || !self->voter) options.upstream = options_.upstream;
  options.heartbeat_interval = std::chrono::milliseconds(40);
  options.peer_timeout = std::chrono::milliseconds(200);
  options.give_up_after = std::chrono::milliseconds(400);
  options.transfer_timeout = std::chrono::milliseconds(150);
  options.hearing_time = std::chrono::milliseconds(100);
  options.finalize_after = kFinalizeAfter;
  options.most_cluster_version = node.version;  // as an older program would
  options.window_bytes = 8192;
  options.batch_bytes = 2048;
  options.faults = options_.faults;
  options.check_invariants = false;  // told as a violation instead
  node.core = std::make_unique<Core>(options);
  node.invariants = std::make_unique<InvariantChecker>();
  // A checkpoint remembers what was applied before begin.
  node.committed = std::max(node.log.begin, node.events.checkpointed());
  EventSide::restore(node);
  if (options_.servers) node.server = std::make_shared<ServerSide>(*this, node);
  feed(node, Started{node.log.position(), node.promise, node.committed, now_ + node.clock,
                     node.boot, ClusterIdentity{node.id.value, node.boot}});
  tick(node);
  // As a coordinator that goes by this node's disk alone, or repeats itself.
  if (faults_ && random_.chance(1, 8)) grant(node, Epoch{node.promise.epoch.value + 1});
  if (faults_ && random_.chance(1, 4)) grant(node, node.granted);
}

void Cluster::bring_up(SimNode& node) {
  if (node.damaged && !may_wipe(node)) return;
  if (std::exchange(node.damaged, false)) wipe(node);
  start(node);
}

void Cluster::crash(SimNode& node) {
  if (node.boot == 0) return;
  ++outcome_.crashes;
  late_hello(node);
  node.boot = 0;
  node.core.reset();
  node.server.reset();
  node.log.crash();
  node.flushing = node.paused = false;
  node.waiting.clear();
  node.anchors.clear();
  node.reads.clear();
  node.promise_written = Time{0};
  node.state = ModelState{};
  node.event_memory = EventMemory{};
  for (SimNode& other : nodes_)
    if (other.id != node.id && &body(node.id, other.id) == &node) unlink(node.id, other.id);
}

void Cluster::tick(SimNode& node) {
  after(node, kTick, [this, &node] {
    feed(node, Tick{now_ + node.clock, applied(node)});
    check_fresh(node);
    if (node.server) node.server->tick();
    tick(node);
  });
}

void Cluster::feed(SimNode& node, const Event& event) {
  if (node.boot == 0 || outcome_.violation) return;
  std::vector<Action> actions;
  const uint64_t fetches = node.core->state().following.source.value;
  const Role before = node.core->state().role;
  node.leads.reset();
  if (before == Role::kLeader) node.leads = node.core->state().epoch;
  node.core->step(event, actions);
  const CoreState& state = node.core->state();
  if (state.role == Role::kLeader) node.leads = state.epoch;
  if (state.role == Role::kCandidate && fetches == 0 && state.following.source.value != 0)
    ++outcome_.fetches;
  if (state.role == Role::kLeader && before != Role::kLeader) {
    ++outcome_.leader_starts;
    check_leads(node);
  }
  if (trace_) trace(node, event, actions);
  check_obeys(node, event, actions);
  if (options_.faults == ProtocolFaults{})
    if (std::optional<std::string> broken = node.invariants->check(*node.core))
      violate("invariant: " + *broken);
  for (const Action& action : actions) {
    perform(node, action);
    if (node.boot == 0) return;
  }
}

/// With TAILRACE_TRACE=1: what each step was told, what came of it, and how the node stands.
void Cluster::trace(const SimNode& node, const Event& event,
                    const std::vector<Action>& actions) const {
  if (std::holds_alternative<Tick>(event) && actions.empty()) return;
  const CoreState& state = node.core->state();
  fmt::print("{:8} node {} {}\n", now_.count() / 1000, node.id.value, replication::describe(event));
  for (const Action& action : actions)
    if (!std::holds_alternative<StateChanged>(action))
      fmt::print("             {}\n", replication::describe(action));
  std::string owed;
  for (const auto& [teller, one] : state.owed)
    owed += fmt::format(" owes {}:{}/{}{}", teller.value, one.last_epoch.value, one.end.value,
                        one.gone_since ? " gone" : "");
  fmt::print(
      "             = {} epoch {} promise {}/{}{} vote {} source {}{} log {}..{}..{} last {}{}\n",
      name_of(state.role), state.epoch.value, state.promise.epoch.value, state.promise.leader.value,
      state.persisted == state.promise ? "" : " (not on disk)",
      static_cast<int>(state.promise.vote), state.following.source.value,
      state.following.streaming ? " streaming" : "", node.log.begin.value, node.log.durable().value,
      node.log.tail().value, state.log.last_epoch.value, owed);
}

void Cluster::perform(SimNode& node, const Action& action) {
  if (node.server) node.server->observe(action);
  if (const auto* promise = std::get_if<PersistPromise>(&action)) {
    persist(node, promise->promise);
  } else if (const auto* writer = std::get_if<BecomeWriter>(&action)) {
    if (node.promise.epoch < writer->epoch && !options_.promise_lies)
      violate("a leader writes in an epoch not on its disk");
    for (const Batch& batch : node.log.batches())
      if (batch.epoch >= writer->epoch) violate("a leader reuses an epoch");
    if (writers_.emplace(writer->epoch.value, node.boot).first->second != node.boot)
      violate("two lives write in one epoch");
    const AddressRange record = node.log.append(writer->epoch, 12, random_);
    flush(node);
    feed(node, WriterReady{record, node.log.position()});
  } else if (const auto* members = std::get_if<AppendMembers>(&action)) {
    check_version(node, members->record);
    (void)node.log.append_members(node.core->state().epoch, members->record);
    flush(node);
    feed(node, MembersAppended{node.log.position()});
  } else if (std::holds_alternative<BecomeCopy>(action)) {
    // Waits for the disk, as the log's own call does.
    node.log.durable_batches = node.log.batches().size();
    settled(node);
  } else if (std::holds_alternative<DropAppends>(action)) {
    settled(node);
  } else if (const auto* cut_log = std::get_if<CutLog>(&action)) {
    ++outcome_.cuts;
    if (cut_log->to < std::min(node.committed, node.log.durable()))
      violate("what was committed is cut off");
    node.log.cut(cut_log->to);
    settled(node);
  } else if (const auto* disconnect = std::get_if<Disconnect>(&action)) {
    if (has_link(node, disconnect->peer)) unlink(node.id, disconnect->peer);
    after(node, Time{0}, [this, &node, peer = disconnect->peer] {
      if (!has_link(node, peer)) feed(node, PeerDisconnected{peer});
    });
  } else if (const auto* fetch = std::get_if<FetchCheckpoint>(&action)) {
    after(node, between(5000, 50000), [this, &node, from = fetch->from, end = node.log.tail()] {
      install_checkpoint(node, at(from), end);
    });
  } else if (const auto* message = std::get_if<Send>(&action)) {
    if (const auto* acknowledge = std::get_if<Acknowledge>(&message->message))
      check_acknowledge(node, *acknowledge);
    if (const auto* sealed = std::get_if<Sealed>(&message->message)) check_sealed(node, *sealed);
    send(node, message->peer, message->message);
  } else if (const auto* to_ship = std::get_if<ShipBytes>(&action)) {
    ship(node, *to_ship);
  } else if (const auto* append = std::get_if<AppendRaw>(&action)) {
    if (!node.log.append_raw(append->at, ByteSpan(*append->bytes).subspan(append->skip)))
      violate("a follower's log refuses what the leader shipped");
    flush(node);
  } else if (const auto* committed = std::get_if<AdvanceCommitted>(&action)) {
    check_committed(node, committed->committed);
  } else if (const auto* anchor = std::get_if<SetAnchor>(&action)) {
    node.anchors[anchor->peer] = anchor->address;
  } else if (const auto* gone = std::get_if<RemoveAnchor>(&action)) {
    node.anchors.erase(gone->peer);
  } else if (const auto* resigned = std::get_if<Resign>(&action)) {
    resign(resigned->epoch, resigned->successor);
  } else if (const auto* confirmed = std::get_if<Confirmed>(&action)) {
    std::erase_if(node.reads, [&](const Read& one) {
      if (one.round > confirmed->round) return false;
      check_read(node, one);
      return true;
    });
  } else if (const auto* fatal = std::get_if<Fatal>(&action)) {
    violate("fatal: " + fatal->message);
  }
}

void Cluster::ship(SimNode& node, const ShipBytes& action) {
  if (action.from < node.log.begin) {
    after(node, Time{0}, [this, &node, peer = action.peer] {
      feed(node, ShipFailed{peer, true, "truncated"});
    });
    return;
  }
  const Address limit = action.flushing ? node.log.flushing() : node.log.durable();
  auto bytes = std::make_shared<std::vector<std::byte>>(
      node.log.read(action.from, action.most_bytes, limit));
  const Address end = action.from + bytes->size();
  if (!bytes->empty())
    send(node, action.peer,
         Data{action.epoch, action.from, bytes, action.committed, limit, 0, action.round,
              action.echo, action.age, action.keep_from});
  after(node, Time{0}, [this, &node, peer = action.peer, from = action.from, end, limit] {
    feed(node, Shipped{peer, from, end, limit});
  });
}

/// In the order in which they were asked for.
void Cluster::persist(SimNode& node, const Promise& promise) {
  if (promise.incarnation != node.promise.incarnation && node.promise.incarnation != node.forgot &&
      clones_.empty())
    violate("a disk becomes another one that was neither put back nor there twice");
  if (promise.identity.known() && identity_.value_or(promise.identity) != promise.identity)
    violate("two nodes of one cluster keep different identities");
  if (promise.identity.known()) identity_ = promise.identity;
  exchange(node, promise.epoch);
  // A full disk has room for it: that is kept beforehand.
  node.promise_written = std::max(node.promise_written, now_ + between(0, faults_ ? 8000 : 500));
  if (options_.promise_lies) {
    after(node, Time{0}, [this, &node, promise] { feed(node, PromisePersisted{promise}); });
    after(node, 20 * (node.promise_written - now_), [&node, promise] { node.promise = promise; });
    return;
  }
  after(node, node.promise_written - now_, [this, &node, promise] {
    node.promise = promise;
    feed(node, PromisePersisted{promise});
  });
}

void Cluster::settled(SimNode& node) {
  after(node, between(0, 200), [this, &node] { feed(node, LogSettled{node.log.position()}); });
}

/// Group commit: what is there when the flush begins is durable when it ends, and may be shipped
/// meanwhile.
void Cluster::flush(SimNode& node) {
  if (options_.fsync_lies && node.core->state().role != Role::kLeader) {
    LogPosition told = node.log.position();
    told.durable = node.log.tail();
    told.last_epoch = node.log.batches().back().epoch;
    after(node, between(0, 100), [this, &node, told] {
      feed(node, LogMoved{told, applied(node)});
    });
  }
  if (node.flushing) return;
  node.flushing = true;
  if (faults_ && now_ < node.full_until) {
    ++outcome_.full_disks;
    after(node, node.full_until - now_, [this, &node] {
      node.flushing = false;
      flush(node);
    });
    return;
  }
  node.log.flush_end = node.log.tail();
  if (node.core->state().role == Role::kLeader)
    after(node, between(0, 100), [this, &node] {
      feed(node, LogMoved{node.log.position(), applied(node)});
    });
  after(node, between(100, faults_ ? 6000 : 500), [this, &node, upto = node.log.tail()] {
    node.log.make_durable(upto);
    node.flushing = false;
    if (node.log.durable() < node.log.tail()) flush(node);
    if (!options_.fsync_lies || node.core->state().role == Role::kLeader)
      feed(node, LogMoved{node.log.position(), applied(node)});
  });
}

}  // namespace tailrace::simulation
