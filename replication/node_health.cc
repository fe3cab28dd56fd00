// Whether this node's state may be read: it is applied, and it is the cluster's.

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "observability/logging.h"
#include "replication/driver.h"

namespace tailrace::replication {

namespace {

constexpr std::chrono::seconds kStepDownAgain{5};

constexpr std::string_view kNobodyKnows =
    "no state has a majority, so nobody can say which is right: remove nothing; compare them with "
    "`tailrace verify`, have the node lead whose state you trust (`tailrace transfer --to ID`), "
    "then replace the others one after the other";

}  // namespace

/// Nothing is to be removed while it may be all that there is.
std::string Driver::remedy() const {
  constexpr std::string_view kReplace =
      "stop it, remove its data directory and start it: it comes back as a new disk";
  if (compared_successor() != NodeId{}) return std::string(kReplace);
  return fmt::format(
      "first see in `tailrace status` that another voter is healthy: then {}. Where none is, "
      "remove nothing (docs/operating/health.md)",
      kReplace);
}

NodeId Driver::compared_successor() const {
  NodeId best;
  Address most;
  for (const auto& [id, follower] : core_.state().followers) {
    const StateComparison::MemberView view = comparison_.member(id);
    const bool is_well = view.last_compared != Address{} && !view.diverged && !view.dispute;
    if (!is_well || !follower.voter || !follower.streaming || follower.acknowledged < most)
      continue;
    most = follower.acknowledged;
    best = id;
  }
  return best;
}

/// Before anything is served: a restart makes no state right.
Result<> Driver::recall_divergence() {
  TAILRACE_ASSIGN_OR_RETURN(auto found, divergence_file_.read());
  if (!found) return divergence_file_.reserve();
  comparison_.known_before(*found);
  divergence_kept_ = true;
  observability::log_error("{}", unhealthy());
  return {};
}

void Driver::tick_health() {
  const CoreState& state = core_.state();
  applier_.observe(watermarks_.applied(), watermarks_.committed(), now());
  for (const auto& [id, follower] : state.followers) {
    // What is not on its disk it cannot apply: that is lag, and told as such.
    appliers_[id].observe(follower.applied, std::min(state.committed, follower.durable), now());
  }
  const bool leads = state.role == Role::kLeader && state.leadership.serving && !failed_;
  const statemachine::DigestProgress progress = state_machine_.digest_progress();
  comparison_.tick(leads ? state.epoch : Epoch{}, progress, now());
  for (auto& [peer, question] : comparison_.due(state.connected, now()))
    transport_.send(peer, question);
  if (knows(state.cluster_version, Feature::kCompare) &&
      comparison_.wants_digest(state.connected, now()))
    ask_for_digest();
  remember_divergence();
  if (leads && comparison_.divergence()) step_down_diverged();
}

void Driver::ask_for_digest() {
  statemachine::Command command;
  command.operation = statemachine::Operation::kCompare;
  std::vector<std::byte> bytes;
  statemachine::encode(command, bytes);
  // A full buffer has room at a later tick, and a failed log says so elsewhere.
  const fasterlog::RecordView record{statemachine::kCommandRecord, ByteSpan(bytes)};
  const auto range = log_.try_enqueue_in(core_.state().epoch, {&record, 1});
  if (range) comparison_.asked(range->end, now());
}

/// Its answers of conditional commands come from its state. Without another that is known to be
/// right it goes on: what is in the log is right, and two that are both wrong would hand the lead
/// to each other for ever.
void Driver::step_down_diverged() {
  if (transfer_ || (stepped_down_ && clock_.now() - *stepped_down_ < kStepDownAgain)) return;
  const NodeId successor = compared_successor();
  if (successor == NodeId{}) return;
  stepped_down_ = clock_.now();
  transfer(successor, [](const Result<>& handed) {
    if (!handed)
      observability::log_warning("a leader with a wrong state goes on: {}", handed.error().message);
  });
}

void Driver::remember_divergence() {
  if (const bool disputed = comparison_.disputed(); disputed != dispute_told_) {
    dispute_told_ = disputed;
    if (disputed) observability::log_error("{}", disagreement());
  }
  probe_.digest_mismatches.add(comparison_.mismatches() - probe_.digest_mismatches.value());
  if (divergence_kept_ || !comparison_.divergence()) return;
  if (!std::exchange(divergence_told_, true)) observability::log_error("{}", unhealthy());
  auto kept = divergence_file_.write(*comparison_.divergence(), clock_.unix_time_ns());
  divergence_kept_ = kept.has_value();
  // As long as this process lives it knows anyway; with room its disk will, too.
  if (kept || kept.error().code == ErrorCode::kResourceExhausted) return;
  fail(with_context("remember that the state has diverged", std::move(kept).error()));
}

void Driver::on_compare(NodeId peer, const CompareState& question) {
  const CoreState& state = core_.state();
  // It is asked again: until this node follows, and has got there.
  if (!running_ || failed_ || peer != state.leader || question.epoch != state.epoch) return;
  if (watermarks_.applied() < question.address) return;
  const auto digest = state_machine_.digest_at(question.address);
  if (!digest && digest.error().code == ErrorCode::kWouldBlock) return;
  const StateCompared answer =
      comparison_.answer(question, digest ? std::optional<StateDigest>(*digest) : std::nullopt);
  // Remembered before it is told.
  remember_divergence();
  if (failed_ || (comparison_.divergence() && !divergence_kept_)) return;
  publish();
  transport_.send(peer, answer);
}

void Driver::on_compared(NodeId peer, const StateCompared& answer) {
  if (!running_ || failed_ || !core_.is_member(peer)) return;
  comparison_.answered(peer, answer, now());
  for (auto& [to, question] : comparison_.due(core_.state().connected, now()))
    transport_.send(to, question);
  remember_divergence();
  publish();
}

std::string Driver::unhealthy() const {
  if (const auto failure = state_machine_.failure())
    return "this node applies nothing any more: " + failure->message;
  if (const auto& divergence = comparison_.divergence())
    return "the state of this node differs from the cluster's: " + describe(*divergence) + "; " +
           remedy();
  // The leader's is not called right, but one of them has to be read, or none could be.
  if (const auto& dispute = comparison_.dispute())
    return fmt::format("the state of this node differs from the leader's: {}; {}",
                       describe(*dispute, "the leader's"), kNobodyKnows);
  const auto stalled = applier_.stalled_for();
  if (options_.apply_stall_after.count() > 0 && stalled >= options_.apply_stall_after)
    return fmt::format("not applying for {} s: applied {}, committed {}",
                       std::chrono::duration_cast<std::chrono::seconds>(stalled).count(),
                       watermarks_.applied().value, watermarks_.committed().value);
  return {};
}

std::string Driver::disagreement() const {
  std::string others;
  for (const auto& [id, follower] : core_.state().followers)
    if (comparison_.member(id).dispute)
      others += (others.empty() ? "" : ", ") + std::to_string(id.value);
  if (!comparison_.disputed() || others.empty()) return {};
  return fmt::format("the states of this node and of node {} differ; {}", others, kNobodyKnows);
}

std::string Driver::unhealthy(const FollowerState& follower, NodeId id) const {
  const StateComparison::MemberView view = comparison_.member(id);
  if (view.divergence) return "its state differs: " + describe(*view.divergence) + "; " + remedy();
  if (view.dispute)
    return fmt::format("its state differs from this node's: {}; {}",
                       describe(*view.dispute, "this node's"), kNobodyKnows);
  if (view.diverged) return "it says that its state differs from the cluster's; " + remedy();
  const auto watch = appliers_.find(id);
  const bool fed = follower.streaming || core_.hears_relayed(follower);
  if (!fed || watch == appliers_.end()) return {};
  const auto stalled = watch->second.stalled_for();
  if (options_.apply_stall_after.count() > 0 && stalled >= options_.apply_stall_after)
    return fmt::format("not applying for {} s: applied {}",
                       std::chrono::duration_cast<std::chrono::seconds>(stalled).count(),
                       follower.applied.value);
  return {};
}

}  // namespace tailrace::replication
