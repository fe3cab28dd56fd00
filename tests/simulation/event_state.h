#pragma once
// What a node makes of the transactions in its log, and what of it is on its disk: the state in
// memory, a checkpoint, and how far files of events are written. The transactions are real ones
// (statemachine/txn/txn.h). They are applied by the model that the real state machine is compared
// with (tests/statemachine/txn/txn_model_test.cc).

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model_log.h"
#include "tests/statemachine/txn/txn_model.h"
#include "tests/support/stream_history.h"

namespace tailrace::simulation {

/// Deliberate ones, which the checkers must notice.
struct EventFaults {
  bool ignores_versions = false;  // an append goes on from whatever is there
  bool forgets_ids = false;       // a checkpoint has no ids and no once keys
  bool ignores_outcomes = false;  // files of events: as if all checks held
  bool halves = false;            // a checkpoint has half of its last transaction
  bool truncates_early = false;   // the log, before its events are written to files
};

/// A client's transaction as it stands in a log; `number` is the client's, of the command.
struct EventCommand {
  uint64_t number = 0;
  ByteSpan body;
};
std::vector<std::byte> encode(const EventCommand& command);
/// None: the batch is none.
std::optional<EventCommand> event_command_of(const Batch& batch);

class EventState {
 public:
  /// By the address of each record's batch.
  using Answers = std::map<Address, statemachine::Answer>;

  /// Streams remember as many ids as they can.
  EventState();
  /// Everything of `log` up to `end` that was not applied yet; the answers go to `answers`.
  void apply(const ModelLog& log, Address end, const EventFaults& faults, Answers* answers);
  /// Half of what that batch would do.
  void apply_half(const Batch& batch);
  void forget_ids() { model_.forget_ids(); }

  Address end() const { return end_; }
  const testing::StreamContents& streams() const { return streams_; }
  std::string value(const std::string& key) const;
  /// The version of the event that stands there in the log; none: it had no effect.
  std::optional<uint64_t> version(const std::string& stream, statemachine::EventPlace place) const;

 private:
  void note_events(const statemachine::Txn& txn, uint64_t number);

  Address end_ = fasterlog::kFirstAddress;
  statemachine::TxnModel model_;
  testing::StreamContents streams_;  // what stands at the model's places
};

/// Files of events, as far as checkers need to know them.
struct EventFiles {
  Address begin = fasterlog::kFirstAddress;
  Address end = fasterlog::kFirstAddress;  // the log is needed from here
  std::map<std::string, uint64_t> next;    // version after the last that a stream has there
};

/// What survives a crash.
struct EventDisk {
  std::shared_ptr<const EventState> checkpoint;  // none: nothing was applied
  EventFiles files;
  Address checkpointed() const { return checkpoint ? checkpoint->end() : fasterlog::kFirstAddress; }
};

/// What does not.
struct EventMemory {
  EventState state;
  EventState::Answers answers;
  bool writing = false;  // a file of events
};

}  // namespace tailrace::simulation
