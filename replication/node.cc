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

CoreOptions core_options(const NodeOptions& options) {
  CoreOptions result;
  result.self = options.self;
  for (const Member& member : options.members)
    result.members.push_back({member.id, member.voter});
  result.heartbeat_interval = options.heartbeat_interval;
  result.peer_timeout = options.peer_timeout;
  result.window_bytes = options.window_bytes;
  result.batch_bytes = options.batch_bytes;
  result.follower_pin_bytes = options.follower_pin_bytes;
  return result;
}

std::string anchor_name(NodeId peer) {
  return "follower:" + std::to_string(peer.value);
}

}  // namespace

Result<std::unique_ptr<Node>> Node::create(storage::FileSystem& file_system, NodeOptions options,
                                           fasterlog::Log& log,
                                           statemachine::StateMachine& state_machine,
                                           statemachine::Watermarks& watermarks,
                                           statemachine::AnchorRegistry& anchors,
                                           Executor& executor, Transport& transport,
                                           const Clock& clock) {
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
  if (leader == nullptr || !leader->voter)
    return make_error(
        ErrorCode::kInvalidArgument,
        "leader: node " + std::to_string(options.leader.value) + " is no voter among the members");
  if (options.window_bytes == 0 || options.batch_bytes == 0)
    return make_error(ErrorCode::kInvalidArgument, "window_bytes and batch_bytes must be above 0");
  return std::unique_ptr<Node>(std::make_unique<Driver>(file_system, std::move(options), log,
                                                        state_machine, watermarks, anchors,
                                                        executor, transport, clock));
}

Driver::Driver(storage::FileSystem& file_system, NodeOptions options, fasterlog::Log& log,
               statemachine::StateMachine& state_machine, statemachine::Watermarks& watermarks,
               statemachine::AnchorRegistry& anchors, Executor& executor, Transport& transport,
               const Clock& clock)
    : options_(std::move(options)),
      log_(log),
      state_machine_(state_machine),
      watermarks_(watermarks),
      anchors_(anchors),
      executor_(executor),
      transport_(transport),
      clock_(clock),
      promise_file_(file_system, options_.directory, options_.self, options_.cluster),
      coordinator_(std::make_unique<StaticCoordinator>(options_.self, options_.leader)),
      core_(core_options(options_)),
      link_(std::make_shared<Link>()) {
  link_->driver = this;
  publish();
}

Driver::~Driver() {
  if (running_) {
    log_listener_.reset();
    transport_.set_handler(nullptr);
  }
  std::lock_guard lock(link_->mutex);
  link_->driver = nullptr;
}

Result<> Driver::start() {
  if (running_) return make_error(ErrorCode::kFailedPrecondition, "the node runs already");
  Result<Promise> promise = promise_file_.open(random_seed());
  if (!promise) return tl::unexpected(std::move(promise).error());
  if (std::optional<Error> failure = log_.failure()) return tl::unexpected(*failure);
  running_ = true;
  transport_.set_handler(this);
  log_listener_ = log_.add_durable_listener([this, link = link_](Address, const Error*) {
    // Many moves, one event: at most one is on its way to the executor.
    if (link->posted.exchange(true, std::memory_order_acq_rel)) return;
    executor_.post([link] {
      link->posted.store(false, std::memory_order_release);
      std::lock_guard lock(link->mutex);
      if (link->driver != nullptr) link->driver->on_log_moved();
    });
  });
  handle(Started{position(), log_.epoch_table(), *promise, now()});
  coordinator_->start(std::max(promise->epoch, log_.last_epoch()), [this](Grant grant) {
    handle(Granted{grant.leader, grant.epoch});
  });
  if (failed_) {
    stop();
    return tl::unexpected(*failed_);
  }
  return {};
}

void Driver::stop() {
  if (!running_) return;
  running_ = false;
  coordinator_->stop();
  log_listener_.reset();
  transport_.set_handler(nullptr);
  if (options_.self != options_.leader) transport_.disconnect(options_.leader);
  appends_.clear();
  publish();
}

void Driver::tick() {
  if (!running_) return;
  drain_appends();
  handle(LogMoved{position(), watermarks_.applied()});
  handle(Tick{now(), watermarks_.applied()});
  publish();
}

void Driver::on_connected(NodeId peer) {
  handle(PeerConnected{peer});
}

void Driver::on_disconnected(NodeId peer, const std::string& reason) {
  observability::log_debug("connection with node {} ended: {}", peer.value, reason);
  handle(PeerDisconnected{peer});
}

void Driver::on_message(NodeId peer, Message message) {
  if (std::holds_alternative<Acknowledge>(message)) probe_.acks_received.add();
  if (std::holds_alternative<Refuse>(message)) probe_.refusals_received.add();
  handle(Received{peer, std::move(message)});
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
    core_.step(next, actions_);
    for (Action& action : actions_) {
      if (failed_) break;
      perform(action);
    }
  }
  events_.clear();
  handling_ = false;
}

void Driver::perform(Action& action) {
  std::visit([this](auto& it) { perform_one(it); }, action);
}

void Driver::perform_one(const PersistPromise& action) {
  if (Result<> written = promise_file_.write(action.promise); !written) {
    fail(with_context("persist the promise", std::move(written).error()));
    return;
  }
  events_.push_back(PromisePersisted{action.promise});
}

void Driver::perform_one(const BecomeWriter& action) {
  if (Result<> ready = log_.become_writer(action.epoch); !ready) {
    fail(with_context("become the log's writer", std::move(ready).error()));
    return;
  }
  std::byte payload[12];
  store(payload, options_.self.value);
  store(payload + 4, core_.state().promise.incarnation);
  Result<AddressRange> record =
      log_.try_enqueue(fasterlog::RecordKind::kEpochStart, ByteSpan(payload));
  if (!record) {
    fail(with_context("enqueue the epoch-start record", std::move(record).error()));
    return;
  }
  events_.push_back(WriterReady{*record});
}

void Driver::perform_one(const BecomeCopy&) {
  if (Result<> ready = log_.become_copy(); !ready)
    fail(with_context("become a copy", std::move(ready).error()));
}

void Driver::perform_one(const Connect& action) {
  transport_.connect(action.peer);
}

void Driver::perform_one(const Disconnect& action) {
  transport_.disconnect(action.peer);
}

void Driver::perform_one(Send& action) {
  if (auto* data = std::get_if<Data>(&action.message)) {
    data->leader_unix_time_ns = clock_.unix_time_ns();
  } else if (std::holds_alternative<Acknowledge>(action.message)) {
    probe_.acks_sent.add();
  } else if (const auto* refused = std::get_if<Refuse>(&action.message)) {
    probe_.refusals_sent.add();
    observability::log_warning("node {} refused ({}): {}", action.peer.value,
                               name_of(refused->reason), refused->message);
  }
  transport_.send(action.peer, std::move(action.message));
}

void Driver::perform_one(const ShipBytes& action) {
  auto bytes = std::make_shared<std::vector<std::byte>>();
  if (Result<> read = log_.read_raw(action.from, action.most_bytes, *bytes); !read) {
    events_.push_back(ShipFailed{action.peer, read.error().code == ErrorCode::kTruncated,
                                 std::move(read).error().message});
    return;
  }
  const Address durable = log_.durable();
  const uint64_t size = bytes->size();
  if (size > 0) {
    probe_.shipped.add();
    probe_.shipped_bytes.add(size);
    transport_.send(action.peer, Data{action.epoch, action.from, std::move(bytes), action.committed,
                                      durable, clock_.unix_time_ns()});
  }
  events_.push_back(Shipped{action.peer, action.from, action.from + size, durable});
}

void Driver::perform_one(AppendRaw& action) {
  appends_.push_back(std::move(action));
  drain_appends();
}

void Driver::drain_appends() {
  while (!appends_.empty() && running_ && !failed_) {
    const AppendRaw& next = appends_.front();
    const ByteSpan bytes = ByteSpan(*next.bytes).subspan(next.skip);
    const Result<> taken = log_.try_append_raw(next.at, bytes);
    if (!taken) {
      if (taken.error().code == ErrorCode::kWouldBlock ||
          taken.error().code == ErrorCode::kResourceExhausted) {
        probe_.append_waits.add();  // again when durable moves, and at each tick
        return;
      }
      appends_.clear();
      if (std::optional<Error> failure = log_.failure()) {
        fail(*failure);
      } else {
        observability::log_error("the log refused replicated bytes: {}", taken.error().message);
        handle(AppendFailed{log_.tail(), taken.error().message});
      }
      return;
    }
    probe_.received_bytes.add(bytes.size());
    appends_.pop_front();
  }
}

void Driver::perform_one(const AdvanceCommitted& action) {
  watermarks_.advance_committed(action.committed);
  state_machine_.notify();
}

void Driver::perform_one(const SetAnchor& action) {
  anchors_.set(anchor_name(action.peer), action.address);
}

void Driver::perform_one(const RemoveAnchor& action) {
  observability::log_warning(
      "node {} is too far behind to keep the log for it: it will need a checkpoint",
      action.peer.value);
  anchors_.remove(anchor_name(action.peer));
}

void Driver::perform_one(const StateChanged&) {
  publish();
  const std::shared_ptr<const NodeStatus> now_published = status();
  observability::log_info("role {}, epoch {}, leader {}{}{}", name_of(now_published->role),
                          now_published->epoch.value, now_published->leader.value,
                          now_published->serving ? ", serving" : "",
                          now_published->problem.empty() ? "" : ": " + now_published->problem);
  if (role_listener_) role_listener_(*now_published);
}

LogPosition Driver::position() {
  LogPosition result;
  result.durable = log_.durable();
  result.begin = log_.begin();
  if (const Epoch last = log_.last_epoch(); last != table_epoch_) {
    table_ = log_.epoch_table();
    table_epoch_ = last;
  }
  result.last_epoch = epoch_before(table_, result.durable);
  return result;
}

std::chrono::nanoseconds Driver::now() const {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(clock_.now().time_since_epoch());
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
