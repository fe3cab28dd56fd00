// Status, checkpoint, digest, transfer, promote, changes of the members.
#include "core/host_port.h"
#include "rpc/server/connection.h"

namespace tailrace::rpc {
namespace {

/// Digests are asked for by commands no more often.
constexpr std::chrono::milliseconds kDigestInterval{50};
/// Then it is told how far a digest is.
constexpr std::chrono::milliseconds kDigestPatience{1000};
// Of one connection.
constexpr uint32_t kMostDigestsInFlight = 2;

}  // namespace

void Connection::handle_status(uint64_t id) {
  const Asked asked{id, RequestKind::kStatus, std::chrono::steady_clock::now()};
  const auto& to = context_.to;
  status_ = to.node->status();
  const replication::NodeStatus& now = *status_;
  const statemachine::WatermarkSnapshot marks = to.watermarks->snapshot();
  OutgoingMessage message;
  auto answer = begin_response(message, id).initStatus();
  answer.setNode(now.self.value);
  answer.setRole(std::string(replication::name_of(now.role)).c_str());
  std::string problem = now.problem;
  if (const auto failure = to.log->failure(); failure && problem.empty())
    problem = failure->message;
  if (const auto failure = to.state_machine->failure(); failure && problem.empty())
    problem = failure->message;
  if (problem.empty()) problem = now.disagreement;
  if (problem.empty()) problem = now.store_full;
  if (problem.empty()) problem = now.no_leader;
  answer.setProblem(shown(problem).c_str());
  answer.setEpoch(now.epoch.value);
  answer.setLeader(now.leader.value);
  answer.setLeaderAddress(now.leader_client_address.c_str());
  answer.setServing(now.serving);
  answer.setVote(static_cast<uint8_t>(now.vote));
  answer.setSource(now.source.value);
  answer.setUnhealthy(shown(now.unhealthy).c_str());
  answer.setLastCompared(now.last_compared.value);
  answer.setDiverged(now.diverged);
  answer.setCoordinator(now.coordinator.problem.c_str());
  auto copy = answer.initCopy();
  copy.setStage(std::string(name_of(now.copy.stage)).c_str());
  copy.setFrom(now.copy.from.value);
  copy.setReceived(now.copy.received);
  copy.setBytes(now.copy.bytes);
  copy.setProblem(shown(now.copy.problem).c_str());
  answer.setBegin(marks.begin.value);
  answer.setCheckpointed(marks.checkpointed.value);
  answer.setApplied(marks.applied.value);
  answer.setCommitted(marks.committed.value);
  answer.setDurable(marks.durable.value);
  answer.setTail(marks.tail.value);
  answer.setLogDiskBytes(to.log->disk_bytes());
  const statemachine::StoreStatus store = to.state_machine->store_status();
  answer.setStoreUsedBytes(store.used_bytes);
  answer.setStoreCapacityBytes(store.capacity_bytes);
  answer.setLiveRecords(store.live_records);
  answer.setStoreLogBegin(store.log.begin);
  answer.setStoreLogHead(store.log.head);
  answer.setStoreLogReadOnly(store.log.read_only);
  answer.setStoreLogTail(store.log.tail);
  answer.setLogTimeNs(to.state_machine->log_time_ns());
  auto followers = answer.initFollowers(static_cast<unsigned>(now.followers.size()));
  for (unsigned i = 0; i < now.followers.size(); ++i) {
    const replication::FollowerStatus& follower = now.followers[i];
    auto one = followers[i];
    one.setNode(follower.id.value);
    one.setVoter(follower.voter);
    one.setVote(static_cast<uint8_t>(follower.vote));
    one.setConnected(follower.connected);
    one.setRelayedBy(follower.relayed_by.value);
    one.setNeedsCheckpoint(follower.needs_checkpoint);
    one.setDurable(follower.durable.value);
    one.setApplied(follower.applied.value);
    one.setLagBytes(follower.lag_bytes);
    one.setLagSeconds(follower.lag_seconds);
    one.setUnhealthy(shown(follower.unhealthy).c_str());
    one.setLastCompared(follower.last_compared.value);
  }
  auto members = answer.initMembers(static_cast<unsigned>(now.members.size()));
  for (unsigned i = 0; i < now.members.size(); ++i) {
    const replication::Member& member = now.members[i];
    members[i].setNode(member.id.value);
    members[i].setVoter(member.voter);
    members[i].setJoining(member.joining);
    members[i].setPeerAddress(member.peer_address.c_str());
    members[i].setClientAddress(member.client_address.c_str());
  }
  answer.setMembersInLog(now.members_in_log);
  answer.setRemoved(now.removed);
  answer.setClusterVersion(now.cluster_version);
  answer.setClusterIdentity(text_of(now.identity).c_str());
  const auto named = to.anchors->all();
  auto anchors = answer.initAnchors(static_cast<unsigned>(named.size()));
  for (unsigned i = 0; i < named.size(); ++i) {
    anchors[i].setName(named[i].first.c_str());
    anchors[i].setAddress(named[i].second.value);
  }
  reply(asked, message);
}

void Connection::handle_checkpoint(uint64_t id) {
  const Asked asked{id, RequestKind::kCheckpoint, std::chrono::steady_clock::now()};
  began();
  ++checkpoints_in_flight_;
  auto done = [back = come_back(), asked](const Result<Address>& address) {
    back([asked, address](Connection& self) {
      self.ended();
      --self.checkpoints_in_flight_;
      if (!address) return self.reply_error(asked, address.error());
      OutgoingMessage message;
      self.begin_response(message, asked.id).setCheckpoint(address->value);
      self.reply(asked, message);
    });
  };
  context_.checkpoints.ask(weak_from_this(), std::move(done));
}

std::function<void(Result<>)> Connection::answer_done(const Asked& asked) {
  began();
  return [back = come_back(), asked](Result<> result) {
    back([asked, result = std::move(result)](Connection& self) {
      self.ended();
      if (!result) return self.reply_error(asked, result.error());
      OutgoingMessage message;
      self.begin_response(message, asked.id).setDone();
      self.reply(asked, message);
    });
  };
}

void Connection::handle_transfer(uint64_t id, NodeId to) {
  const Asked asked{id, RequestKind::kTransfer, std::chrono::steady_clock::now()};
  context_.to.node->transfer(to, answer_done(asked));
}

void Connection::handle_promote(uint64_t id) {
  const Asked asked{id, RequestKind::kPromote, std::chrono::steady_clock::now()};
  context_.to.node->promote(answer_done(asked));
}

void Connection::handle_change_member(uint64_t id, wire::MemberChange::Reader request) {
  const Asked asked{id, RequestKind::kChangeMember, std::chrono::steady_clock::now()};
  replication::MemberChange change;
  replication::Member& member = change.member;
  if (request.isRemove()) {
    change.kind = replication::MemberChange::Kind::kRemove;
    member.id = NodeId{request.getRemove()};
  } else if (request.isSet()) {
    const auto set = request.getSet();
    member.id = NodeId{set.getNode()};
    member.voter = set.getVoter();
    member.peer_address = to_string(set.getPeerAddress());
    member.client_address = to_string(set.getClientAddress());
  } else {
    return reply_error(asked, Error{ErrorCode::kUnsupported,
                                    "this server does not know that change of the members"});
  }
  // What no node could ever reach must not get into the log.
  for (const std::string& address : {member.peer_address, member.client_address}) {
    if (address.empty()) continue;
    if (const auto parsed = parse_reachable(address); !parsed)
      return reply_error(asked,
                         with_context("member " + std::to_string(member.id.value), parsed.error()));
  }
  context_.to.node->change_members(std::move(change), answer_done(asked));
}

bool Connection::held_for_digest() {
  const SteadyTime now = std::chrono::steady_clock::now();
  const Address last = context_.digests_asked.end.load();
  const bool unapplied =
      last > context_.to.watermarks->applied() && last <= context_.to.log->tail();
  const bool lately = now - context_.digests_asked.time.load() < kDigestInterval;
  if (!unapplied && !lately && !context_.to.state_machine->digest_progress().requested)
    return false;
  thread_.look_again(std::static_pointer_cast<Connection>(shared_from_this()), false);
  return true;
}

FramedSocket::Take Connection::handle_digest(uint64_t id, wire::Digest::Reader request) {
  if (digests_in_flight_ >= kMostDigestsInFlight) {
    thread_.look_again(std::static_pointer_cast<Connection>(shared_from_this()), false);
    return Take::kHold;
  }
  const Asked asked{id, RequestKind::kDigest, std::chrono::steady_clock::now()};
  const DigestTable::Question question{Address{request.getAddress()},
                                       Address{request.getLogFrom()}};
  const SteadyTime deadline = this->deadline(request.getTimeoutMs());
  const SteadyTime told_by = std::min(deadline, asked.started + kDigestPatience);
  began();
  ++digests_in_flight_;
  auto done = [back = come_back(), asked](const Result<DigestTable::Answer>& found) {
    back([asked, found](Connection& self) {
      self.ended();
      --self.digests_in_flight_;
      if (!found) return self.reply_error(asked, found.error());
      OutgoingMessage message;
      auto answer = self.begin_response(message, asked.id).initDigest();
      answer.setBegin(found->begin.value);
      answer.setStateHigh(found->state.high);
      answer.setStateLow(found->state.low);
      answer.setPairs(found->state.pairs);
      answer.setLogHigh(found->log.first);
      answer.setLogLow(found->log.second);
      self.reply(asked, message);
    });
  };
  auto waited = [weak = weak_from_this(), asked, question, told_by,
                 done = std::move(done)](Result<> arrived) {
    const auto self = std::static_pointer_cast<Connection>(weak.lock());
    if (!self || self->closed()) return;
    if (arrived) return self->context_.digests.ask(question, {self, told_by, done});
    self->ended();
    --self->digests_in_flight_;
    self->reply_error(asked, arrived.error());
    self->thread_.touch(self);
  };
  thread_.when_applied(question.address, Epoch{}, deadline, std::move(waited));
  return Take::kDone;
}

}  // namespace tailrace::rpc
