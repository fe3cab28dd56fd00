#include "tests/replication/trace_cluster.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "replication/protocol/describe.h"

namespace tailrace::replication {

namespace {

constexpr std::chrono::milliseconds kTick{50};

bool is_heartbeat(const Message& message) {
  const auto* data = std::get_if<Data>(&message);
  return data != nullptr && (!data->bytes || data->bytes->empty());
}

/// Said again and again; nothing: not such a message.
std::optional<std::string> repeated(const Message& message) {
  if (is_heartbeat(message))
    return fmt::format("committed {}", std::get<Data>(message).committed.value);
  if (const auto* told = std::get_if<Acknowledge>(&message))
    return fmt::format("durable {} by {}", told->durable.value, told->relayed_by.value);
  if (const auto* leading = std::get_if<Leading>(&message))
    return fmt::format("leads {}", leading->epoch.value);
  if (const auto* seal = std::get_if<Seal>(&message))
    return fmt::format("seal {}", seal->epoch.value);
  return std::nullopt;
}

std::string state_of(const CoreState& state) {
  std::string text = fmt::format("{} in epoch {}", name_of(state.role), state.epoch.value);
  if (state.leadership.serving) text += ", serving";
  if (!state.problem.empty()) text += "; " + state.problem;
  return text;
}

}  // namespace

TraceCluster::TraceCluster(uint32_t voters, uint32_t learners) {
  for (uint32_t id = 1; id <= voters + learners; ++id) {
    const std::string number = std::to_string(id);
    members_.push_back({NodeId{id}, id <= voters, "peer" + number, "client" + number});
    add_node(id);
  }
}

TraceCluster TraceCluster::running(uint32_t voters, uint32_t learners, NodeId upstream) {
  TraceCluster cluster(voters, learners);
  cluster.upstream_ = upstream;
  std::vector<uint32_t> all;
  for (const auto& [id, node] : cluster.nodes_)
    all.push_back(id);
  cluster.start(all, "");
  cluster.grant(1, "");
  cluster.pass(std::chrono::seconds(2), "");
  cluster.trace_.clear();
  return cluster;
}

void TraceCluster::add_node(uint32_t node) {
  Node& made = nodes_[node];
  made.id = NodeId{node};
  made.promise.incarnation = 100 * node;
}

// ---- What happens. -----------------------------------------------------------------------------

void TraceCluster::heading(const std::string& why) {
  trace_ += fmt::format("{}# {}\n", trace_.empty() ? "" : "\n", why);
}

void TraceCluster::start(std::vector<uint32_t> nodes, const std::string& why) {
  heading(why);
  for (const uint32_t id : nodes)
    up(at(id));
  run();
  connect_all();
  run();
}

void TraceCluster::stop(uint32_t node, const std::string& why) {
  heading(why);
  Node& down = at(node);
  down.core.reset();
  down.log.crash();
  down.holds = false;
  for (auto& [id, other] : nodes_)
    unlink(down.id, other.id);
  run();
}

void TraceCluster::lose_disk(uint32_t node, const std::string& why) {
  stop(node, why);
  Node& empty = at(node);
  const uint64_t incarnation = empty.promise.incarnation + 1;
  empty.log = {};
  empty.promise = {};
  empty.promise.incarnation = incarnation;
  empty.committed = fasterlog::kFirstAddress;
}

void TraceCluster::cut(uint32_t a, std::vector<uint32_t> from, const std::string& why) {
  heading(why);
  for (const uint32_t b : from) {
    cuts_.insert(std::minmax(NodeId{a}, NodeId{b}));
    unlink(NodeId{a}, NodeId{b});
  }
  run();
}

void TraceCluster::heal(const std::string& why) {
  heading(why);
  cuts_.clear();
  connect_all();
  run();
}

void TraceCluster::grant(uint32_t node, const std::string& why) {
  heading(why);
  feed(at(node), Granted{NodeId{node}, Epoch{++epochs_}});
  run();
}

void TraceCluster::append(uint32_t leader, const std::string& why) {
  heading(why);
  Node& node = at(leader);
  const AddressRange record = node.log.append(node.core->state().epoch, 20, random_);
  trace_ += fmt::format("node {}: a client's record stands in its log, [{}, {})\n", leader,
                        record.first.value, record.end.value);
  flush(node);
  run();
}

void TraceCluster::truncate(std::vector<uint32_t> nodes, const std::string& why) {
  heading(why);
  for (const uint32_t id : nodes) {
    Node& node = at(id);
    node.log.begin = node.committed;
    trace_ += fmt::format("node {}: its log begins at {}\n", id, node.log.begin.value);
    feed(node, LogMoved{node.log.position(), node.committed});
  }
  run();
}

void TraceCluster::ask(uint32_t node, const Event& event, const std::string& why) {
  heading(why);
  feed(at(node), event);
  run();
}

void TraceCluster::pass(std::chrono::milliseconds time, const std::string& why) {
  heading(why);
  for (const auto end = now_ + time; now_ < end;) {
    now_ += kTick;
    for (auto& [id, node] : nodes_)
      if (node.core) feed(node, Tick{now_, node.committed});
    run();
    connect_all();
    run();
  }
}

// ---- Nodes. ------------------------------------------------------------------------------------

void TraceCluster::up(Node& node) {
  if (node.promise.starts != 0 || node.runs == 0) ++node.promise.starts;
  ++node.runs;
  node.last_said.clear();
  node.last_state.clear();
  CoreOptions options;
  options.self = node.id;
  options.members = members_;
  const Member* self = find_member(members_, node.id);
  if (self == nullptr)
    options.members.push_back({node.id, false, fmt::format("peer{}", node.id.value),
                               fmt::format("client{}", node.id.value)});
  if (self != nullptr && !self->voter) options.upstream = upstream_;
  options.check_invariants = true;
  options.finalize_after = std::chrono::seconds(10);
  options.most_cluster_version = node.version;
  node.core = std::make_unique<Core>(options);
  feed(node, Started{node.log.position(), node.promise, node.committed, now_,
                     1000 * node.id.value + node.runs, ClusterIdentity{1, node.id.value}});
}

void TraceCluster::connect_all() {
  for (auto& [a, one] : nodes_)
    for (auto& [b, other] : nodes_) {
      if (a >= b || !one.core || !other.core || linked(one.id, other.id) ||
          cuts_.contains(std::minmax(one.id, other.id)))
        continue;
      links_.insert({one.id, other.id});
      Introduction of_one = one.core->introduction(), of_other = other.core->introduction();
      of_one.version = one.version;
      of_other.version = other.version;
      feed(one, PeerConnected{other.id, of_other});
      feed(other, PeerConnected{one.id, of_one});
    }
}

void TraceCluster::unlink(NodeId a, NodeId b) {
  if (links_.erase(std::minmax(a, b)) == 0) return;
  for (const auto& [one, other] : {std::pair{a, b}, std::pair{b, a}})
    work_.push_back([this, id = one.value, gone = other] {
      Node& node = at(id);
      node.last_said.erase(gone);
      if (node.core && !linked(node.id, gone)) feed(node, PeerDisconnected{gone});
    });
}

void TraceCluster::run() {
  for (size_t steps = 0; !work_.empty(); ++steps) {
    ASSERT_LT(steps, 10000u) << "they never come to rest";
    const auto next = std::move(work_.front());
    work_.pop_front();
    next();
  }
}

void TraceCluster::feed(Node& node, const Event& event) {
  std::vector<Action> actions;
  node.core->step(event, actions);
  show(node, event, actions);
  for (const Action& action : actions)
    perform(node, action);
}

/// What is to come back comes back when all that was to be done before is done.
void TraceCluster::perform(Node& node, const Action& action) {
  const auto later = [&](auto event_of) {
    work_.push_back([this, id = node.id.value, run = node.runs, event_of] {
      Node& now = at(id);
      if (now.core && now.runs == run) feed(now, event_of(now));
    });
  };
  if (const auto* promise = std::get_if<PersistPromise>(&action)) {
    later([said = promise->promise](Node& now) {
      now.promise = said;
      return PromisePersisted{said};
    });
  } else if (const auto* writer = std::get_if<BecomeWriter>(&action)) {
    const AddressRange record = node.log.append(writer->epoch, 12, random_);
    later([record](Node& now) { return WriterReady{record, now.log.position()}; });
    flush(node);
  } else if (const auto* members = std::get_if<AppendMembers>(&action)) {
    (void)node.log.append_members(node.core->state().epoch, members->record);
    later([](Node& now) { return MembersAppended{now.log.position()}; });
    flush(node);
  } else if (std::holds_alternative<BecomeCopy>(action)) {
    node.log.durable_batches = node.log.batches().size();
    later([](Node& now) { return LogSettled{now.log.position()}; });
  } else if (std::holds_alternative<DropAppends>(action)) {
    later([](Node& now) { return LogSettled{now.log.position()}; });
  } else if (const auto* to = std::get_if<CutLog>(&action)) {
    node.log.cut(to->to);
    later([](Node& now) { return LogSettled{now.log.position()}; });
  } else if (const auto* disconnect = std::get_if<Disconnect>(&action)) {
    unlink(node.id, disconnect->peer);
  } else if (const auto* sent = std::get_if<Send>(&action)) {
    if (linked(node.id, sent->peer))
      work_.push_back([this, from = node.id, to = sent->peer, message = sent->message] {
        Node& target = at(to.value);
        if (target.core && linked(from, to)) feed(target, Received{from, message, now_});
      });
  } else if (const auto* ship = std::get_if<ShipBytes>(&action)) {
    const Address limit = ship->flushing ? node.log.flushing() : node.log.durable();
    auto bytes = std::make_shared<std::vector<std::byte>>(
        node.log.read(ship->from, ship->most_bytes, limit));
    const Address end = ship->from + bytes->size();
    if (!bytes->empty())
      perform(node, Send{ship->peer, Data{ship->epoch, ship->from, bytes, ship->committed, limit, 0,
                                          ship->round, ship->echo, ship->age, ship->keep_from}});
    later([peer = ship->peer, from = ship->from, end, limit](Node&) {
      return Shipped{peer, from, end, limit};
    });
  } else if (const auto* append = std::get_if<AppendRaw>(&action)) {
    ASSERT_TRUE(node.log.append_raw(append->at, ByteSpan(*append->bytes).subspan(append->skip)));
    flush(node);
  } else if (const auto* fetch = std::get_if<FetchCheckpoint>(&action)) {
    work_.push_back([this, id = node.id.value, run = node.runs, from = fetch->from.value] {
      Node& now = at(id);
      if (now.core && now.runs == run && at(from).core) install_copy(now, at(from));
    });
  } else if (const auto* committed = std::get_if<AdvanceCommitted>(&action)) {
    node.committed = committed->committed;
  }
}

void TraceCluster::flush(Node& node) {
  node.log.flush_end = node.log.tail();
  work_.push_back([this, id = node.id.value, run = node.runs, upto = node.log.tail()] {
    Node& now = at(id);
    if (!now.core || now.runs != run) return;
    if (!now.holds) now.log.make_durable(std::min(upto, now.log.tail()));
    feed(now, LogMoved{now.log.position(), now.committed});
  });
}

/// The node ends, and starts anew with the state and the log of the other one.
void TraceCluster::install_copy(Node& node, Node& source) {
  node.core.reset();
  for (auto& [id, other] : nodes_)
    unlink(node.id, other.id);
  node.log = source.log;
  node.log.cut(source.committed);
  node.committed = node.log.begin;
  trace_ +=
      fmt::format("node {} starts anew with a copy of the state of node {}: its log is [{}, {})\n",
                  node.id.value, source.id.value, node.log.begin.value, node.log.tail().value);
  up(node);
}

// ---- What is shown. ----------------------------------------------------------------------------

bool TraceCluster::is_news(Node& node, const Action& action) {
  if (std::holds_alternative<SetAnchor>(action) || std::holds_alternative<RemoveAnchor>(action) ||
      std::holds_alternative<StateChanged>(action) || std::holds_alternative<Confirmed>(action) ||
      std::holds_alternative<ShipBytes>(action) || std::holds_alternative<DropAppends>(action) ||
      std::holds_alternative<MembersChanged>(action))
    return false;
  const auto* sent = std::get_if<Send>(&action);
  if (sent == nullptr) return true;
  const auto said = repeated(sent->message);
  if (!said) {
    if (!std::holds_alternative<Data>(sent->message)) node.last_said.erase(sent->peer);
    return true;
  }
  return std::exchange(node.last_said[sent->peer], *said) != *said;
}

void TraceCluster::show(Node& node, const Event& event, const std::vector<Action>& actions) {
  std::vector<std::string> lines;
  for (const Action& action : actions)
    if (is_news(node, action)) lines.push_back(describe(action));
  const std::string state = state_of(node.core->state());
  if (std::exchange(node.last_state, state) != state) lines.push_back("is " + state);
  const bool speaks =
      std::holds_alternative<Started>(event) || std::holds_alternative<Granted>(event) ||
      std::holds_alternative<TransferAsked>(event) || std::holds_alternative<ChangeAsked>(event);
  if (lines.empty() && !speaks) return;
  trace_ += fmt::format("node {} {}\n", node.id.value, describe(event));
  for (const std::string& line : lines)
    trace_ += "    " + line + "\n";
}

}  // namespace tailrace::replication
