#include "event_state.h"

#include <algorithm>

namespace tailrace::simulation {

using statemachine::Expected;
using statemachine::Txn;
using statemachine::TxnEffect;
using statemachine::TxnEffectKind;

namespace {
constexpr uint64_t kEventMark = 0x5b1e'a04c'7d29'e6f3;
constexpr size_t kEventHeadBytes = 16;
}  // namespace

std::vector<std::byte> encode(const EventCommand& command) {
  std::vector<std::byte> bytes(kEventHeadBytes);
  store(bytes.data(), kEventMark);
  store(bytes.data() + 8, command.number);
  bytes.insert(bytes.end(), command.body.begin(), command.body.end());
  return bytes;
}

std::optional<EventCommand> event_command_of(const Batch& batch) {
  const ByteSpan payload = payload_of(batch);
  if (batch.configuration || payload.size() < kEventHeadBytes ||
      load<uint64_t>(payload.data()) != kEventMark)
    return std::nullopt;
  return EventCommand{load<uint64_t>(payload.data() + 8), payload.subspan(kEventHeadBytes)};
}

EventState::EventState() {
  Txn txn;
  for (const char* name : {"a", "b", "pairs", "losses"}) {
    TxnEffect policy;
    policy.kind = TxnEffectKind::kPolicy;
    policy.name = as_bytes(std::string_view(name));
    policy.dedupe = statemachine::kMaxTxnDedupe;
    txn.then.push_back(policy);
  }
  (void)model_.apply(txn, 0);
}

void EventState::apply(const ModelLog& log, Address end, const EventFaults& faults,
                       Answers* answers) {
  const auto& batches = log.batches();
  Txn txn;
  for (auto batch = std::ranges::lower_bound(batches, end_, {}, &Batch::start);
       batch != batches.end() && batch->end() <= end; ++batch) {
    end_ = batch->end();
    const auto command = event_command_of(*batch);
    if (!command || !decode(command->body, txn)) continue;
    if (faults.ignores_versions)
      for (TxnEffect& effect : txn.then)
        effect.expected = Expected::kAny;
    statemachine::Answer answer = model_.apply(txn, batch->start.value);
    note_events(txn, command->number);
    if (answers != nullptr) answers->emplace(batch->start, std::move(answer));
  }
}

void EventState::apply_half(const Batch& batch) {
  Txn txn;
  end_ = batch.end();
  const auto command = event_command_of(batch);
  if (!command || !decode(command->body, txn)) return;
  txn.then.resize(txn.then.size() / 2);
  txn.otherwise.resize(txn.otherwise.size() / 2);
  (void)model_.apply(txn, batch.start.value);
  note_events(txn, command->number);
}

/// Whatever has a place in the model now and had none before is of that command.
void EventState::note_events(const Txn& txn, uint64_t number) {
  for (const auto* list : {&txn.then, &txn.otherwise})
    for (const TxnEffect& effect : *list) {
      if (effect.kind != TxnEffectKind::kAppend) continue;
      const std::string name = to_string(effect.name);
      const auto stream = model_.streams().find(name);
      if (stream == model_.streams().end()) continue;
      auto& events = streams_[name];
      for (size_t i = events.size(); i < stream->second.places.size(); ++i)
        events.push_back({number, stream->second.places[i].ordinal});
    }
}

std::string EventState::value(const std::string& key) const {
  const auto* found = model_.find(key);
  return found != nullptr ? found->value : std::string();
}

std::optional<uint64_t> EventState::version(const std::string& stream,
                                            statemachine::EventPlace place) const {
  const auto found = model_.streams().find(stream);
  if (found == model_.streams().end()) return std::nullopt;
  const auto& places = found->second.places;
  const auto at = std::ranges::lower_bound(places, place);
  if (at == places.end() || *at != place) return std::nullopt;
  return static_cast<uint64_t>(at - places.begin());
}

}  // namespace tailrace::simulation
