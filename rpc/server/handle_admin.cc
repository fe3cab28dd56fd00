// Status, checkpoint, digest, transfer, promote, changes of the members.
#include "core/host_port.h"
#include "rpc/server/activity.h"
#include "rpc/server/connection.h"
#include "rpc/server/status_answer.h"
#include "rpc/wire/status_codec.h"

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
  const Asked asked{id, RequestKind::kStatus, arrived_};
  status_.look_anew();
  OutgoingMessage message;
  NodeStatusAnswer answer = status_answer(context_.to, status(), context_.options.data_directory);
  answer.activity = *activity_of(context_);
  write_status(answer, begin_response(message, id).initStatus());
  reply(asked, message);
}

void Connection::handle_checkpoint(uint64_t id) {
  const Asked asked{id, RequestKind::kCheckpoint, arrived_};
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
  const Asked asked{id, RequestKind::kTransfer, arrived_};
  context_.to.node->transfer(to, answer_done(asked));
}

void Connection::handle_promote(uint64_t id) {
  const Asked asked{id, RequestKind::kPromote, arrived_};
  context_.to.node->promote(answer_done(asked));
}

void Connection::handle_change_member(uint64_t id, wire::MemberChange::Reader request) {
  const Asked asked{id, RequestKind::kChangeMember, arrived_};
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
  const Asked asked{id, RequestKind::kDigest, arrived_};
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
