// Clients of streams. Each does one thing after the other. What it can be known by (ids, a once
// key) it sends again elsewhere while it has no answer; what it cannot is of unknown outcome then.
#include <algorithm>

#include "event_side.h"

namespace tailrace::simulation {

using namespace replication;
using statemachine::CheckKind;
using statemachine::FoundKind;
using statemachine::OnceKey;
using statemachine::Txn;
using statemachine::TxnCheck;
using statemachine::TxnEffect;
using statemachine::TxnEffectKind;
using statemachine::TxnEvent;
using statemachine::TxnList;
using statemachine::TxnResult;
using testing::StreamOperation;

namespace {

constexpr Time kEventClientsEnd = std::chrono::milliseconds(5600);
constexpr Time kEventAttempt = std::chrono::milliseconds(150);
constexpr Time kEventPatience = std::chrono::milliseconds(900);
constexpr size_t kRemembered = 8;      // commands that a client may send again later
constexpr uint64_t kMostBehind = 100;  // ids of so many events are certainly remembered
constexpr const char* kContended[] = {"a", "b"};

TxnEvent event_of(uint64_t number, uint64_t index, bool with_id) {
  TxnEvent event;
  event.data = as_bytes("e");
  if (!with_id) return event;
  event.id.emplace();
  store(event.id->data(), number);
  store(event.id->data() + 8, index + 1);
  return event;
}

TxnEffect effect_of(TxnEffectKind kind, std::string_view name, std::string_view value = {}) {
  TxnEffect effect;
  effect.kind = kind;
  effect.name = as_bytes(name);
  effect.value = as_bytes(value);
  if (kind == TxnEffectKind::kAdd) effect.delta = 1;
  return effect;
}

}  // namespace

Time Cluster::EventSide::between(int64_t low_us, int64_t high_us) {
  return std::chrono::microseconds(
      random_.between(static_cast<uint64_t>(low_us), static_cast<uint64_t>(high_us)));
}

Cluster::SimNode* Cluster::EventSide::any_node(bool serving) {
  std::vector<SimNode*> nodes;
  for (SimNode& node : cluster_.nodes_)
    if (node.boot != 0 && !node.paused && (!serving || node.core->state().leadership.serving))
      nodes.push_back(&node);
  return nodes.empty() ? nullptr : nodes[random_.below(nodes.size())];
}

void Cluster::EventSide::pause(Client& client) {
  client.busy = false;
  cluster_.after(between(3000, 50000), [this, &client] {
    if (cluster_.now_ < kEventClientsEnd) next(client);
  });
}

// ---- What to ask. ------------------------------------------------------------------------------

void Cluster::EventSide::next(Client& client) {
  client.attempt.reset();
  client.attempts = 0;
  client.invoked = cluster_.now_;
  client.again = false;
  const uint64_t dice = random_.below(10);
  if (dice < 2) return read(client);
  if (dice == 2 && plan_again(client)) return try_to_write(client);
  client.command = Command{};
  client.command.transaction = dice >= 6;
  client.command.number = 2 * ++commands_ + (client.command.transaction ? 1 : 0);
  if (client.command.transaction)
    plan_transaction(client);
  else
    plan_append(client);
  client.busy = true;
  try_to_write(client);
}

StreamOperation Cluster::EventSide::operation(const Client& client, const std::string& stream,
                                              uint64_t first_index) const {
  StreamOperation append;
  append.stream = stream;
  append.number = client.command.number;
  append.first_index = first_index;
  append.invoked = now();
  return append;
}

/// Mostly the version that the client saw last, which another may have made an old one.
void Cluster::EventSide::expect(Client& client, StreamOperation& append, TxnEffect& effect) {
  const uint64_t seen = client.seen[append.stream];
  const uint64_t dice = random_.below(8);
  if (dice == 0) {
    append.expected = StreamOperation::Expected::kExists;
    effect.expected = statemachine::Expected::kExists;
  } else if (seen == 0 || dice == 1) {
    append.expected = StreamOperation::Expected::kNone;
    effect.expected = statemachine::Expected::kNone;
  } else if (dice < 6) {
    append.expected = StreamOperation::Expected::kExact;
    effect.expected = statemachine::Expected::kExact;
    append.expected_version = effect.expected_version = seen - 1;
  }
}

void Cluster::EventSide::plan_append(Client& client) {
  const char* stream = kContended[random_.below(2)];
  Command& command = client.command;
  Part part{operation(client, stream, 0), TxnList::kThen, 0};
  part.operation.events = random_.between(1, 3);
  command.repeatable = random_.chance(2, 3);
  Txn txn;
  TxnEffect append = effect_of(TxnEffectKind::kAppend, stream);
  expect(client, part.operation, append);
  for (uint64_t i = 0; i < part.operation.events; ++i)
    txn.add_event(append, event_of(command.number, i, command.repeatable));
  txn.then.push_back(append);
  command.parts.push_back(std::move(part));
  encode(txn, command.body);
}

TxnCheck Cluster::EventSide::plan_check(Client& client) {
  TxnCheck check;
  const char* stream = kContended[random_.below(2)];
  const uint64_t seen = client.seen[stream];
  check.name = as_bytes(stream);
  check.kind = seen == 0 ? CheckKind::kStreamAbsent : CheckKind::kStreamAt;
  if (seen > 0) check.at = seen - 1;
  if (random_.chance(1, 3) && !client.mark.empty()) {
    check = TxnCheck{};
    check.kind = CheckKind::kKeyEquals;
    check.name = as_bytes("left");
    check.value = as_bytes(client.mark);
  } else {
    client.command.checked = stream;
  }
  return check;
}

/// See check_whole().
void Cluster::EventSide::plan_transaction(Client& client) {
  Command& command = client.command;
  const char* stream = kContended[random_.below(2)];
  const std::string mark = std::to_string(command.number);
  Txn txn;
  command.repeatable = command.once = random_.chance(2, 3);
  if (command.once) txn.once = OnceKey{1, command.number, 1};
  if (random_.chance(2, 3)) txn.checks.push_back(plan_check(client));

  TxnEffect append = effect_of(TxnEffectKind::kAppend, stream);
  Part part{operation(client, stream, 0), TxnList::kThen, 1};
  if (random_.chance(1, 2)) expect(client, part.operation, append);
  TxnEffect pair = effect_of(TxnEffectKind::kAppend, "pairs");
  TxnEffect loss = effect_of(TxnEffectKind::kAppend, "losses");
  txn.add_event(append, event_of(command.number, 0, random_.chance(1, 2)));
  txn.add_event(pair, event_of(command.number, 1, random_.chance(1, 2)));
  txn.then = {effect_of(TxnEffectKind::kPut, "left", mark), append,
              effect_of(TxnEffectKind::kAdd, "moved"), pair,
              effect_of(TxnEffectKind::kPut, "right", mark)};
  command.parts = {part, {operation(client, "pairs", 1), TxnList::kThen, 3}};
  if (!txn.checks.empty() && random_.chance(2, 3)) {
    txn.add_event(loss, event_of(command.number, 2, false));
    txn.otherwise = {effect_of(TxnEffectKind::kAdd, "lost"), loss};
    command.parts.push_back({operation(client, "losses", 2), TxnList::kElse, 1});
  }
  encode(txn, command.body);
}

/// A command that was answered long ago.
bool Cluster::EventSide::plan_again(Client& client) {
  if (client.done.empty()) return false;
  const Done& done = client.done[random_.below(client.done.size())];
  const auto& operation = done.command.parts.front().operation;
  if (!done.command.once && seen_[operation.stream].size() > operation.first_version + kMostBehind)
    return false;
  client.first = done;
  client.command = done.command;
  client.again = true;
  return true;
}

// ---- Writes. -----------------------------------------------------------------------------------

void Cluster::EventSide::try_to_write(Client& client) {
  if (cluster_.outcome_.violation) return;
  if (client.attempt) {
    SimNode& node = cluster_.at(client.attempt->node);
    const bool leads = cluster_.still_leads(*client.attempt);
    const bool done = leads && applied(node) >= client.attempt->end;
    if (done && !node.paused && !(cluster_.faults_ && random_.chance(1, 8)))  // else it is lost
      return answered(client, node);
    if (!leads || done || cluster_.now_ - client.attempt->began > kEventAttempt) {
      client.attempt.reset();
      if (!client.command.repeatable) {
        give_up(client);
        return pause(client);
      }
    }
  }
  if (!client.attempt) {
    if (cluster_.now_ - client.invoked > kEventPatience) {
      give_up(client);
      return pause(client);
    }
    if (SimNode* node = any_node(true)) attempt(client, *node);
  }
  cluster_.after(between(500, 3000), [this, &client] { try_to_write(client); });
}

void Cluster::EventSide::attempt(Client& client, SimNode& node) {
  if (client.attempts++ > 0) ++cluster_.outcome_.event_repeats;
  const Epoch epoch = node.core->state().epoch;
  const auto bytes = encode(EventCommand{client.command.number, client.command.body});
  const AddressRange range = node.log.append(epoch, ByteSpan(bytes));
  client.record = range.first;
  client.attempt = {node.id, node.boot, epoch, range.end, cluster_.now_};
  cluster_.flush(node);
}

/// Whether it happened nobody will say.
void Cluster::EventSide::give_up(Client& client) {
  if (client.again) return;
  for (Part& part : client.command.parts) {
    part.operation.outcome = StreamOperation::Outcome::kUnknown;
    operations_.push_back(part.operation);
  }
}

void Cluster::EventSide::answered(Client& client, SimNode& node) {
  (void)state_of(node);
  const auto& answers = node.event_memory.answers;
  const auto answer = answers.find(client.record);
  TxnResult result;
  if (answer == answers.end() || !decode(as_bytes(answer->second.value), result))
    return cluster_.violate("a transaction that was applied has no answer");
  ++cluster_.outcome_.event_commands;
  if (client.again) {
    answered_again(client, answer->second.value);
    return pause(client);
  }
  answers_.push_back({result.position, static_cast<uint64_t>(client.invoked.count()), now()});
  note_answer(client, result);
  if (client.command.repeatable && (result.succeeded || client.command.once)) {
    const auto& part = client.command.parts.front().operation;
    client.done.push_back(
        {client.command, answer->second.value, part.first_version + part.events - 1});
    if (client.done.size() > kRemembered) client.done.pop_front();
  }
  pause(client);
}

/// By a once key the whole answer is that of the first time, by ids the place is.
void Cluster::EventSide::answered_again(Client& client, const std::string& answer) {
  ++cluster_.outcome_.event_replays;
  TxnResult now_told, first_told;
  if (!decode(as_bytes(answer), now_told) || !decode(as_bytes(client.first.answer), first_told))
    return cluster_.violate("an answer is none");
  if (client.command.once) {
    if (answer != client.first.answer)
      cluster_.violate("a transaction that was sent again has another answer than the first");
    return;
  }
  if (now_told.results.size() != 1 || !now_told.results[0].replayed ||
      now_told.results[0].first_version != first_told.results[0].first_version ||
      now_told.results[0].last_version != client.first.last_version)
    cluster_.violate("an append that was sent again is not answered with its first place");
}

void Cluster::EventSide::note_answer(Client& client, const TxnResult& result) {
  const auto told = [](const statemachine::FailedCheck& check) -> std::optional<uint64_t> {
    if (check.found == FoundKind::kVersion) return check.number + 1;
    if (check.found == FoundKind::kNoStream) return 0;
    return std::nullopt;
  };
  std::optional<TxnList> done;
  if (!result.results.empty()) done = result.succeeded ? TxnList::kThen : TxnList::kElse;
  ++(result.succeeded ? cluster_.outcome_.event_done : cluster_.outcome_.event_refused);
  for (Part& part : client.command.parts) {
    StreamOperation& append = part.operation;
    append.returned = now();
    if (part.list == done) {
      append.first_version = result.results[part.index].first_version;
      client.seen[append.stream] = result.results[part.index].last_version + 1;
    } else {
      append.outcome = StreamOperation::Outcome::kRefused;
      for (const auto& check : result.failed)
        if (check.list == part.list && check.index == part.index) append.seen = told(check);
      if (append.seen) client.seen[append.stream] = *append.seen;
    }
    operations_.push_back(append);
  }
  if (result.succeeded && client.command.transaction)
    client.mark = std::to_string(client.command.number);
  if (!client.command.checked) return;
  for (const auto& check : result.failed) {
    if (check.list != TxnList::kChecks || !told(check)) continue;
    StreamOperation read = operation(client, *client.command.checked, 0);
    read.kind = StreamOperation::Kind::kRead;
    read.invoked = static_cast<uint64_t>(client.invoked.count());
    read.returned = now();
    read.seen = told(check);
    client.seen[read.stream] = *read.seen;
    operations_.push_back(read);
  }
}

// ---- Reads. ------------------------------------------------------------------------------------

/// Linearizable, as Cluster::client_read().
void Cluster::EventSide::read(Client& client) {
  SimNode* node = any_node(true);
  if (node == nullptr) return pause(client);
  const CoreState& state = node->core->state();
  client.attempt = {node->id, node->boot, state.epoch, node->committed, cluster_.now_};
  client.round = state.round + 1;
  cluster_.feed(*node, ConfirmAsked{cluster_.now_ + node->clock});
  await_read(client);
}

void Cluster::EventSide::await_read(Client& client) {
  if (cluster_.outcome_.violation) return;
  SimNode& node = cluster_.at(client.attempt->node);
  if (!cluster_.still_leads(*client.attempt) ||
      cluster_.now_ - client.attempt->began > kEventAttempt)
    return pause(client);
  if (node.paused || node.core->state().confirmed_round < client.round ||
      applied(node) < client.attempt->end) {
    cluster_.after(between(200, 2000), [this, &client] { await_read(client); });
    return;
  }
  look(node);
  const EventState& state = state_of(node);
  for (const auto& [stream, events] : state.streams()) {
    StreamOperation read;
    read.kind = StreamOperation::Kind::kRead;
    read.stream = stream;
    read.seen = client.seen[stream] = events.size();
    read.invoked = static_cast<uint64_t>(client.invoked.count());
    read.returned = now();
    operations_.push_back(read);
  }
  client.mark = state.value("left");
  ++cluster_.outcome_.event_reads;
  pause(client);
}

}  // namespace tailrace::simulation
