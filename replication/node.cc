#include "replication/node.h"

#include <algorithm>
#include <set>
#include <utility>

#include "core/random.h"
#include "observability/logging.h"
#include "replication/driver.h"
#include "replication/static_coordinator.h"

namespace tailrace::replication {

namespace {

CoreOptions core_options(const NodeOptions& options, bool others_may_lead) {
  CoreOptions result;
  if (others_may_lead) result.give_up_after = options.give_up_after;
  result.transfer_timeout = options.transfer_timeout;
  result.finalize_after = options.finalize_after;
  result.most_cluster_version = options.most_cluster_version;
  result.self = options.self;
  result.members = options.members;
  result.upstream = find_member(options.members, options.self)->upstream;
  result.heartbeat_interval = options.heartbeat_interval;
  result.peer_timeout = options.peer_timeout;
  result.window_bytes = options.window_bytes;
  result.batch_bytes = options.batch_bytes;
  result.follower_pin_bytes = options.follower_pin_bytes;
  return result;
}

// A hand-over holds the protocol's thread up for so long at most, once an acknowledgement.
constexpr std::chrono::milliseconds kApplierPatience{10};

ComparisonOptions comparison_options(const NodeOptions& options) {
  ComparisonOptions result;
  result.self = options.self;
  result.interval = options.digest_interval;
  return result;
}

}  // namespace

Result<std::unique_ptr<Node>> Node::create(
    storage::FileSystem& file_system, NodeOptions options, fasterlog::Log& log,
    statemachine::StateMachine& state_machine, statemachine::Watermarks& watermarks,
    statemachine::AnchorRegistry& anchors, Executor& executor, Transport& transport,
    std::unique_ptr<Coordinator> coordinator, const Clock& clock) {
  std::set<NodeId> seen;
  const Member* self = nullptr;
  const Member* leader = nullptr;
  for (const Member& member : options.members) {
    if (member.id == NodeId{})
      return make_error(ErrorCode::kInvalidArgument, "members: 0 is no node's id");
    if (!seen.insert(member.id).second)
      return make_error(ErrorCode::kInvalidArgument,
                        "members: node " + std::to_string(member.id.value) + " stands there twice");
    if (member.id == options.self) self = &member;
    if (member.id == options.leader) leader = &member;
  }
  if (self == nullptr)
    return make_error(
        ErrorCode::kInvalidArgument,
        "members: this node, " + std::to_string(options.self.value) + ", is not among them");
  if (!coordinator && (leader == nullptr || !leader->voter))
    return make_error(
        ErrorCode::kInvalidArgument,
        "leader: node " + std::to_string(options.leader.value) + " is no voter among the members");
  if (options.window_bytes == 0 || options.batch_bytes == 0)
    return make_error(ErrorCode::kInvalidArgument, "window_bytes and batch_bytes must be above 0");
  return std::unique_ptr<Node>(
      std::make_unique<Driver>(file_system, std::move(options), log, state_machine, watermarks,
                               anchors, executor, transport, std::move(coordinator), clock));
}

Driver::Driver(storage::FileSystem& file_system, NodeOptions options, fasterlog::Log& log,
               statemachine::StateMachine& state_machine, statemachine::Watermarks& watermarks,
               statemachine::AnchorRegistry& anchors, Executor& executor, Transport& transport,
               std::unique_ptr<Coordinator> coordinator, const Clock& clock)
    : options_(std::move(options)),
      log_(log),
      state_machine_(state_machine),
      watermarks_(watermarks),
      anchors_(anchors),
      executor_(executor),
      transport_(transport),
      clock_(clock),
      promise_file_(file_system, options_.directory, options_.self, options_.cluster),
      has_coordinator_(coordinator != nullptr),
      coordinator_(std::move(coordinator)),
      core_(core_options(options_, has_coordinator_)),
      link_(std::make_shared<Link>()),
      checkpoint_sender_(
          log_, state_machine_, anchors_,
          {options_.store.owner, options_.checkpoint_bytes_per_s, options_.follower_pin_bytes},
          [this, post = poster()](NodeId peer, Message message) {
            auto kept = std::make_shared<Message>(std::move(message));
            post([this, peer, kept] {
              if (running_) transport_.send(peer, std::move(*kept));
            });
          },
          probe_),
      checkpoint_receiver_(file_system, {options_.directory, options_.log, options_.store},
                           {[this](NodeId peer, Message message) {
                              if (running_) transport_.send(peer, std::move(message));
                            },
                            poster(), [this] { adopt_copy(); }},
                           clock_, probe_),
      comparison_(comparison_options(options_)),
      divergence_file_(file_system, options_.directory) {
  link_->driver = this;
  comparison_.set_members(core_.state().members);
  publish();
}

Driver::~Driver() {
  if (running_) {
    log_listener_.reset();
    transport_.set_handler(nullptr);
  }
  MutexLock lock(link_->mutex);
  link_->driver = nullptr;
}

Result<> Driver::start() {
  if (running_) return make_error(ErrorCode::kFailedPrecondition, "the node runs already");
  if (std::optional<Error> failure = log_.failure()) return tl::unexpected(*failure);
  TAILRACE_ASSIGN_OR_RETURN(Promise promise, open_promise());
  incarnation_ = promise.incarnation;
  TAILRACE_RETURN_IF_ERROR(recall_divergence());
  running_ = true;
  auto on_flush = [this, link = link_, told = log_.durable()](Address durable,
                                                              const Error* failure) mutable {
    const bool moved = std::exchange(told, durable) != durable;
    if (!moved && failure == nullptr && !link->leads.load(std::memory_order_relaxed)) return;
    // Many moves, one event: at most one is on its way to the executor.
    if (link->posted.exchange(true, std::memory_order_acq_rel)) return;
    executor_.post([link] {
      link->posted.store(false, std::memory_order_release);
      MutexLock lock(link->mutex);
      if (link->driver != nullptr) link->driver->on_log_moved();
    });
  };
  log_listener_ = log_.add_flush_listener(std::move(on_flush));
  const Address committed = std::max(watermarks_.committed(), watermarks_.applied());
  checkpoint_receiver_.start();
  promised_at_start_ = promise.leader;
  if (!has_coordinator_) coordinator_.reset();  // whom an earlier start chose
  const ClusterIdentity drawn{random_seed(), random_seed() | 1};
  handle(Started{position(), promise, committed, now(), random_seed() | 1, drawn});
  warn_of_other_members();
  if (has_coordinator_) start_coordinator();
  // Only now, for the transport tells at once of those that are connected.
  transport_.set_handler(this);
  if (failed_) {
    stop();
    return tl::unexpected(*failed_);
  }
  return {};
}

void Driver::start_coordinator() {
  const Epoch promised = core_.state().promise.epoch;
  coordinator_->set_candidacy(candidacy());
  coordinator_->start(std::max(promised, log_.last_epoch()), [this](Grant grant) {
    if (running_) handle(Granted{grant.leader, grant.epoch});
  });
}

/// Who was promised an epoch since the file was written has been promoted: also who was promoted
/// while this node was down, which the others tell. It waits for them, a second at most.
void Driver::start_without_coordinator() {
  const CoreState& state = core_.state();
  if (coordinator_ || state.hearing) return;
  // An epoch that is nobody's is promised to this node itself (Core::hear).
  const bool nobodys = state.promise.leader == options_.self && promised_at_start_ != options_.self;
  const NodeId last = nobodys ? promised_at_start_ : state.promise.leader;
  const Member* promised = find_member(state.members, last);
  const bool votes = promised != nullptr && (promised->voter || promised->joining);
  const NodeId leader = votes ? last : options_.leader;  // one that was removed never
  if (leader != options_.leader)
    observability::log_warning(
        "the configuration names node {} as the leader, but node {} was promised epoch {} "
        "since: it is to lead. `tailrace promote` changes that",
        options_.leader.value, leader.value, state.promise.epoch.value);
  coordinator_ = std::make_unique<StaticCoordinator>(options_.self, leader);
  start_coordinator();
}

/// The file is what a node with a new disk goes by, so it should not name members of long ago.
void Driver::warn_of_other_members() const {
  const CoreState& state = core_.state();
  if (state.members_record.empty()) return;
  const auto same = [](const Member& one, const Member& other) {
    return one.id == other.id && one.voter == other.voter &&
           one.peer_address == other.peer_address && one.client_address == other.client_address;
  };
  if (!std::ranges::is_permutation(options_.members, state.members, same))
    observability::log_warning(
        "the members in the configuration are not those of the log, which count: `tailrace member "
        "list` shows them. Write them into the file, in case that this node loses its disk");
}

void Driver::stop() {
  if (!running_) return;
  running_ = false;
  if (coordinator_) coordinator_->stop();
  log_listener_.reset();
  transport_.set_handler(nullptr);
  checkpoint_sender_.stop();
  checkpoint_receiver_.stop();
  appends_.clear();
  publish();
  settle_confirmations();
  settle_transfer();
  settle_change();
}

/// The promise of this disk. A log that lost what it held makes it the promise of another one.
Result<Promise> Driver::open_promise() {
  Result<Promise> promise = promise_file_.read();
  if (!promise && promise.error().code == ErrorCode::kNotFound)
    return promise_file_.open(random_seed());
  if (!promise) return promise;
  const bool empty = log_.tail() == fasterlog::kFirstAddress && log_.begin() == log_.tail();
  // Durable before anything is said: a start that others have seen must not be counted again.
  if (promise->starts != 0) ++promise->starts;
  if (promise->vote != Vote::kNone && empty) {
    observability::log_warning(
        "this node had a vote, but its log is empty: its disk is taken for a new one, without a "
        "vote until it has caught up");
    promise->incarnation = random_seed();
    promise->vote = Vote::kNone;
  }
  TAILRACE_RETURN_IF_ERROR(promise_file_.write(*promise));
  return promise;
}

Candidacy Driver::candidacy() const {
  const CoreState& state = core_.state();
  if (failed_ || !running_ || !core_.may_lead() || state.outsider) return Candidacy::kNever;
  // What it would answer is not the cluster's state. But where nobody else leads, for all may have
  // been found wrong, a cluster that takes writes is better than none.
  if (comparison_.divergence()) return Candidacy::kLater;
  if (state.role == Role::kLeader || state.role == Role::kCandidate) return Candidacy::kNow;
  // With a full disk it could not write even its epoch's first record.
  if (core_.hears_leader() || log_.shortage()) return Candidacy::kLater;
  // Without a vote it would have to fetch everything first; at the first start nobody has one.
  const bool new_cluster = state.promise.epoch == Epoch{};
  const bool counts = state.promise.vote != Vote::kNone && core_.is_voter(options_.self);
  return counts || new_cluster ? Candidacy::kNow : Candidacy::kLater;
}

void Driver::tick() {
  if (!running_) return;
  shipped_ = {};
  drain_appends();
  write_epoch_start();
  if (const Result<> kept = promise_file_.keep_room(); !kept)
    return fail(with_context("keep room for the next promise", kept.error()));
  handle(LogMoved{position(), watermarks_.applied()});
  handle(Tick{now(), watermarks_.applied()});
  if (coordinator_) coordinator_->set_candidacy(candidacy());
  if (core_.state().following.streaming || core_.state().role == Role::kLeader)
    checkpoint_receiver_.not_wanted();
  checkpoint_receiver_.tick();
  settle_confirmations();
  settle_transfer();
  settle_change();
  tick_rules();
  tick_health();
  count_without_leader();
  publish();
}

void Driver::count_without_leader() {
  const CoreState& state = core_.state();
  const std::chrono::nanoseconds before = leader_looked_.value_or(state.now);
  leader_looked_ = state.now;
  if (state.role == Role::kLeader || state.following.streaming) return;
  probe_.without_leader_us.add(static_cast<uint64_t>((state.now - before).count() / 1000));
}

std::function<void(std::function<void()>)> Driver::poster() {
  return [&executor = executor_, link = link_](std::function<void()> function) {
    executor.post([link, function = std::move(function)] {
      MutexLock lock(link->mutex);
      if (link->driver != nullptr) function();
    });
  };
}

/// First nothing is acknowledged any more, then the copy takes the place of what was: the other way
/// round, what was acknowledged in between would be lost with the old log.
void Driver::adopt_copy() {
  if (!running_ || failed_) return;
  const Address end = checkpoint_receiver_.plan().log.end;
  // What a leader has refused is not the cluster's; what came since then may be.
  const bool extended = log_end() > end && log_end() != checkpoint_receiver_.refused_end();
  if (core_.state().following.streaming || extended || core_.state().committed > end) {
    checkpoint_receiver_.not_wanted();
    return;
  }
  stop();
  if (const Result<> committed = checkpoint_receiver_.commit(); !committed) {
    fail(with_context("install the copied state", committed.error()));
    return;
  }
  observability::log_info("this node starts anew with the state that it has copied");
  if (restart_listener_) restart_listener_();
}

Address Driver::log_end() const {
  return std::max(log_.tail(), core_.state().received);
}

bool Driver::about_checkpoint(NodeId peer, Message& message) {
  const bool serves = core_.is_member(peer);  // a stranger gets no state
  if (auto* ask = std::get_if<AskCheckpoint>(&message)) {
    if (!serves) {
      transport_.send(peer, OfferCheckpoint{{},
                                            "node " + std::to_string(peer.value) +
                                                " is not among the members of the cluster"});
      return true;
    }
    // What is not the cluster's state must not spread.
    if (comparison_.divergence()) {
      transport_.send(peer, OfferCheckpoint{{}, "the state of this node has diverged itself"});
    } else {
      checkpoint_sender_.asked(peer, *ask);
    }
  } else if (auto* read = std::get_if<ReadCheckpoint>(&message)) {
    if (serves) checkpoint_sender_.asked(peer, *read);
  } else if (auto* offer = std::get_if<OfferCheckpoint>(&message)) {
    checkpoint_receiver_.received(peer, std::move(*offer));
  } else if (auto* part = std::get_if<CheckpointPart>(&message)) {
    checkpoint_receiver_.received(peer, std::move(*part));
  } else {
    return false;
  }
  return true;
}

void Driver::post(std::function<void(Driver&)> function) {
  executor_.post([link = link_, function = std::move(function)] {
    MutexLock lock(link->mutex);
    if (link->driver != nullptr) function(*link->driver);
  });
}

void Driver::on_connected(NodeId peer, const Introduction& introduction) {
  comparison_.connected(peer);
  handle(PeerConnected{peer, introduction});
}

void Driver::on_disconnected(NodeId peer, const std::string& reason) {
  observability::log_debug("connection with node {} ended: {}", peer.value, reason);
  round_trips_.forget(peer);
  if (peer == core_.state().following.source) clock_offset_.forget();
  handle(PeerDisconnected{peer});
}

void Driver::on_message(NodeId peer, Message message) {
  if (about_checkpoint(peer, message)) return;
  if (const auto* question = std::get_if<CompareState>(&message))
    return on_compare(peer, *question);
  if (const auto* answer = std::get_if<StateCompared>(&message)) return on_compared(peer, *answer);
  if (const auto* acknowledge = std::get_if<Acknowledge>(&message)) {
    probe_.acks_received.add();
    round_trips_.acknowledged(peer, acknowledge->durable, now());
  }
  if (std::holds_alternative<Refuse>(message)) probe_.refusals_received.add();
  if (const auto* data = std::get_if<Data>(&message))
    clock_offset_.heard(data->leader_unix_time_ns, clock_.unix_time_ns(), now());
  const bool acknowledged = std::holds_alternative<Acknowledge>(message);
  handle(Received{peer, std::move(message), now()});
  // A hand-over ends as soon as the successor holds all that the log has now.
  if (acknowledged && core_.state().leadership.transferring != NodeId{}) {
    // And all of it is applied here, so that its answers are on their way: not long, for nothing
    // new comes.
    (void)state_machine_.wait_applied(core_.state().committed, clock_.now() + kApplierPatience);
    handle(LogMoved{position(), watermarks_.applied()});
  }
}

void Driver::on_log_moved() {
  if (!running_) return;
  if (std::optional<Error> failure = log_.failure()) {
    fail(*failure);
    return;
  }
  // First the acknowledgement, then more work for the disk.
  handle(LogMoved{position(), watermarks_.applied()});
  state_machine_.notify();
  drain_appends();
  write_epoch_start();
}

/// Events that come while one is handled (a transport may answer at once) wait for their turn.
void Driver::handle(Event event) {
  events_.push_back(std::move(event));
  if (handling_) return;
  handling_ = true;
  while (!events_.empty() && running_ && !failed_) {
    const Event next = std::move(events_.front());
    events_.pop_front();
    actions_.clear();
    const CoreState& state = core_.state();
    const uint64_t won = state.elections_won, lost = state.elections_lost;
    core_.step(next, actions_);
    probe_.elections_won.add(state.elections_won - won);
    probe_.elections_lost.add(state.elections_lost - lost);
    link_->leads.store(state.role == Role::kLeader, std::memory_order_relaxed);
    for (Action& action : actions_) {
      if (failed_) break;
      perform(action);
    }
    settle_transfer();
  }
  events_.clear();
  handling_ = false;
  if (running_ && !failed_) start_without_coordinator();
}

LogPosition Driver::position() {
  LogPosition result;
  result.durable = log_.durable();
  result.begin = log_.begin();
  result.flushing = std::max(log_.flushing(), result.durable);
  result.tail = std::max(log_.tail(), result.flushing);
  const Epoch last = log_.last_epoch();
  if (!table_ || last != table_epoch_ || result.begin != table_begin_) {
    table_ = std::make_shared<const EpochTable>(log_.epoch_table());
    table_epoch_ = last;
    table_begin_ = result.begin;
  }
  result.epochs = table_;
  result.configurations = log_.configurations();
  result.last_epoch = epoch_before(*table_, result.durable);
  return result;
}

std::chrono::nanoseconds Driver::now() const {
  return clock_.elapsed();
}

/// Nothing goes on after this; the process is to end.
void Driver::fail(Error error) {
  if (failed_) return;
  observability::log_error("replication stops: {}", error.message);
  failed_ = std::move(error);
  publish();
  if (role_listener_) role_listener_(*status());
  if (fatal_listener_) fatal_listener_(*failed_);
}

}  // namespace tailrace::replication
