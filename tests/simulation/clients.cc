// Clients with sessions: each does one thing after the other, sends it again elsewhere under the
// same serial while it has no answer, and remembers what it was told. At the end all that they saw
// has to be explained by one order of all operations; reads of the other levels are judged at once.
#include <algorithm>

#include "cluster.h"

namespace tailrace::simulation {

using namespace replication;
using testing::HistoryKind;
using testing::HistoryOperation;
using testing::HistoryOutcome;

namespace {

constexpr uint64_t kClients = 3;
constexpr Time kClientsEnd = std::chrono::milliseconds(5800);
constexpr Time kAttemptTime = std::chrono::milliseconds(150);
constexpr Time kPatience = std::chrono::milliseconds(900);
constexpr Time kBound = std::chrono::milliseconds(400);
constexpr const char* kCounter = "counter";

uint64_t counted(const std::optional<std::string>& value) {
  return std::stoull(value.value_or("0"));
}

}  // namespace

void Cluster::start_clients() {
  clients_.resize(kClients);
  for (size_t i = 0; i < clients_.size(); ++i) {
    clients_[i].number = i;
    new_session(clients_[i]);
    client_pause(clients_[i]);
  }
}

void Cluster::new_session(ModelClient& client) {
  client.command.session = ++sessions_;
  client.command.serial = 0;
}

void Cluster::client_pause(ModelClient& client) {
  client.busy = false;
  after(between(3000, 60000), [this, &client] {
    if (now_ < kClientsEnd) client_next(client);
  });
}

void Cluster::client_next(ModelClient& client) {
  ModelCommand& command = client.command;
  client.busy = true;
  client.attempt.reset();
  client.operation = HistoryOperation{};
  client.operation.client = client.number;
  client.operation.invoked = static_cast<uint64_t>(now_.count());
  const std::string reg = random_.chance(1, 2) ? "a" : "b";
  command.key = reg;
  command.value = std::to_string(client.number) + ":" + std::to_string(++client.values);
  command.expected.clear();
  switch (random_.below(7)) {
    case 0:
    case 1:
      command.key = kCounter;
      command.value = "1";
      command.kind = ModelCommand::Kind::kAdd;
      client.operation.kind = HistoryKind::kAdd;
      break;
    case 2:
      command.kind = ModelCommand::Kind::kPut;
      client.operation.kind = HistoryKind::kWrite;
      break;
    case 3:
      if (client.last_seen.empty()) {  // it has seen no value yet
        command.kind = ModelCommand::Kind::kInsert;
        client.operation.kind = HistoryKind::kInsertIfAbsent;
        break;
      }
      command.kind = ModelCommand::Kind::kCompareAndSwap;
      command.expected = client.last_seen;
      client.operation.kind = HistoryKind::kCompareAndSwap;
      client.operation.expected = command.expected;
      break;
    case 4:
      read_bounded();
      read_own(client);
      return client_pause(client);
    default:
      if (random_.chance(1, 2)) command.key = kCounter;
      client.operation.kind = HistoryKind::kRead;
      client.operation.key = command.key;
      return client_read(client);
  }
  client.operation.key = command.key;
  client.operation.value = command.value;
  ++command.serial;
  client_write(client);
}

/// A node that believes that it leads.
Cluster::SimNode* Cluster::any_serving() {
  std::vector<SimNode*> serving;
  for (SimNode& node : nodes_)
    if (node.boot != 0 && !node.paused && node.core->state().leadership.serving)
      serving.push_back(&node);
  return serving.empty() ? nullptr : serving[random_.below(serving.size())];
}

bool Cluster::still_leads(const ModelClient::Attempt& attempt) {
  const SimNode& node = at(attempt.node);
  return node.boot == attempt.boot && node.core->state().role == Role::kLeader &&
         node.core->state().epoch == attempt.epoch;
}

const ModelState& Cluster::state_of(SimNode& node) {
  node.state.apply(node.log, applied(node));
  return node.state;
}

// ---- Writes. -----------------------------------------------------------------------------------

void Cluster::client_write(ModelClient& client) {
  if (outcome_.violation) return;
  if (client.attempt) {
    SimNode& node = at(client.attempt->node);
    const bool leads = still_leads(*client.attempt);
    if (leads && !node.paused && applied(node) >= client.attempt->end &&
        !(faults_ && random_.chance(1, 10)))  // else the answer is lost
      return client_written(client, node);
    if (!leads || now_ - client.attempt->began > kAttemptTime ||
        applied(node) >= client.attempt->end)
      client.attempt.reset();
  }
  if (!client.attempt) {
    if (now_ - Time(static_cast<int64_t>(client.operation.invoked)) > kPatience) {
      client.operation.outcome = HistoryOutcome::kUnknown;
      client_done(client);
      return new_session(client);  // nobody will ask again
    }
    if (SimNode* node = any_serving()) client_attempt(client, *node);
  }
  after(between(500, 3000), [this, &client] { client_write(client); });
}

void Cluster::client_attempt(ModelClient& client, SimNode& node) {
  if (client.attempts++ > 0 && client.repeats == client.command.serial) {
    ++outcome_.repeats;
    if (options_.retry_as_new) {
      client.command.session = ++sessions_;
      client.command.serial = client.repeats = 1;
    }
  }
  client.repeats = client.command.serial;
  const AddressRange range =
      node.log.append(node.core->state().epoch, ByteSpan(encode(client.command)));
  client.attempt = {node.id, node.boot, node.core->state().epoch, range.end, now_};
  flush(node);
}

void Cluster::client_written(ModelClient& client, SimNode& node) {
  const auto answer = state_of(node).answer(client.command.session, client.command.serial);
  if (!answer) return violate("a command that was applied has no answer");
  client.last_end = client.attempt->end;
  client.last_epoch = client.attempt->epoch;
  HistoryOperation& told = client.operation;
  if (told.kind == HistoryKind::kAdd) {
    told.seen = HistoryOperation::Seen::kValue;
    told.seen_value = *answer->seen;
    client.last_sum = counted(answer->seen);
    const uint64_t most = sums_.empty() ? 0 : sums_.back().second;
    sums_.emplace_back(now_, std::max(most, client.last_sum));
  } else if (told.kind == HistoryKind::kCompareAndSwap ||
             told.kind == HistoryKind::kInsertIfAbsent) {
    told.done = answer->done;
    if (!answer->done) client_saw(client, answer->seen);
  }
  client_done(client);
}

void Cluster::client_saw(ModelClient& client, const std::optional<std::string>& value) {
  client.operation.seen = value ? HistoryOperation::Seen::kValue : HistoryOperation::Seen::kAbsent;
  client.operation.seen_value = value.value_or("");
  if (client.operation.key != kCounter) client.last_seen = client.operation.seen_value;
}

void Cluster::client_done(ModelClient& client) {
  client.operation.returned = static_cast<uint64_t>(now_.count());
  history_.push_back(client.operation);
  ++outcome_.operations;
  client_pause(client);
}

// ---- Reads. ------------------------------------------------------------------------------------

/// Linearizable: answered once a round that was asked after it has been confirmed.
void Cluster::client_read(ModelClient& client) {
  SimNode* node = any_serving();
  if (node == nullptr) return client_pause(client);  // nothing was asked
  const CoreState& state = node->core->state();
  client.attempt = {node->id, node->boot, state.epoch, node->committed, now_};
  client.round = state.round + 1;
  feed(*node, ConfirmAsked{now_ + node->clock});
  client_await_read(client);
}

void Cluster::client_await_read(ModelClient& client) {
  if (outcome_.violation) return;
  SimNode& node = at(client.attempt->node);
  if (!still_leads(*client.attempt) || now_ - client.attempt->began > kAttemptTime)
    return client_pause(client);  // no answer, and a read changes nothing
  const CoreState& state = node.core->state();
  if (!node.paused && state.confirmed_round >= client.round &&
      applied(node) >= client.attempt->end) {
    client_saw(client, state_of(node).value(client.operation.key));
    return client_done(client);
  }
  after(between(200, 2000), [this, &client] { client_await_read(client); });
}

/// From any node that knows its state to be no older than the bound.
void Cluster::read_bounded() {
  SimNode& node = nodes_[random_.below(nodes_.size())];
  if (node.boot == 0 || node.paused || !node.core->state().fresh_at) return;
  const Time moment = *node.core->state().fresh_at - node.clock;
  if (now_ - moment > kBound) return;
  ++outcome_.bounded_reads;
  const auto after = std::ranges::upper_bound(sums_, moment, {}, &std::pair<Time, uint64_t>::first);
  if (after == sums_.begin()) return;
  if (counted(state_of(node).value(kCounter)) < std::prev(after)->second)
    violate("a bounded read is older than its bound");
}

/// From any node that has applied what this client was told last.
void Cluster::read_own(const ModelClient& client) {
  SimNode& node = nodes_[random_.below(nodes_.size())];
  if (node.boot == 0 || node.paused || client.last_end == Address{}) return;
  if (node.core->state().epoch < client.last_epoch || applied(node) < client.last_end) return;
  ++outcome_.own_reads;
  if (counted(state_of(node).value(kCounter)) < client.last_sum)
    violate("a client does not read its own write");
}

void Cluster::judge_clients() {
  for (ModelClient& client : clients_) {
    if (!client.busy || client.operation.kind == HistoryKind::kRead) continue;
    client.operation.outcome = HistoryOutcome::kUnknown;
    history_.push_back(client.operation);
  }
  const testing::Judgement judgement = testing::judge(history_);
  if (judgement.verdict == testing::Judgement::Verdict::kNotLinearizable)
    violate("no order of all operations explains what clients saw: " + judgement.explanation);
  if (judgement.verdict == testing::Judgement::Verdict::kTooHard) ++outcome_.too_hard;
}

}  // namespace tailrace::simulation
