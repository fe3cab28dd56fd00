#include "replication/core.h"

#include <utility>

#include "core/check.h"
#include "replication/invariants.h"

namespace tailrace::replication {

std::string_view name_of(Role role) {
  switch (role) {
    case Role::kStarting:
      return "starting";
    case Role::kLeader:
      return "leader";
    case Role::kFollower:
      return "follower";
    case Role::kLearner:
      return "learner";
    case Role::kStopped:
      return "stopped";
  }
  return "unknown";
}

std::string_view name_of(RefusalReason reason) {
  switch (reason) {
    case RefusalReason::kNotLeader:
      return "not_leader";
    case RefusalReason::kStaleEpoch:
      return "stale_epoch";
    case RefusalReason::kNeedsCheckpoint:
      return "needs_checkpoint";
    case RefusalReason::kLogDiverges:
      return "log_diverges";
    case RefusalReason::kUnknownNode:
      return "unknown_node";
  }
  return "unknown";
}

Epoch epoch_before(const std::vector<fasterlog::EpochStart>& table, Address end) {
  Epoch epoch;
  for (const fasterlog::EpochStart& entry : table)
    if (entry.start < end) epoch = entry.epoch;
  return epoch;
}

Core::Core(CoreOptions options) : options_(std::move(options)) {
  if (options_.check_invariants) checker_ = std::make_unique<InvariantChecker>();
}

Core::~Core() = default;

void Core::step(const Event& event, std::vector<Action>& actions) {
  std::visit([&](const auto& it) { on(it, actions); }, event);
  if (checker_) {
    std::optional<std::string> broken = checker_->check(*this);
    TAILRACE_CHECK(!broken, *broken);
  }
}

void Core::on(const Started& event, Actions&) {
  state_.log = event.log;
  state_.epochs = event.epochs;
  state_.promise = state_.persisted = event.promise;
  // The log may be ahead of the promise file: its records were taken just before a crash.
  if (state_.promise.epoch < event.log.last_epoch)
    state_.promise = Promise{event.log.last_epoch, NodeId{}, event.promise.incarnation};
  state_.received = event.log.durable;
  state_.now = event.now;
}

void Core::on(const Granted& event, Actions& actions) {
  if (state_.role != Role::kStarting) return;  // changing leaders needs fail-over, not built yet
  state_.leader = event.leader;
  if (event.leader == options_.self)
    leader_begin(event.epoch, actions);
  else
    follower_begin(actions);
}

void Core::on(const Tick& event, Actions& actions) {
  state_.now = event.now;
  state_.applied = event.applied;
  if (state_.role == Role::kLeader)
    leader_tick(actions);
  else if (follows())
    follower_tick(actions);
}

void Core::on(const PeerConnected& event, Actions& actions) {
  if (follows() && event.peer == state_.leader) {
    state_.connected = true;
    state_.last_heard = state_.now;
    follower_subscribe(actions);
  } else if (auto it = state_.followers.find(event.peer); it != state_.followers.end()) {
    it->second.connected = true;
    it->second.streaming = false;  // until it subscribes on this connection
    it->second.last_heard = state_.now;
  }
}

void Core::on(const PeerDisconnected& event, Actions&) {
  if (follows() && event.peer == state_.leader) {
    state_.connected = false;
    state_.streaming = false;
  } else {
    leader_lost(event.peer);
  }
}

void Core::on(const Received& event, Actions& actions) {
  const NodeId peer = event.peer;
  if (const auto* subscribe = std::get_if<Subscribe>(&event.message)) {
    leader_subscribe(peer, *subscribe, actions);
  } else if (const auto* acknowledge = std::get_if<Acknowledge>(&event.message)) {
    leader_acknowledge(peer, *acknowledge, actions);
  } else if (const auto* refused = std::get_if<Refuse>(&event.message)) {
    ++state_.refusals_received;
    if (state_.role == Role::kLeader) {
      if (refused->epoch > state_.epoch) leader_step_down(refused->epoch, peer, actions);
    } else {
      follower_refused(peer, *refused, actions);
    }
  } else if (const auto* accept = std::get_if<Accept>(&event.message)) {
    follower_accept(peer, *accept, actions);
  } else if (const auto* data = std::get_if<Data>(&event.message)) {
    follower_data(peer, *data, actions);
  }
}

void Core::on(const PromisePersisted& event, Actions& actions) {
  if (event.promise.epoch >= state_.persisted.epoch) state_.persisted = event.promise;
  if (state_.role == Role::kStarting && state_.leader == options_.self) {
    if (state_.persisted.epoch == state_.epoch) actions.push_back(BecomeWriter{state_.epoch});
  } else if (follows() && state_.streaming && state_.persisted == state_.promise) {
    follower_acknowledge(actions);  // what was held back until now
  }
}

void Core::on(const LogMoved& event, Actions& actions) {
  const bool durable_moved = event.log.durable > state_.log.durable;
  state_.log = event.log;
  state_.applied = event.applied;
  if (state_.received < event.log.durable) state_.received = event.log.durable;
  if (!durable_moved) return;
  if (state_.role == Role::kLeader) {
    leader_ship_all(actions);
    leader_count(actions);
  } else if (follows() && state_.streaming) {
    follower_acknowledge(actions);
  }
}

void Core::refuse(NodeId peer, RefusalReason reason, std::string message, Actions& actions) {
  ++state_.refusals_sent;
  const Epoch known = state_.epoch > state_.promise.epoch ? state_.epoch : state_.promise.epoch;
  actions.push_back(Send{peer, Refuse{reason, known, std::move(message)}});
}

void Core::promise(Epoch epoch, NodeId leader, Actions& actions) {
  state_.promise = Promise{epoch, leader, state_.promise.incarnation};
  actions.push_back(PersistPromise{state_.promise});
}

void Core::advance_committed(Address address, Actions& actions) {
  if (address <= state_.committed) return;
  state_.committed = address;
  actions.push_back(AdvanceCommitted{address});
}

void Core::set_problem(std::string problem, Actions& actions) {
  if (state_.problem == problem) return;
  state_.problem = std::move(problem);
  actions.push_back(StateChanged{});
}

}  // namespace tailrace::replication
