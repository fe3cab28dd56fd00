#include "replication/protocol/describe.h"

#include <fmt/format.h>

namespace tailrace::replication {

namespace {

std::string node(NodeId id) {
  return fmt::format("node {}", id.value);
}

std::string size_of(const SharedBytes& bytes) {
  return fmt::format("{} bytes", bytes ? bytes->size() : 0);
}

std::string log_end(const char* whose, Epoch last_epoch, Address end) {
  if (last_epoch.value == 0) return fmt::format("{} log is empty", whose);
  return fmt::format("{} log ends at {}, in epoch {}", whose, end.value, last_epoch.value);
}

std::string vote_of(const char* who, Vote vote) {
  switch (vote) {
    case Vote::kNone:
      return fmt::format("{} no vote yet", who);
    case Vote::kProvisional:
      return fmt::format("{} a provisional vote", who);
    case Vote::kFull:
      return fmt::format("{} a vote", who);
  }
  return fmt::format("{} a vote that is not known here", who);
}

std::string kind_of(const Member& member) {
  return member.voter ? "voter" : member.joining ? "joins" : "learner";
}

std::string list_of(const Members& members) {
  std::string text;
  for (const Member& member : members)
    text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", member.id.value, kind_of(member));
  return text;
}

struct MessageInWords {
  std::string operator()(const Subscribe& it) const {
    return fmt::format("feed me in epoch {}; {}; {}", it.promised.value,
                       log_end("my", it.last_epoch, it.durable), vote_of("I have", it.vote));
  }
  std::string operator()(const Accept& it) const {
    return fmt::format("the stream of epoch {} begins at {}; committed is {}", it.epoch.value,
                       it.start.value, it.committed.value);
  }
  std::string operator()(const Refuse& it) const {
    return fmt::format("no ({}): {}", name_of(it.reason), it.message);
  }
  std::string operator()(const Data& it) const {
    if (!it.bytes || it.bytes->empty())
      return fmt::format("heartbeat, round {}; committed is {}", it.round, it.committed.value);
    return fmt::format("{} from {} on; committed is {}", size_of(it.bytes), it.from.value,
                       it.committed.value);
  }
  std::string operator()(const Acknowledge& it) const {
    const std::string from =
        it.relayed_by.value != 0 ? ", fed by " + node(it.relayed_by) : std::string();
    return fmt::format("I have it durable up to {}{}; round {}", it.durable.value, from, it.round);
  }
  std::string operator()(const Seal& it) const {
    return fmt::format("promise me epoch {}", it.epoch.value);
  }
  std::string operator()(const Sealed& it) const {
    std::string text =
        fmt::format("epoch {} is promised to you; {}; {}", it.epoch.value,
                    log_end("my", it.last_epoch, it.durable), vote_of("I have", it.vote));
    if (it.owed_epoch.value != 0)
      text += fmt::format("; count that only for a log that reaches {}, of epoch {}", it.owed.value,
                          it.owed_epoch.value);
    return text;
  }
  std::string operator()(const Leading& it) const {
    return fmt::format("I lead epoch {}", it.epoch.value);
  }
  std::string operator()(const Diverges& it) const {
    return fmt::format("our logs differ: mine has epoch {} up to {}, cut yours to that",
                       it.last_epoch.value, it.end.value);
  }
  std::string operator()(const GrantVote& it) const {
    return it.vote == Vote::kFull ? "you hold all that was committed: you have a vote"
                                  : "you hold all that was committed: you have a provisional vote";
  }
  std::string operator()(const TakeOver& it) const {
    return fmt::format("I have given up epoch {}: seek the lead", it.epoch.value);
  }
  std::string operator()(const AskCheckpoint& it) const {
    return fmt::format("which copy of the state do you have, up to {} at least?",
                       it.at_least.value);
  }
  std::string operator()(const OfferCheckpoint& it) const {
    if (!it.problem.empty()) return "no copy now: " + it.problem;
    return fmt::format("a copy up to {}, {} bytes", it.plan.log.end.value, it.plan.bytes());
  }
  std::string operator()(const ReadCheckpoint& it) const {
    return fmt::format("{} bytes of the copy from {} on, please", it.bytes, it.offset);
  }
  std::string operator()(const CheckpointPart& it) const {
    if (!it.problem.empty()) return "no part of the copy: " + it.problem;
    return fmt::format("{} of the copy from {} on", size_of(it.bytes), it.offset);
  }
  std::string operator()(const CompareState& it) const {
    return fmt::format("my state at {} has the digest {:016x}{:016x}{}", it.address.value, it.high,
                       it.low,
                       it.settled    ? ", as that of a majority has"
                       : it.disputed ? ", and none has a majority"
                                     : "");
  }
  std::string operator()(const StateCompared& it) const {
    if (!it.known) return fmt::format("I have no digest at {}", it.address.value);
    return fmt::format("mine at {} has {:016x}{:016x}{}", it.address.value, it.high, it.low,
                       it.diverged ? ": I have diverged" : "");
  }
};

struct EventInWords {
  std::string operator()(const Started& it) const {
    const std::string promised = it.promise.epoch.value == 0 ? "it has promised nothing"
                                 : it.promise.leader.value == 0
                                     ? fmt::format("it knows of epoch {}", it.promise.epoch.value)
                                     : fmt::format("it has promised epoch {} to node {}",
                                                   it.promise.epoch.value, it.promise.leader.value);
    return fmt::format("starts: {}; {}; {}", log_end("its", it.log.last_epoch, it.log.durable),
                       promised, vote_of("it has", it.promise.vote));
  }
  std::string operator()(const Granted& it) const {
    return fmt::format("hears from the coordinator: node {} may seek the lead in epoch {}",
                       it.leader.value, it.epoch.value);
  }
  std::string operator()(const GoOnAsked&) const {
    return "is told by an operator to go on from what its disk holds";
  }
  std::string operator()(const TransferAsked& it) const {
    return fmt::format("is asked to hand the lead over to node {}", it.to.value);
  }
  std::string operator()(const ChangeAsked& it) const {
    const Member& member = it.change.member;
    if (it.change.kind == MemberChange::Kind::kRemove)
      return fmt::format("is asked to remove node {}", member.id.value);
    return fmt::format("is asked to make node {} a {}", member.id.value,
                       member.voter ? "voter" : "learner");
  }
  std::string operator()(const MembersAppended& it) const {
    return fmt::format("its log holds the record of the members, and ends at {}",
                       it.log.tail.value);
  }
  std::string operator()(const ConfirmAsked&) const { return "is asked whether it still leads"; }
  std::string operator()(const Tick&) const { return "looks at the time"; }
  std::string operator()(const PeerConnected& it) const {
    return fmt::format("is connected with node {}", it.peer.value);
  }
  std::string operator()(const PeerDisconnected& it) const {
    return fmt::format("has lost the connection with node {}", it.peer.value);
  }
  std::string operator()(const Received& it) const {
    return fmt::format("hears from node {}: {}", it.peer.value, describe(it.message));
  }
  std::string operator()(const PromisePersisted& it) const {
    if (it.promise.epoch.value == 0) return "has on disk whose disks it has met";
    return it.promise.leader.value == 0
               ? fmt::format("has on disk that it knows of epoch {}", it.promise.epoch.value)
               : fmt::format("has its promise of epoch {} to node {} on disk",
                             it.promise.epoch.value, it.promise.leader.value);
  }
  std::string operator()(const WriterReady& it) const {
    return fmt::format("has the first record of its epoch in its log, [{}, {})",
                       it.record.first.value, it.record.end.value);
  }
  std::string operator()(const LogMoved& it) const {
    return fmt::format("has its log durable up to {}", it.log.durable.value);
  }
  std::string operator()(const LogSettled& it) const {
    return fmt::format("has nothing on its way to the log any more; it ends at {}",
                       it.log.tail.value);
  }
  std::string operator()(const Shipped& it) const {
    return fmt::format("has sent [{}, {}) to node {}", it.from.value, it.end.value, it.peer.value);
  }
  std::string operator()(const ShipFailed& it) const {
    return fmt::format("could not read its log for node {}: {}", it.peer.value, it.message);
  }
  std::string operator()(const AppendFailed& it) const {
    return fmt::format("its log refused bytes at {}: {}", it.tail.value, it.message);
  }
};

struct ActionInWords {
  std::string operator()(const PersistPromise& it) const {
    if (it.promise.epoch.value == 0) return "writes to disk whose disks it has met";
    if (it.promise.leader.value == 0)
      return fmt::format("writes to disk that it knows of epoch {}; {}", it.promise.epoch.value,
                         vote_of("it has", it.promise.vote));
    return fmt::format("writes to disk: epoch {} is promised to node {}; {}",
                       it.promise.epoch.value, it.promise.leader.value,
                       vote_of("it has", it.promise.vote));
  }
  std::string operator()(const BecomeWriter& it) const {
    return fmt::format("writes the first record of epoch {} to its log", it.epoch.value);
  }
  std::string operator()(const AppendMembers& it) const {
    return fmt::format("writes a record of the members to its log, of cluster version {}: {}",
                       it.record.cluster_version, list_of(it.record.members));
  }
  std::string operator()(const MembersChanged&) const { return "goes by other members"; }
  std::string operator()(const BecomeCopy&) const { return "takes its log for a copy from now on"; }
  std::string operator()(const DropAppends&) const {
    return "forgets what its log has not taken yet";
  }
  std::string operator()(const CutLog& it) const {
    return fmt::format("cuts its log to {}", it.to.value);
  }
  std::string operator()(const Disconnect& it) const {
    return fmt::format("drops the connection with node {}", it.peer.value);
  }
  std::string operator()(const Send& it) const {
    return fmt::format("tells node {}: {}", it.peer.value, describe(it.message));
  }
  std::string operator()(const ShipBytes& it) const {
    return fmt::format("reads its log from {} on for node {}", it.from.value, it.peer.value);
  }
  std::string operator()(const AppendRaw& it) const {
    return fmt::format("gives its log the bytes from {} on", it.at.value);
  }
  std::string operator()(const AdvanceCommitted& it) const {
    return fmt::format("knows that all below {} is committed", it.committed.value);
  }
  std::string operator()(const SetAnchor& it) const {
    return fmt::format("keeps its log from {} on for node {}", it.address.value, it.peer.value);
  }
  std::string operator()(const RemoveAnchor& it) const {
    return fmt::format("keeps nothing of its log for node {} any more", it.peer.value);
  }
  std::string operator()(const Resign& it) const {
    if (it.successor.value == 0)
      return fmt::format("gives epoch {} back to the coordinator", it.epoch.value);
    return fmt::format("gives epoch {} back to the coordinator, for node {}", it.epoch.value,
                       it.successor.value);
  }
  std::string operator()(const SeekLead&) const { return "asks the coordinator for the lead"; }
  std::string operator()(const Confirmed& it) const {
    return fmt::format("knows that it led when round {} was asked", it.round);
  }
  std::string operator()(const FetchCheckpoint& it) const {
    return fmt::format("wants a copy of node {}'s state", it.from.value);
  }
  std::string operator()(const Fatal& it) const { return "stops: " + it.message; }
  std::string operator()(const StateChanged&) const { return "tells its status"; }
};

}  // namespace

std::string describe(const Message& message) {
  return std::visit(MessageInWords{}, message);
}
std::string describe(const Event& event) {
  return std::visit(EventInWords{}, event);
}
std::string describe(const Action& action) {
  return std::visit(ActionInWords{}, action);
}

}  // namespace tailrace::replication
