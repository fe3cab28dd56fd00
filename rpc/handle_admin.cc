// Status, checkpoint, digest, transfer, promote, changes of the members.
#include <asio/post.hpp>

#include "rpc/connection.h"
#include "rpc/endpoint.h"

namespace tailrace::rpc {
namespace {

/// The greatest commit-mark end in [from, address]: what a digest of whole batches can end at. The
/// same on every node that holds these bytes.
Result<Address> last_batch_end(fasterlog::Log& log, Address from, Address address) {
  fasterlog::Log::ScanOptions options;
  options.with_commit_marks = true;
  const auto scanner = log.scan(from, options);
  Address last = from;
  while (true) {
    auto next = scanner->next(address);
    if (!next) return tl::unexpected(std::move(next).error());
    if (!*next) return last;
    const fasterlog::Record& record = **next;
    if (record.kind == fasterlog::RecordKind::kCommitMark && record.end <= address)
      last = record.end;
  }
}

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
  if (problem.empty()) problem = now.no_leader;
  answer.setProblem(problem.c_str());
  answer.setEpoch(now.epoch.value);
  answer.setLeader(now.leader.value);
  answer.setLeaderAddress(now.leader_client_address.c_str());
  answer.setServing(now.serving);
  answer.setVote(static_cast<uint8_t>(now.vote));
  answer.setSource(now.source.value);
  answer.setUnhealthy(now.unhealthy.c_str());
  answer.setLastCompared(now.last_compared.value);
  answer.setDiverged(now.diverged);
  answer.setCoordinator(now.coordinator.problem.c_str());
  auto copy = answer.initCopy();
  copy.setStage(std::string(name_of(now.copy.stage)).c_str());
  copy.setFrom(now.copy.from.value);
  copy.setReceived(now.copy.received);
  copy.setBytes(now.copy.bytes);
  copy.setProblem(now.copy.problem.c_str());
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
    one.setUnhealthy(follower.unhealthy.c_str());
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
  auto done = [back = come_back(), asked](Result<Address> address) {
    back([asked, address = std::move(address)](Connection& self) {
      self.ended();
      if (!address) return self.reply_error(asked, address.error());
      OutgoingMessage message;
      self.begin_response(message, asked.id).setCheckpoint(address->value);
      self.reply(asked, message);
    });
  };
  context_.to.state_machine->request_checkpoint(std::move(done));
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
  if (refuse_unless_leader(asked)) return;
  context_.to.node->transfer(to, answer_done(asked));
}

void Connection::handle_promote(uint64_t id) {
  const Asked asked{id, RequestKind::kPromote, std::chrono::steady_clock::now()};
  context_.to.node->promote(answer_done(asked));
}

void Connection::handle_change_member(uint64_t id, wire::MemberChange::Reader request) {
  const Asked asked{id, RequestKind::kChangeMember, std::chrono::steady_clock::now()};
  if (refuse_unless_leader(asked)) return;
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
    if (const auto parsed = parse_endpoint(address); !parsed)
      return reply_error(asked,
                         with_context("member " + std::to_string(member.id.value), parsed.error()));
  }
  context_.to.node->change_members(std::move(change), answer_done(asked));
}

void Connection::handle_digest(uint64_t id, wire::Digest::Reader request) {
  const Asked asked{id, RequestKind::kDigest, std::chrono::steady_clock::now()};
  const Address address{request.getAddress()};
  const Address asked_from{request.getLogFrom()};
  began();
  auto compute = [to = context_.to, asked, address, asked_from, back = come_back()] {
    const Address begin = to.log->begin();
    const Address from = asked_from.value == 0 ? begin : asked_from;
    auto state = to.state_machine->digest_at(address);
    Result<std::pair<uint64_t, uint64_t>> log = std::pair<uint64_t, uint64_t>{};
    // The digest command stands inside a batch: the log is compared up to the batch before.
    if (auto end = last_batch_end(*to.log, from, address); !end)
      log = tl::unexpected(std::move(end).error());
    else if (from < *end)
      log = to.state_machine->log_digest(AddressRange{from, *end});
    back([asked, begin, state = std::move(state), log = std::move(log)](Connection& self) {
      self.ended();
      if (!state) return self.reply_error(asked, state.error());
      if (!log) return self.reply_error(asked, log.error());
      OutgoingMessage message;
      auto answer = self.begin_response(message, asked.id).initDigest();
      answer.setBegin(begin.value);
      answer.setStateHigh(state->high);
      answer.setStateLow(state->low);
      answer.setPairs(state->pairs);
      answer.setLogHigh(log->first);
      answer.setLogLow(log->second);
      self.reply(asked, message);
    });
  };
  auto waited = [weak = weak_from_this(), asked, compute = std::move(compute)](Result<> arrived) {
    const auto self = std::static_pointer_cast<Connection>(weak.lock());
    if (!self || self->closed()) return;
    if (arrived) {
      asio::post(self->context_.admin, compute);
      return;
    }
    self->ended();
    self->reply_error(asked, arrived.error());
    self->thread_.touch(self);
  };
  thread_.when_applied(address, Epoch{}, deadline(request.getTimeoutMs()), std::move(waited));
}

}  // namespace tailrace::rpc
