// What others ask of a node: does it lead, should it, who else should.

#include <algorithm>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "replication/driver.h"

namespace tailrace::replication {

// ---- Confirmations. One round is on its way at a time: whoever asks meanwhile shares the next.
// ----

void Driver::confirm_leadership(SteadyTime deadline, Node::Confirmed done) {
  post([deadline, done = std::move(done)](Driver& self) mutable {
    const CoreState& state = self.core_.state();
    // Before its first record is committed a leader does not know how much is.
    if (state.leadership.epoch_start.empty() || state.committed < state.leadership.epoch_start.end)
      return done(make_error(ErrorCode::kNotLeader,
                             "node " + std::to_string(self.options_.self.value) +
                                 " does not lead, or its epoch is not committed yet"));
    self.confirmations_.push_back(
        Confirmation{0, state.epoch, state.committed, deadline, std::move(done)});
    if (self.core_.state().confirmed_round >= self.asked_round_) self.ask_round();
    self.settle_confirmations();
  });
}

void Driver::ask_round() {
  if (!running_ || core_.state().role != Role::kLeader) return;
  asked_round_ = core_.state().round + 1;
  for (Confirmation& one : confirmations_)
    if (one.round == 0) one.round = asked_round_;
  handle(ConfirmAsked{now()});
}

void Driver::perform_one(const replication::Confirmed&) {
  settle_confirmations();
}

void Driver::settle_confirmations() {
  if (confirmations_.empty()) return;
  const CoreState& state = core_.state();
  const bool leads = running_ && !failed_ && state.role == Role::kLeader;
  std::vector<Confirmation> waiting;
  waiting.swap(confirmations_);
  bool wanted = false;
  for (Confirmation& one : waiting) {
    if (!leads || one.epoch != state.epoch) {
      one.done(make_error(ErrorCode::kNotLeader, "node " + std::to_string(options_.self.value) +
                                                     " does not lead any more"));
    } else if (one.round != 0 && one.round <= state.confirmed_round) {
      one.done(one.committed);
    } else if (clock_.now() >= one.deadline) {
      one.done(make_error(ErrorCode::kTimedOut,
                          "no majority of the voters confirmed in time that node " +
                              std::to_string(options_.self.value) + " leads"));
    } else {
      wanted = wanted || one.round == 0;
      confirmations_.push_back(std::move(one));
    }
  }
  if (wanted && state.confirmed_round >= asked_round_) ask_round();
}

// ---- Hand-over. --------------------------------------------------------------------------------

void Driver::transfer(NodeId to, Done done) {
  post([to, done = std::move(done)](Driver& self) mutable {
    const CoreState& state = self.core_.state();
    const auto refuse = [&](ErrorCode code, std::string why) {
      done(make_error(code, std::move(why)));
    };
    if (!self.running_ || state.role != Role::kLeader || !state.leadership.serving)
      return refuse(ErrorCode::kNotLeader, "node " + std::to_string(self.options_.self.value) +
                                               " does not lead, or hands over already");
    const CoordinatorStatus coordinator =
        self.coordinator_ ? self.coordinator_->status() : CoordinatorStatus{};
    if (!coordinator.reachable)
      return refuse(
          ErrorCode::kUnavailable,
          fmt::format("the coordinator, which names the next leader, has not answered for "
                      "{:.0f} s: {}. Node {} goes on leading",
                      coordinator.seconds_since_contact, coordinator.problem,
                      self.options_.self.value));
    if (to == NodeId{}) {
      Address most;
      for (const auto& [peer, follower] : state.followers) {
        if (!follower.voter || !follower.streaming || follower.acknowledged < most ||
            !self.unhealthy(follower, peer).empty())
          continue;
        most = follower.acknowledged;
        to = peer;
      }
      if (to == NodeId{})
        return refuse(ErrorCode::kUnavailable,
                      "no other healthy voter is connected to hand over to");
    }
    const auto found = state.followers.find(to);
    if (found == state.followers.end() || !found->second.voter)
      return refuse(ErrorCode::kInvalidArgument,
                    "node " + std::to_string(to.value) + " is no other voter of this cluster");
    if (!found->second.streaming)
      return refuse(ErrorCode::kUnavailable,
                    "node " + std::to_string(to.value) + " does not follow at the moment");
    // Among states of which nobody knows which is right, an operator chooses.
    const std::string why = self.unhealthy(found->second, to);
    if (!why.empty() && !self.comparison_.member(to).dispute)
      return refuse(ErrorCode::kFailedPrecondition,
                    "node " + std::to_string(to.value) + " is unhealthy: " + why);
    self.transfer_ = PendingTransfer{to, state.epoch, false, std::move(done)};
    self.handle(TransferAsked{to});
    self.handle(LogMoved{self.position(), self.watermarks_.applied()});
    self.settle_transfer();
  });
}

/// Called when all of a step is done: the successor is told last.
void Driver::settle_transfer() {
  if (!transfer_) return;
  const CoreState& state = core_.state();
  const std::string self = "node " + std::to_string(options_.self.value);
  const std::string to = "node " + std::to_string(transfer_->to.value);
  const bool leads = running_ && state.role == Role::kLeader && state.epoch == transfer_->epoch;
  if (leads && state.leadership.transferring == transfer_->to) return;
  // Why the lead has ended is said by the actions of the same step, which may be still to come.
  if (!leads && handling_ && running_ && !transfer_->handed_over) return;
  const PendingTransfer transfer = *std::exchange(transfer_, std::nullopt);
  const NodeId promised = state.promise.epoch > transfer.epoch ? state.promise.leader : NodeId{};
  if (leads) {
    transfer.done(make_error(ErrorCode::kTimedOut,
                             to + " did not catch up in time; " + self + " goes on to lead"));
  } else if (transfer.handed_over) {
    transfer.done({});
  } else {
    const std::string other =
        promised == NodeId{} ? "another node" : "node " + std::to_string(promised.value);
    transfer.done(make_error(ErrorCode::kUnknownOutcome,
                             self + (running_ ? " lost the lead to " + other : " stopped") +
                                 " before it had handed over to " + to +
                                 ": `tailrace status` says who leads"));
  }
}

// ---- Members. ----------------------------------------------------------------------------------

/// The first other voter is the last moment at which this node's file can be asked: later the disk
/// may be gone, and a new one with a file that names only itself would found a cluster of its own.
Result<> Driver::check_file_before(const Members& next) const {
  const auto find_other = [this](const Members& members) {
    return std::ranges::find_if(members, [this](const Member& member) {
      return member.id != options_.self && (member.voter || member.joining);
    });
  };
  const Members& present = core_.state().members;
  const auto added = find_other(next);
  if (find_other(present) != present.end() || added == next.end()) return {};
  const Result<Members> file =
      options_.members_in_file ? options_.members_in_file() : Result<Members>(options_.members);
  if (!file) return tl::unexpected(with_context("read whom the file names", file.error()));
  if (find_other(*file) != file->end()) return {};
  const std::string self = std::to_string(options_.self.value);
  return make_error(ErrorCode::kFailedPrecondition,
                    "the configuration file of node " + self +
                        " names no other voter: with a new disk, node " + self +
                        " would begin a cluster of its own. Write node " +
                        std::to_string(added->id.value) +
                        " into `replication.members` of that file, as a voter, and ask again; a "
                        "restart is not needed");
}

void Driver::change_members(MemberChange change, Done done) {
  post([change = std::move(change), done = std::move(done)](Driver& self) mutable {
    if (!self.running_) return done(make_error(ErrorCode::kUnavailable, "the node does not run"));
    Result<Members> next = self.core_.after_change(change);
    if (!next && next.error().code == ErrorCode::kUnavailable) {
      self.handle(ChangeAsked{change});  // a leader alone gets its vote by that
      next = self.core_.after_change(change);
    }
    if (!next) return done(tl::unexpected(next.error()));
    const CoreState& state = self.core_.state();
    if (*next == state.members) return done({});
    if (Result<> known = self.check_file_before(*next); !known)
      return done(tl::unexpected(std::move(known).error()));
    if (self.change_)
      return done(make_error(ErrorCode::kUnavailable,
                             "the change of members before is not committed yet: try again"));
    const Address before = state.members_record.first;
    const Epoch epoch = state.epoch;
    self.handle(ChangeAsked{std::move(change)});
    if (state.role != Role::kLeader || state.epoch != epoch)
      return done(make_error(ErrorCode::kUnknownOutcome,
                             "node " + std::to_string(self.options_.self.value) +
                                 " lost the lead meanwhile: `tailrace member list` says what came "
                                 "of the change"));
    if (state.members_record.first == before)
      return done(make_error(ErrorCode::kUnavailable,
                             "the log has no room for the record of the members: try again"));
    self.change_ = PendingChange{epoch, state.members_record, std::move(done)};
    self.settle_change();
  });
}

void Driver::settle_change() {
  if (!change_) return;
  const CoreState& state = core_.state();
  const bool same_lead =
      running_ && !failed_ && state.role == Role::kLeader && state.epoch == change_->epoch;
  if (same_lead && state.committed < change_->record.end) return;
  const PendingChange change = *std::exchange(change_, std::nullopt);
  if (same_lead)
    change.done({});
  else
    change.done(make_error(ErrorCode::kUnknownOutcome,
                           "node " + std::to_string(options_.self.value) +
                               " lost the lead before the change was committed: `tailrace member "
                               "list` says what came of it"));
}

void Driver::promote(Done done) {
  post([done = std::move(done)](Driver& self) {
    if (!self.running_) return done(make_error(ErrorCode::kUnavailable, "the node does not run"));
    if (!self.coordinator_)
      return done(make_error(ErrorCode::kUnavailable,
                             "this node has just started, and hears the other voters first, for a "
                             "second at most: try again"));
    if (!self.core_.is_member(self.options_.self) || self.core_.state().outsider)
      return done(make_error(ErrorCode::kFailedPrecondition,
                             "this node was removed from the members of the cluster"));
    if (!self.core_.may_lead())
      return done(make_error(ErrorCode::kFailedPrecondition, "a learner cannot lead"));
    if (self.comparison_.divergence())
      return done(make_error(ErrorCode::kFailedPrecondition, self.unhealthy()));
    const bool needs_word = self.core_.needs_word();
    if (needs_word) self.handle(GoOnAsked{});
    const Result<> promoted = self.coordinator_->promote();
    // Where etcd decides, the word is what was missing.
    done(needs_word ? Result<>{} : promoted);
  });
}

}  // namespace tailrace::replication
