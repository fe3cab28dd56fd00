// Commands and appends: check, admit, enqueue, and owe the answer until it is applied.
#include <algorithm>

#include <fmt/format.h>

#include "fasterlog/format/record.h"
#include "rpc/server/connection.h"
#include "rpc/wire/operation.h"
#include "statemachine/command/command_table.h"
#include "statemachine/event.h"
#include "statemachine/txn/txn.h"

namespace tailrace::rpc {
namespace {

// What commands in flight may cost the store beyond the rule of thumb, if max_unapplied_bytes is
// less.
constexpr uint64_t kLeastExtraInFlight = 64u << 20;
// A store that makes room has so long for it; then commands are refused until one has found room.
constexpr std::chrono::milliseconds kMostWaitForRoom{1500};
// Scans that hold what could be cleared away have to give way to it.
constexpr std::chrono::milliseconds kScansMayHold{500};

constexpr bool all_are_counted() {
  for (const WireOperation& row : kWireOperations)
    if (info_of(kind_of(row.operation)).name != info_of(row.operation).name &&
        row.operation != statemachine::Operation::kInsert &&
        row.operation != statemachine::Operation::kScavenge)
      return false;
  return true;
}
static_assert(all_are_counted(), "a command has no row in kRequests (probe.h)");

/// Log time, asked once: a command carries moments, not the time left. What is applied may be ahead
/// of all clocks here.
uint64_t now_ns(const ServerDependencies& to) {
  const uint64_t clock_ns = to.log_time ? to.log_time->reckon_ns() : system_clock().unix_time_ns();
  return std::max(to.state_machine->log_time_ns(), clock_ns);
}

/// A body that does not parse is the client's mistake; nothing of this node is damaged.
Error of_a_client(Error error) {
  if (error.code == ErrorCode::kCorruption) error.code = ErrorCode::kInvalidArgument;
  return error;
}

uint64_t expiry(uint64_t time_to_live_ms, const ServerDependencies& to) {
  uint64_t expires_at_ns = 0;
  if (__builtin_mul_overflow(time_to_live_ms, uint64_t{1'000'000}, &expires_at_ns) ||
      __builtin_add_overflow(expires_at_ns, now_ns(to), &expires_at_ns))
    return UINT64_MAX;
  return expires_at_ns;
}

}  // namespace

bool Connection::refuse_unless_leader(const Asked& asked) {
  const replication::NodeStatus& now = status();
  if (now.role == replication::Role::kLeader && now.serving) return false;
  std::string message = fmt::format("node {} is a {} and does not lead", now.self.value,
                                    replication::name_of(now.role));
  if (now.role == replication::Role::kLeader)
    message = fmt::format("node {} leads but does not serve yet: its epoch is not committed",
                          now.self.value);
  else if (!now.leader_client_address.empty())
    message +=
        fmt::format("; the leader is node {} at {}", now.leader.value, now.leader_client_address);
  else
    message += "; no leader is known";
  reply_error(asked, Error{ErrorCode::kNotLeader, std::move(message)});
  return true;
}

/// In the epoch of the status, the one in which it will be enqueued, the version is never lowered.
bool Connection::refuse_unless_known(const Asked& asked, statemachine::Operation operation) {
  const uint32_t version = status().cluster_version;
  const statemachine::CommandInfo& info = statemachine::info_of(operation);
  if (version >= info.since) return false;
  reply_error(asked,
              Error{ErrorCode::kFailedPrecondition,
                    fmt::format("{} needs cluster version {}, and this cluster is of "
                                "version {}: it can be used once all nodes have been upgraded "
                                "for replication.finalize_after; `tailrace status` shows "
                                "when",
                                info.title, info.since, version)});
  return true;
}

bool Connection::held_for_backlog() {
  // Expected first, then looked at: what is applied after the look is told.
  thread_.desk().expect();
  const Address applied = context_.to.watermarks->applied();
  const Address tail = context_.to.log->tail();
  if (tail <= applied || tail - applied <= context_.options.max_unapplied_bytes) return false;
  thread_.look_again(std::static_pointer_cast<Connection>(shared_from_this()), true);
  return true;
}

FramedSocket::Take Connection::handle_command(uint64_t id, wire::Command::Reader request) {
  Asked asked{id, RequestKind::kPut, arrived_};
  const auto operation = from_wire(request.getOperation());
  if (!operation) {
    reply_error(asked, Error{ErrorCode::kUnsupported, "this server does not know the command"});
    return Take::kDone;
  }
  asked.kind = kind_of(*operation);
  if (info_of(asked.kind).answered_by != AnsweredBy::kAnyNode && refuse_unless_leader(asked))
    return Take::kDone;
  if (refuse_unless_known(asked, *operation)) return Take::kDone;
  if (held_for_backlog()) return Take::kHold;
  const bool digest = *operation == statemachine::Operation::kDigest;
  if (digest && held_for_digest()) return Take::kHold;

  statemachine::Command command;
  command.operation = *operation;
  command.key = to_span(request.getKey());
  command.value = to_span(request.getValue());
  command.expected = to_span(request.getExpected());
  command.delta = request.getDelta();
  if (request.getTimeToLiveMs() != 0)
    command.expires_at_ns = expiry(request.getTimeToLiveMs(), context_.to);
  if (const auto session = request.getSession(); session.getSerial() != 0)
    command.session = statemachine::SessionSerial{{session.getClientHigh(), session.getClientLow()},
                                                  session.getSerial()};
  // Without rules in the log a member may be too old to know of bounds, and none was asked for.
  if (const uint64_t bound_ns = request.getSession().getBeginsBeforeNs();
      bound_ns != 0 && command.session && command.session->serial == 1 &&
      context_.to.state_machine->rules().in_log)
    command.session->begins_before_ns = bound_ns;
  if (const auto checked = statemachine::validate(command, context_.options.max_value_bytes);
      !checked) {
    reply_error(asked, of_a_client(checked.error()));
    return Take::kDone;
  }
  std::vector<std::byte>& payload = thread_.encode_buffer();
  statemachine::encode(command, payload);
  if (command.operation == statemachine::Operation::kTxn) {
    // Its body is the last part. It was validated, so it can be dated.
    const auto body = std::span(payload).last(command.value.size());
    if (const auto dated = statemachine::date(body, now_ns(context_.to)); !dated) {
      reply_error(asked, dated.error());
      return Take::kDone;
    }
  }
  const auto admitted = admit(command, payload.size());
  if (!admitted) {
    if (admitted.error().code == ErrorCode::kWouldBlock) return Take::kHold;
    reply_error(asked, admitted.error());
    return Take::kDone;
  }
  const fasterlog::RecordView record{statemachine::kCommandRecord, ByteSpan(payload)};
  const Take taken = enqueue(asked, {&record, 1}, *admitted);
  thread_.trim_encode_buffer();
  return taken;
}

/// kWouldBlock: the frame is to be held.
Result<Connection::Admitted> Connection::admit(const statemachine::Command& command,
                                               size_t payload_bytes) {
  const auto& machine = *context_.to.state_machine;
  const statemachine::CommandCost cost = statemachine::cost_of(
      command, fasterlog::record_bytes(payload_bytes), context_.options.max_value_bytes);
  const uint64_t extra = statemachine::extra_store_bytes(cost) + cost.read_bytes;
  const int64_t told = context_.extra_in_flight.load(std::memory_order_relaxed);
  const uint64_t in_flight = static_cast<uint64_t>(std::max<int64_t>(0, told));
  const auto hold = [this] {
    thread_.look_again(std::static_pointer_cast<Connection>(shared_from_this()), true);
    return make_error(ErrorCode::kWouldBlock, "waits for room");
  };
  // What may cost much in the store counts as what waits to be applied does.
  const uint64_t most = std::max(context_.options.max_unapplied_bytes, kLeastExtraInFlight);
  if (extra > 0 && in_flight > 0 && in_flight + extra > most) return hold();
  auto admitted = machine.admit(cost, in_flight);
  if (admitted) {
    no_room_since_.reset();
    return Admitted{extra, cost.answer_bytes, cost.events};
  }
  const auto refuse = [&](Error error) {
    machine.note_refused_write();
    context_.refusals.note(error);
    return tl::unexpected(std::move(error));
  };
  if (admitted.error().code != ErrorCode::kWouldBlock) return refuse(std::move(admitted).error());
  const SteadyTime now = std::chrono::steady_clock::now();
  if (!no_room_since_) no_room_since_ = now;
  if (now - *no_room_since_ > kScansMayHold) context_.scans.give_way();
  if (now - *no_room_since_ <= kMostWaitForRoom) return hold();
  return refuse(Error{ErrorCode::kResourceExhausted,
                      admitted.error().message +
                          ", which takes long; try again, write less, free disk space, or "
                          "raise store.disk_bytes where it is set"});
}

FramedSocket::Take Connection::handle_append(uint64_t id, wire::Append::Reader request) {
  const Asked asked{id, RequestKind::kAppend, arrived_};
  if (held_for_backlog()) return Take::kHold;

  const auto events = request.getEvents();
  const ByteSpan stream = to_span(request.getStream());
  if (events.size() == 0) {
    reply_error(asked, Error{ErrorCode::kInvalidArgument, "an append needs at least one event"});
    return Take::kDone;
  }
  statemachine::EventBatch batch(stream, context_.options.max_value_bytes,
                                 fasterlog::record_bytes(context_.to.log->max_payload_bytes()));
  for (const capnp::Data::Reader event : events) {
    if (const auto added = batch.add(to_span(event)); !added) {
      reply_error(asked, added.error());
      return Take::kDone;
    }
  }
  std::vector<fasterlog::RecordView> records;
  batch.encode(thread_.encode_buffer(), records);
  // Events never reach the store: the log's own limits are all there is to admit.
  const Take taken = enqueue(asked, records, {});
  thread_.trim_encode_buffer();
  return taken;
}

FramedSocket::Take Connection::enqueue(const Asked& asked,
                                       std::span<const fasterlog::RecordView> records,
                                       Admitted admitted) {
  // The status may be of a while ago: what it let in belongs to its epoch and to no other.
  const Epoch epoch = status().epoch;
  const Result<AddressRange> range = context_.to.log->try_enqueue_in(epoch, records);
  if (!range && range.error().code == ErrorCode::kWouldBlock) {
    thread_.resume_soon(std::static_pointer_cast<Connection>(shared_from_this()));
    return Take::kHold;
  }
  if (!range && range.error().code == ErrorCode::kFailedPrecondition) {
    // Between the look at the status and now it ceased to lead, or leads anew.
    status_.look_anew();
    reply_error(asked, Error{ErrorCode::kNotLeader,
                             fmt::format("node {} has just lost the lead of epoch {}",
                                         status().self.value, epoch.value)});
    return Take::kDone;
  }
  if (!range) {
    reply_error(asked, range.error());
    return Take::kDone;
  }
  auto self = std::static_pointer_cast<Connection>(shared_from_this());
  const Address last = range->end - fasterlog::record_bytes(records.back().payload.size());
  if (asked.kind == RequestKind::kDigest) {
    context_.digests_asked.end.store(range->end);
    context_.digests_asked.time.store(taken_);
  }
  thread_.counts().entered(asked.kind, std::max(records.size(), admitted.events),
                           range->end - range->first);
  const StageTimes::Tag tag = thread_.stages().enqueued(asked.started, taken_, *range,
                                                        *context_.to.log, *context_.to.watermarks);
  thread_.desk().owe({epoch,
                      *range,
                      last,
                      {std::move(self), asked.id, asked.kind, asked.started, admitted.extra,
                       admitted.answer_bytes, tag}});
  thread_.note_cost(static_cast<int64_t>(admitted.extra));
  began();
  answers_in_flight_bytes_ += admitted.answer_bytes;
  return Take::kDone;
}

void Connection::answer_command(const PendingCommand& pending, const statemachine::Answer* answer,
                                StageTimes::Sample sample) {
  if (closed()) return;
  const CommandAsker& asker = pending.asker;
  ended();
  answers_in_flight_bytes_ -= asker.answer_bytes;
  OutgoingMessage message;
  auto response = begin_response(message, asker.id);
  response.setEpoch(pending.epoch.value);
  auto to = response.initCommand();
  to.setFirst(pending.range.first.value);
  to.setEnd(pending.range.end.value);
  to.setLast(pending.last.value);
  if (answer != nullptr) {
    to.setOutcome(static_cast<uint8_t>(answer->outcome));
    to.setHasValue(answer->has_value);
    if (answer->has_value) to.setValue(to_data(answer->value));
    to.setWithheldBytes(answer->withheld_bytes);
    const auto rules = answer->outcome == statemachine::Outcome::kSessionExpired
                           ? context_.to.state_machine->rules()
                           : statemachine::RulesStatus{};
    if (rules.in_log) {
      const uint64_t log_time_ns = context_.to.state_machine->log_time_ns();
      to.setLogTimeNs(log_time_ns);
      to.setSessionTtlNs(rules.bound_window_ns(log_time_ns));
    }
  }
  reply(Asked{asker.id, asker.kind, asker.started}, message, sample);
}

void Connection::answer_unknown(const PendingCommand& pending) {
  if (closed()) return;
  const CommandAsker& asker = pending.asker;
  ended();
  answers_in_flight_bytes_ -= asker.answer_bytes;
  reply_error(Asked{asker.id, asker.kind, asker.started},
              Error{ErrorCode::kUnknownOutcome,
                    fmt::format("this node lost its leadership of epoch {} before the command at "
                                "address {} was committed; it may or may not survive",
                                pending.epoch.value, pending.range.first.value)});
}

}  // namespace tailrace::rpc
