#include "rpc/peer_codec.h"

#include <fmt/format.h>

#include "rpc/message.h"

namespace tailrace::rpc {
namespace {

using replication::Accept;
using replication::Acknowledge;
using replication::CompareState;
using replication::Data;
using replication::Diverges;
using replication::GrantVote;
using replication::Leading;
using replication::Refuse;
using replication::Seal;
using replication::Sealed;
using replication::StateCompared;
using replication::Subscribe;
using replication::TakeOver;
using replication::Vote;

struct Encode {
  wire::PeerFrame::Builder frame;

  void operator()(const Subscribe& from) {
    auto to = frame.initSubscribe();
    to.setPromised(from.promised.value);
    to.setLastEpoch(from.last_epoch.value);
    to.setBegin(from.begin.value);
    to.setDurable(from.durable.value);
    to.setIncarnation(from.incarnation);
    to.setVote(static_cast<uint8_t>(from.vote));
  }
  void operator()(const Accept& from) {
    auto to = frame.initAccept();
    to.setEpoch(from.epoch.value);
    to.setStart(from.start.value);
    to.setCommitted(from.committed.value);
  }
  void operator()(const Refuse& from) {
    auto to = frame.initRefuse();
    to.setReason(static_cast<uint8_t>(from.reason));
    to.setEpoch(from.epoch.value);
    to.setMessage(from.message.c_str());
    to.setLeader(from.leader.value);
  }
  void operator()(const Data& from) {
    auto to = frame.initData();
    to.setEpoch(from.epoch.value);
    to.setFrom(from.from.value);
    to.setCommitted(from.committed.value);
    to.setLeaderDurable(from.leader_durable.value);
    to.setLeaderUnixTimeNs(from.leader_unix_time_ns);
    to.setRound(from.round);
    to.setEchoNs(from.echo.count());
    to.setAgeNs(from.age.count());
    to.setKeepFrom(from.keep_from.value);
    if (from.bytes && !from.bytes->empty()) to.setBytes(to_data(ByteSpan(*from.bytes)));
  }
  void operator()(const Acknowledge& from) {
    auto to = frame.initAcknowledge();
    to.setEpoch(from.epoch.value);
    to.setDurable(from.durable.value);
    to.setApplied(from.applied.value);
    to.setRound(from.round);
    to.setSentNs(from.sent.count());
    to.setIncarnation(from.incarnation);
    to.setVote(static_cast<uint8_t>(from.vote));
  }
  void operator()(const Seal& from) { frame.initSeal().setEpoch(from.epoch.value); }
  void operator()(const Sealed& from) {
    auto to = frame.initSealed();
    to.setEpoch(from.epoch.value);
    to.setLastEpoch(from.last_epoch.value);
    to.setBegin(from.begin.value);
    to.setDurable(from.durable.value);
    to.setIncarnation(from.incarnation);
    to.setVote(static_cast<uint8_t>(from.vote));
  }
  void operator()(const Leading& from) { frame.initLeading().setEpoch(from.epoch.value); }
  void operator()(const Diverges& from) {
    auto to = frame.initDiverges();
    to.setEpoch(from.epoch.value);
    to.setAsked(from.asked.value);
    to.setLastEpoch(from.last_epoch.value);
    to.setEnd(from.end.value);
  }
  void operator()(const GrantVote& from) {
    auto to = frame.initGrantVote();
    to.setEpoch(from.epoch.value);
    to.setIncarnation(from.incarnation);
    to.setVote(static_cast<uint8_t>(from.vote));
  }
  void operator()(const TakeOver& from) { frame.initTakeOver().setEpoch(from.epoch.value); }
  void operator()(const CompareState& from) {
    auto to = frame.initCompareState();
    to.setEpoch(from.epoch.value);
    to.setAddress(from.address.value);
    to.setHigh(from.high);
    to.setLow(from.low);
    to.setPairs(from.pairs);
    to.setSettled(from.settled);
  }
  void operator()(const StateCompared& from) {
    auto to = frame.initStateCompared();
    to.setEpoch(from.epoch.value);
    to.setAddress(from.address.value);
    to.setKnown(from.known);
    to.setHigh(from.high);
    to.setLow(from.low);
    to.setPairs(from.pairs);
    to.setDiverged(from.diverged);
  }
};

/// What a newer node may say of votes is taken for none: that can only cost time.
Vote vote_of(uint8_t value) {
  return value <= static_cast<uint8_t>(Vote::kFull) ? static_cast<Vote>(value) : Vote::kNone;
}

}  // namespace

void encode_peer(const replication::Message& message, wire::PeerFrame::Builder to) {
  std::visit(Encode{to}, message);
}

Result<replication::Message> decode_peer(wire::PeerFrame::Reader from) {
  switch (from.which()) {
    case wire::PeerFrame::SUBSCRIBE: {
      const auto in = from.getSubscribe();
      return Subscribe{Epoch{in.getPromised()},  Epoch{in.getLastEpoch()}, Address{in.getBegin()},
                       Address{in.getDurable()}, in.getIncarnation(),      vote_of(in.getVote())};
    }
    case wire::PeerFrame::ACCEPT: {
      const auto in = from.getAccept();
      return Accept{Epoch{in.getEpoch()}, Address{in.getStart()}, Address{in.getCommitted()}};
    }
    case wire::PeerFrame::REFUSE: {
      const auto in = from.getRefuse();
      return Refuse{static_cast<replication::RefusalReason>(in.getReason()), Epoch{in.getEpoch()},
                    NodeId{in.getLeader()}, to_string(in.getMessage())};
    }
    case wire::PeerFrame::DATA: {
      const auto in = from.getData();
      Data data;
      data.epoch = Epoch{in.getEpoch()};
      data.from = Address{in.getFrom()};
      data.committed = Address{in.getCommitted()};
      data.leader_durable = Address{in.getLeaderDurable()};
      data.leader_unix_time_ns = in.getLeaderUnixTimeNs();
      data.round = in.getRound();
      data.echo = std::chrono::nanoseconds(in.getEchoNs());
      data.age = std::chrono::nanoseconds(in.getAgeNs());
      data.keep_from = Address{in.getKeepFrom()};
      const ByteSpan bytes = to_span(in.getBytes());
      if (!bytes.empty())
        data.bytes = std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end());
      return data;
    }
    case wire::PeerFrame::ACKNOWLEDGE: {
      const auto in = from.getAcknowledge();
      return Acknowledge{Epoch{in.getEpoch()},
                         Address{in.getDurable()},
                         Address{in.getApplied()},
                         in.getRound(),
                         std::chrono::nanoseconds(in.getSentNs()),
                         vote_of(in.getVote()),
                         in.getIncarnation()};
    }
    case wire::PeerFrame::SEAL:
      return Seal{Epoch{from.getSeal().getEpoch()}};
    case wire::PeerFrame::SEALED: {
      const auto in = from.getSealed();
      return Sealed{Epoch{in.getEpoch()},     Epoch{in.getLastEpoch()}, Address{in.getBegin()},
                    Address{in.getDurable()}, in.getIncarnation(),      vote_of(in.getVote())};
    }
    case wire::PeerFrame::LEADING:
      return Leading{Epoch{from.getLeading().getEpoch()}};
    case wire::PeerFrame::DIVERGES: {
      const auto in = from.getDiverges();
      return Diverges{Epoch{in.getEpoch()}, Address{in.getAsked()}, Epoch{in.getLastEpoch()},
                      Address{in.getEnd()}};
    }
    case wire::PeerFrame::GRANT_VOTE: {
      const auto in = from.getGrantVote();
      return GrantVote{Epoch{in.getEpoch()}, in.getIncarnation(), vote_of(in.getVote())};
    }
    case wire::PeerFrame::TAKE_OVER:
      return TakeOver{Epoch{from.getTakeOver().getEpoch()}};
    case wire::PeerFrame::COMPARE_STATE: {
      const auto in = from.getCompareState();
      return CompareState{Epoch{in.getEpoch()}, Address{in.getAddress()}, in.getHigh(), in.getLow(),
                          in.getPairs(),        in.getSettled()};
    }
    case wire::PeerFrame::STATE_COMPARED: {
      const auto in = from.getStateCompared();
      return StateCompared{
          Epoch{in.getEpoch()}, Address{in.getAddress()}, in.getKnown(), in.getHigh(), in.getLow(),
          in.getPairs(),        in.getDiverged()};
    }
    default:
      return make_error(ErrorCode::kUnsupported, fmt::format("a peer's message of unknown kind {}",
                                                             static_cast<unsigned>(from.which())));
  }
}

}  // namespace tailrace::rpc
