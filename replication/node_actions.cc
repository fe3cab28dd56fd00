// What the core wants done, and the driver does: to the log, the promise on disk, the transport,
// the anchors and the watermarks. Answers go to the core as its next events.
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "observability/logging.h"
#include "replication/driver.h"

namespace tailrace::replication {

namespace {

std::string anchor_name(NodeId peer, NodeId self) {
  if (peer == self) return "cluster";
  return "follower:" + std::to_string(peer.value);
}

}  // namespace

void Driver::perform(Action& action) {
  std::visit([this](auto& it) { perform_one(it); }, action);
}

void Driver::perform_one(const PersistPromise& action) {
  if (Result<> written = promise_file_.write(action.promise); !written) {
    fail(with_context("persist the promise", std::move(written).error()));
    return;
  }
  if (coordinator_) coordinator_->raise(action.promise.epoch);
  if (action.promise.incarnation != incarnation_) {
    if (incarnation_ != 0)
      observability::log_error(
          "the disk of this node was put back to an earlier state, or is there twice: {}. What it "
          "acknowledged since is not taken for granted: it counts as a new disk, without a vote "
          "until it has caught up",
          core_.state().problem);
    incarnation_ = action.promise.incarnation;
  }
  events_.push_back(PromisePersisted{action.promise});
}

void Driver::perform_one(const BecomeWriter& action) {
  if (Result<> ready = log_.become_writer(action.epoch); !ready) {
    fail(with_context("become the log's writer", std::move(ready).error()));
    return;
  }
  epoch_start_waits_ = true;
  write_epoch_start();
}

/// A log without room is asked again when it moves and at each tick: a leader with a full disk
/// waits for room, and serves nothing.
void Driver::write_epoch_start() {
  if (!epoch_start_waits_ || !running_ || failed_) return;
  if (core_.state().role != Role::kLeader) {
    epoch_start_waits_ = false;
    return;
  }
  std::byte payload[12];
  store(payload, options_.self.value);
  store(payload + 4, core_.state().promise.incarnation);
  Result<AddressRange> record =
      log_.try_enqueue(fasterlog::RecordKind::kEpochStart, ByteSpan(payload));
  if (!record && (record.error().code == ErrorCode::kWouldBlock ||
                  record.error().code == ErrorCode::kResourceExhausted))
    return;
  epoch_start_waits_ = false;
  if (!record) {
    fail(with_context("enqueue the epoch-start record", std::move(record).error()));
    return;
  }
  handle(WriterReady{*record, position()});
}

void Driver::perform_one(const AppendMembers& action) {
  const Result<AddressRange> record = log_.try_enqueue(fasterlog::RecordKind::kConfiguration,
                                                       ByteSpan(encode_members(action.record)));
  if (!record) {
    observability::log_warning("the record of the members: {}", record.error().message);
    if (const std::optional<Error> failure = log_.failure()) return fail(*failure);
  }
  events_.push_back(MembersAppended{position()});
}

void Driver::perform_one(const MembersChanged&) {
  const CoreState& state = core_.state();
  std::string names;
  for (const Member& member : state.members)
    names += (names.empty() ? "" : ", ") + std::to_string(member.id.value) +
             (member.voter     ? ""
              : member.joining ? " (joining)"
                               : " (learner)");
  observability::log_info("members: {}", names);
  const uint32_t before = std::exchange(version_told_, state.cluster_version);
  if (before != 0 && before < state.cluster_version)
    observability::log_info("cluster version {} from now on: older programs refuse this data",
                            state.cluster_version);
  transport_.set_members(state.members);
  comparison_.set_members(state.members);
}

void Driver::perform_one(const BecomeCopy&) {
  if (Result<> ready = log_.become_copy(); !ready)
    fail(with_context("become a copy", std::move(ready).error()));
  events_.push_back(LogSettled{position()});
}

void Driver::perform_one(const DropAppends&) {
  appends_.clear();
  events_.push_back(LogSettled{position()});
}

void Driver::perform_one(const CutLog& action) {
  appends_.clear();
  shipped_ = {};
  const Address before = log_.durable();
  Result<Address> cut = log_.truncate_after(action.to);
  if (!cut) {
    fail(with_context("cut the log where it differs from the leader's", std::move(cut).error()));
    return;
  }
  observability::log_warning(
      "the log is cut from {} to {}: what stood behind it was never committed", before.value,
      cut->value);
  table_.reset();
  probe_.log_cuts.add();
  events_.push_back(LogSettled{position()});
}

void Driver::perform_one(const Disconnect& action) {
  transport_.reset(action.peer);
}

/// Strangers fill no log: of theirs there is a line in ten seconds.
void Driver::log_refusal(NodeId peer, const Refuse& refused) {
  constexpr std::chrono::seconds kStrangersLine{10};
  uint64_t others = 0;
  if (!core_.is_member(peer)) {
    ++refusals_unsaid_;
    if (refusal_said_ && now() - *refusal_said_ < kStrangersLine) return;
    refusal_said_ = now();
    others = std::exchange(refusals_unsaid_, 0) - 1;
  }
  observability::log_warning(
      "node {} refused ({}): {}{}", peer.value, name_of(refused.reason), refused.message,
      others == 0 ? "" : fmt::format(" ({} more of no member since the last such line)", others));
}

void Driver::perform_one(Send& action) {
  if (auto* data = std::get_if<Data>(&action.message)) {
    data->leader_unix_time_ns = clock_.unix_time_ns();
  } else if (std::holds_alternative<Acknowledge>(action.message)) {
    probe_.acks_sent.add();
  } else if (const auto* refused = std::get_if<Refuse>(&action.message)) {
    probe_.refusals_sent.add();
    log_refusal(action.peer, *refused);
  }
  transport_.send(action.peer, std::move(action.message));
}

Result<SharedBytes> Driver::bytes_to_ship(const ShipBytes& action) {
  if (shipped_.bytes && shipped_.from == action.from && shipped_.flushing == action.flushing) {
    // More than was asked for is one batch, which nobody gets in parts.
    const size_t size = shipped_.bytes->size();
    if (size > 0 && (size <= action.most_bytes || size > shipped_.most_bytes))
      return shipped_.bytes;
  }
  auto bytes = std::make_shared<std::vector<std::byte>>();
  TAILRACE_RETURN_IF_ERROR(action.flushing
                               ? log_.read_raw_flushing(action.from, action.most_bytes, *bytes)
                               : log_.read_raw(action.from, action.most_bytes, *bytes));
  shipped_ = {action.from, action.most_bytes, action.flushing, std::move(bytes)};
  return shipped_.bytes;
}

void Driver::perform_one(const ShipBytes& action) {
  auto read = bytes_to_ship(action);
  if (!read) {
    events_.push_back(ShipFailed{action.peer, read.error().code == ErrorCode::kTruncated,
                                 std::move(read).error().message});
    return;
  }
  auto bytes = std::move(*read);
  const Address durable = log_.durable();
  const Address limit = action.flushing ? std::max(log_.flushing(), durable) : durable;
  const uint64_t size = bytes->size();
  if (size > 0) {
    probe_.shipped.add();
    probe_.shipped_bytes.add(size);
    round_trips_.shipped(action.peer, action.from + size, now());
    transport_.send(action.peer, Data{action.epoch, action.from, std::move(bytes), action.committed,
                                      durable, clock_.unix_time_ns(), action.round, action.echo,
                                      action.age, action.keep_from});
  }
  events_.push_back(Shipped{action.peer, action.from, action.from + size, limit});
}

void Driver::perform_one(AppendRaw& action) {
  appends_.push_back(std::move(action));
  drain_appends();
  if (appends_.empty()) return;
  // What has to wait holds its own bytes only, and not all that came with them.
  AppendRaw& waits = appends_.back();
  waits.bytes = SharedBytes::copy_of(waits.bytes->subspan(waits.skip));
  waits.skip = 0;
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
  settle_change();
}

void Driver::perform_one(const SetAnchor& action) {
  anchors_.set(anchor_name(action.peer, options_.self), action.address);
}

void Driver::perform_one(const RemoveAnchor& action) {
  const auto follower = core_.state().followers.find(action.peer);
  if (follower != core_.state().followers.end() && follower->second.needs_checkpoint)
    observability::log_warning(
        "node {} is too far behind to keep the log for it: it will need a checkpoint",
        action.peer.value);
  anchors_.remove(anchor_name(action.peer, options_.self));
}

void Driver::perform_one(const Resign& action) {
  if (transfer_ && transfer_->epoch == action.epoch && transfer_->to == action.successor)
    transfer_->handed_over = true;
  if (coordinator_) coordinator_->resign(action.epoch, action.successor);
  settle_transfer();
}

void Driver::perform_one(const SeekLead&) {
  // Where the coordinator decides alone it has been told by who gave up.
  if (coordinator_) (void)coordinator_->promote();
}

void Driver::perform_one(const FetchCheckpoint& action) {
  checkpoint_receiver_.wanted(action.from, log_end(), core_.state().committed);
}

void Driver::perform_one(const Fatal& action) {
  fail(Error{ErrorCode::kCorruption, action.message});
}

void Driver::perform_one(const StateChanged&) {
  publish();
  const std::shared_ptr<const NodeStatus> now_published = status();
  std::string told = fmt::format(
      "role {}, epoch {}, leader {}{}{}", name_of(now_published->role), now_published->epoch.value,
      now_published->leader == NodeId{} ? "not known" : std::to_string(now_published->leader.value),
      now_published->serving ? ", serving" : "",
      now_published->problem.empty() ? "" : ": " + now_published->problem);
  // Many changes are of something else.
  if (told != role_told_) observability::log_info("{}", told);
  role_told_ = std::move(told);
  if (role_listener_) role_listener_(*now_published);
  settle_confirmations();
  settle_change();
}

}  // namespace tailrace::replication
