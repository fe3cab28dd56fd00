#include "event_side.h"

#include <algorithm>

namespace tailrace::simulation {

using statemachine::EventPlace;
using statemachine::Txn;
using statemachine::TxnEffect;
using statemachine::TxnEffectKind;
using testing::StreamEvent;
using testing::StreamOperation;

namespace {
constexpr size_t kEventClients = 3;
}  // namespace

Cluster::EventSide::EventSide(Cluster& cluster, uint64_t seed)
    : cluster_(cluster), random_(seed), clients_(kEventClients) {}

void Cluster::EventSide::start() {
  for (Client& client : clients_)
    pause(client);
  keep_house();
  look_around();
}

void Cluster::EventSide::restore(SimNode& node) {
  node.event_memory = EventMemory{};
  if (node.events.checkpoint) node.event_memory.state = *node.events.checkpoint;
}

const EventState& Cluster::EventSide::state_of(SimNode& node) {
  EventMemory& memory = node.event_memory;
  memory.state.apply(node.log, applied(node), cluster_.options_.event_faults, &memory.answers);
  return memory.state;
}

Address Cluster::EventSide::needed(const SimNode& node) const {
  const Address checkpointed = node.events.checkpointed();
  if (cluster_.options_.event_faults.truncates_early) return checkpointed;
  return std::min(checkpointed, node.events.files.end);
}

// ---- Checkpoints and files. --------------------------------------------------------------------

/// Checkpoint, then files, then truncation: each of some node, now and then, and late.
void Cluster::EventSide::keep_house() {
  cluster_.after(between(10000, 50000), [this] {
    if (!cluster_.faults_) return;
    if (SimNode* node = any_node(false)) {
      if (random_.chance(1, 2)) take_checkpoint(*node);
      write_files(*node);
      if (random_.chance(1, 8)) cluster_.truncate();
    }
    keep_house();
  });
}

/// Of the state as it is now; there once it is published.
void Cluster::EventSide::take_checkpoint(SimNode& node) {
  const EventFaults& faults = cluster_.options_.event_faults;
  auto state = std::make_shared<EventState>(state_of(node));
  if (faults.forgets_ids) state->forget_ids();
  if (faults.halves) *state = with_half(node);
  cluster_.after(node, between(500, 20000), [this, &node, state = std::move(state)] {
    if (node.events.checkpointed() >= state->end()) return;
    node.events.checkpoint = state;
    ++cluster_.outcome_.checkpoints;
  });
}

/// From the newest checkpoint up to the last transaction that is applied, and half of that one.
EventState Cluster::EventSide::with_half(const SimNode& node) const {
  EventState state = node.events.checkpoint ? *node.events.checkpoint : EventState();
  const Batch* last = nullptr;
  for (const Batch& batch : node.log.batches()) {
    if (batch.start < state.end() || batch.end() > applied(node)) continue;
    const auto command = event_command_of(batch);
    if (command && is_transaction(command->number)) last = &batch;
  }
  if (last == nullptr) return state;
  state.apply(node.log, last->start, cluster_.options_.event_faults, nullptr);
  state.apply_half(*last);
  return state;
}

/// Of what is below the checkpoint, as history/historian.h does.
void Cluster::EventSide::write_files(SimNode& node) {
  const Address upto = node.events.checkpointed();
  if (node.event_memory.writing || upto <= node.events.files.end) return;
  look(node);
  EventFiles files = node.events.files;
  files.end = std::max(files.end, node.log.begin);
  const auto& batches = node.log.batches();
  for (auto batch = std::ranges::lower_bound(batches, files.end, {}, &Batch::start);
       batch != batches.end() && batch->end() <= upto; ++batch)
    write_record(node, files, *batch);
  files.end = upto;
  node.event_memory.writing = true;
  cluster_.after(node, between(500, 30000), [this, &node, files = std::move(files)] {
    node.event_memory.writing = false;
    node.events.files = files;
    ++cluster_.outcome_.event_files;
  });
}

/// What became of a transaction only the state knows: it is asked for each event's version.
void Cluster::EventSide::write_record(SimNode& node, EventFiles& files, const Batch& batch) {
  const auto command = event_command_of(batch);
  Txn txn;
  if (!command || !decode(command->body, txn)) return;
  const bool ignores = cluster_.options_.event_faults.ignores_outcomes;
  for (const auto* list : {&txn.then, &txn.otherwise})
    for (const TxnEffect& effect : *list) {
      if (effect.kind != TxnEffectKind::kAppend) continue;
      const std::string stream = to_string(effect.name);
      for (uint32_t i = effect.first_event; i < effect.first_event + effect.event_count; ++i) {
        const EventPlace place{batch.start.value, static_cast<uint16_t>(i)};
        auto version = node.event_memory.state.version(stream, place);
        if (ignores && list == &txn.then && !version) version = files.next[stream];
        if (version) note_in_files(node, files, stream, *version, {command->number, i});
      }
    }
}

void Cluster::EventSide::note_in_files(const SimNode& node, EventFiles& files,
                                       const std::string& stream, uint64_t version,
                                       StreamEvent event) {
  const std::string whose =
      "the files of events of node " + std::to_string(node.id.value) + " of the stream " + stream;
  const auto& events = seen_[stream];
  if (version >= events.size() || events[version] != event)
    return cluster_.violate(whose + " have an event that the stream does not have there");
  const auto next = files.next.find(stream);
  const bool begins = next == files.next.end() && files.begin > fasterlog::kFirstAddress;
  const uint64_t expected = next == files.next.end() ? 0 : next->second;
  if (!begins && version != expected)
    return cluster_.violate(whose + " have a hole before version " + std::to_string(version));
  files.next[stream] = version + 1;
}

// ---- Readers of any node. ----------------------------------------------------------------------

void Cluster::EventSide::look_around() {
  cluster_.after(between(3000, 20000), [this] {
    if (SimNode* node = any_node(false)) look(*node);
    look_around();
  });
}

/// Reads all streams and keys at one address.
void Cluster::EventSide::look(SimNode& node) {
  const EventState& state = state_of(node);
  for (const auto& [stream, events] : state.streams())
    compare(node, stream, state);
  check_whole(node, state);
  ++cluster_.outcome_.looks;
}

/// With what others have shown; what they have not is seen now, by somebody whose read may be old.
void Cluster::EventSide::compare(const SimNode& node, const std::string& stream,
                                 const EventState& state) {
  const auto& shown = state.streams().at(stream);
  auto& known = seen_[stream];
  auto& versions = versions_[stream];
  const size_t common = std::min(shown.size(), known.size());
  const auto differs = std::mismatch(shown.begin(), shown.begin() + static_cast<long>(common),
                                     known.begin(), known.begin() + static_cast<long>(common));
  const auto where = [&](size_t version) {
    return " in the stream " + stream + ": at version " + std::to_string(version) + " of node " +
           std::to_string(node.id.value);
  };
  const auto first = static_cast<size_t>(differs.first - shown.begin());
  if (first < common) {
    const auto twice = std::find(shown.begin(), differs.first, shown[first]);
    return cluster_.violate(
        (twice != differs.first ? "an event stands twice" : "two nodes show different events") +
        where(first));
  }
  if (shown.size() == common) return;
  for (size_t version = common; version < shown.size(); ++version) {
    if (!versions.emplace(shown[version], version).second)
      return cluster_.violate("an event stands twice" + where(version));
    known.push_back(shown[version]);
  }
  StreamOperation read;
  read.kind = StreamOperation::Kind::kStaleRead;
  read.stream = stream;
  read.seen = shown.size();
  read.invoked = read.returned = now();
  operations_.push_back(read);
}

/// Each transaction that did sets both marks, counts itself, and appends to `a` or `b` and to
/// `pairs`; each whose check failed counts itself and appends to `losses`.
void Cluster::EventSide::check_whole(const SimNode& node, const EventState& state) {
  const auto count = [&](const char* stream, bool of_transactions) {
    const auto found = state.streams().find(stream);
    if (found == state.streams().end()) return size_t{0};
    if (!of_transactions) return found->second.size();
    return static_cast<size_t>(std::ranges::count_if(
        found->second, [](const StreamEvent& event) { return is_transaction(event.append); }));
  };
  const auto number = [&](const char* key) {
    const std::string value = state.value(key);
    return value.empty() ? size_t{0} : static_cast<size_t>(std::stoull(value));
  };
  const size_t pairs = count("pairs", false);
  if (state.value("left") == state.value("right") && number("moved") == pairs &&
      count("a", true) + count("b", true) == pairs && number("lost") == count("losses", false))
    return;
  cluster_.violate("node " + std::to_string(node.id.value) + " shows half of a transaction at " +
                   std::to_string(state.end().value));
}

// ---- The end. ----------------------------------------------------------------------------------

void Cluster::EventSide::judge() {
  for (SimNode& node : cluster_.nodes_)
    if (node.boot != 0) look(node);
  for (Client& client : clients_)
    if (client.busy) give_up(client);
  if (cluster_.outcome_.violation) return;
  if (const auto broken = judge_streams(operations_, seen_)) return cluster_.violate(*broken);
  if (const auto broken = testing::judge_order(answers_)) return cluster_.violate(*broken);
}

}  // namespace tailrace::simulation
