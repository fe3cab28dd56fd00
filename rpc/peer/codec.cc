#include "rpc/peer/codec.h"

#include <fmt/format.h>

#include "rpc/wire/message.h"

namespace tailrace::rpc {
namespace {

using replication::Accept;
using replication::Acknowledge;
using replication::AskCheckpoint;
using replication::CheckpointPart;
using replication::CompareState;
using replication::Data;
using replication::Diverges;
using replication::GrantVote;
using replication::Leading;
using replication::OfferCheckpoint;
using replication::ReadCheckpoint;
using replication::Refuse;
using replication::Seal;
using replication::Sealed;
using replication::StateCompared;
using replication::Subscribe;
using replication::TakeOver;

struct Encode {
  wire::PeerFrame::Builder frame;
  SharedBytes lent = nullptr;

  template <typename Builder>
  void set_bytes(Builder to, const SharedBytes& bytes) {
    if (!bytes || bytes->empty()) return;
    // A segment is whole words.
    if (bytes->size() < kLeastLentBytes || bytes->size() % sizeof(capnp::word) != 0)
      return to.setBytes(to_data(*bytes));
    to.adoptBytes(lend(to, *bytes));
    lent = bytes;
  }

  void operator()(const Subscribe& from) {
    auto to = frame.initSubscribe();
    to.setPromised(from.promised.value);
    to.setLastEpoch(from.last_epoch.value);
    to.setBegin(from.begin.value);
    to.setDurable(from.durable.value);
    to.setIncarnation(from.incarnation);
    to.setVote(static_cast<uint8_t>(from.vote));
    to.setRun(from.run);
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
    to.setIncarnation(from.life.incarnation);
    to.setStarts(from.life.starts);
    to.setRun(from.life.run);
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
    set_bytes(to, from.bytes);
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
    to.setRelayedBy(from.relayed_by.value);
  }
  void operator()(const Seal& from) {
    auto to = frame.initSeal();
    to.setEpoch(from.epoch.value);
    to.setMembers(from.members.value);
    to.setRun(from.run);
  }
  void operator()(const Sealed& from) {
    auto to = frame.initSealed();
    to.setEpoch(from.epoch.value);
    to.setLastEpoch(from.last_epoch.value);
    to.setBegin(from.begin.value);
    to.setDurable(from.durable.value);
    to.setIncarnation(from.incarnation);
    to.setVote(static_cast<uint8_t>(from.vote));
    to.setOwed(from.owed.value);
    to.setOwedEpoch(from.owed_epoch.value);
  }
  void operator()(const Leading& from) {
    auto to = frame.initLeading();
    to.setEpoch(from.epoch.value);
    to.setMembers(from.members.value);
    to.setRun(from.run);
  }
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
  void operator()(const AskCheckpoint& from) {
    auto to = frame.initAskCheckpoint();
    to.setToken(from.token);
    to.setAtLeast(from.at_least.value);
  }
  void operator()(const OfferCheckpoint& from) {
    auto to = frame.initOfferCheckpoint();
    to.setProblem(from.problem.c_str());
    to.setToken(from.plan.token);
    to.setFingerprint(from.plan.fingerprint);
    to.setOwner(from.plan.owner.c_str());
    to.setApplied(from.plan.applied.value);
    to.setLogBegin(from.plan.log.first.value);
    to.setLogEnd(from.plan.log.end.value);
    auto epochs = to.initEpochs(static_cast<unsigned>(from.plan.epochs.size()));
    for (unsigned i = 0; i < epochs.size(); ++i) {
      epochs[i].setEpoch(from.plan.epochs[i].epoch.value);
      epochs[i].setStart(from.plan.epochs[i].start.value);
    }
    auto files = to.initFiles(static_cast<unsigned>(from.plan.files.size()));
    for (unsigned i = 0; i < files.size(); ++i) {
      files[i].setName(from.plan.files[i].name.c_str());
      files[i].setBytes(from.plan.files[i].bytes);
    }
    if (from.plan.configurations.empty()) return;
    auto configurations =
        to.initConfigurations(static_cast<unsigned>(from.plan.configurations.size()));
    for (unsigned i = 0; i < configurations.size(); ++i) {
      const fasterlog::ConfigurationRecord& each = from.plan.configurations[i];
      configurations[i].setStart(each.start.value);
      configurations[i].setEnd(each.end.value);
      configurations[i].setEpoch(each.epoch.value);
      configurations[i].setPayload(to_data(ByteSpan(each.payload)));
    }
  }
  void operator()(const ReadCheckpoint& from) {
    auto to = frame.initReadCheckpoint();
    to.setFingerprint(from.fingerprint);
    to.setOffset(from.offset);
    to.setBytes(from.bytes);
  }
  void operator()(const CheckpointPart& from) {
    auto to = frame.initCheckpointPart();
    to.setFingerprint(from.fingerprint);
    to.setOffset(from.offset);
    to.setChecksum(from.checksum);
    to.setProblem(from.problem.c_str());
    set_bytes(to, from.bytes);
  }
  void operator()(const CompareState& from) {
    auto to = frame.initCompareState();
    to.setEpoch(from.epoch.value);
    to.setAddress(from.address.value);
    to.setHigh(from.high);
    to.setLow(from.low);
    to.setPairs(from.pairs);
    to.setSettled(from.settled);
    to.setDisputed(from.disputed);
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
    to.setDisputed(from.disputed);
  }
};

OfferCheckpoint offer_of(wire::OfferCheckpoint::Reader from) {
  OfferCheckpoint to;
  to.problem = to_string(from.getProblem());
  to.plan.token = from.getToken();
  to.plan.fingerprint = from.getFingerprint();
  to.plan.owner = to_string(from.getOwner());
  to.plan.applied = Address{from.getApplied()};
  to.plan.log = {Address{from.getLogBegin()}, Address{from.getLogEnd()}};
  for (const auto epoch : from.getEpochs())
    to.plan.epochs.push_back({Epoch{epoch.getEpoch()}, Address{epoch.getStart()}});
  for (const auto file : from.getFiles())
    to.plan.files.push_back({to_string(file.getName()), file.getBytes()});
  for (const auto each : from.getConfigurations()) {
    const ByteSpan payload = to_span(each.getPayload());
    to.plan.configurations.push_back({Address{each.getStart()},
                                      Address{each.getEnd()},
                                      Epoch{each.getEpoch()},
                                      {payload.begin(), payload.end()}});
  }
  return to;
}

CheckpointPart part_of(wire::CheckpointPart::Reader from) {
  CheckpointPart to;
  to.fingerprint = from.getFingerprint();
  to.offset = from.getOffset();
  to.checksum = from.getChecksum();
  to.problem = to_string(from.getProblem());
  const ByteSpan bytes = to_span(from.getBytes());
  if (!bytes.empty()) to.bytes = SharedBytes::copy_of(bytes);
  return to;
}

/// What a newer node may say of votes is taken for none: that can only cost time.
}  // namespace

SharedBytes encode_peer(const replication::Message& message, wire::PeerFrame::Builder to) {
  Encode encode{to};
  std::visit(encode, message);
  return std::move(encode.lent);
}

Result<replication::Message> decode_peer(wire::PeerFrame::Reader from,
                                         const std::shared_ptr<const void>& memory) {
  switch (from.which()) {
    case wire::PeerFrame::SUBSCRIBE: {
      const auto in = from.getSubscribe();
      return Subscribe{Epoch{in.getPromised()},
                       Epoch{in.getLastEpoch()},
                       Address{in.getBegin()},
                       Address{in.getDurable()},
                       in.getIncarnation(),
                       vote_of(in.getVote()),
                       in.getRun()};
    }
    case wire::PeerFrame::ACCEPT: {
      const auto in = from.getAccept();
      return Accept{Epoch{in.getEpoch()}, Address{in.getStart()}, Address{in.getCommitted()}};
    }
    case wire::PeerFrame::REFUSE: {
      const auto in = from.getRefuse();
      return Refuse{static_cast<replication::RefusalReason>(in.getReason()), Epoch{in.getEpoch()},
                    NodeId{in.getLeader()}, to_string(in.getMessage()),
                    replication::Life{in.getIncarnation(), in.getStarts(), in.getRun()}};
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
        data.bytes = memory ? SharedBytes(memory, bytes) : SharedBytes::copy_of(bytes);
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
                         in.getIncarnation(),
                         NodeId{in.getRelayedBy()}};
    }
    case wire::PeerFrame::SEAL:
      return Seal{Epoch{from.getSeal().getEpoch()}, Address{from.getSeal().getMembers()},
                  from.getSeal().getRun()};
    case wire::PeerFrame::SEALED: {
      const auto in = from.getSealed();
      return Sealed{Epoch{in.getEpoch()},     Epoch{in.getLastEpoch()}, Address{in.getBegin()},
                    Address{in.getDurable()}, in.getIncarnation(),      vote_of(in.getVote()),
                    Epoch{in.getOwedEpoch()}, Address{in.getOwed()}};
    }
    case wire::PeerFrame::LEADING:
      return Leading{Epoch{from.getLeading().getEpoch()}, Address{from.getLeading().getMembers()},
                     from.getLeading().getRun()};
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
    case wire::PeerFrame::ASK_CHECKPOINT: {
      const auto in = from.getAskCheckpoint();
      return AskCheckpoint{in.getToken(), Address{in.getAtLeast()}};
    }
    case wire::PeerFrame::OFFER_CHECKPOINT:
      return offer_of(from.getOfferCheckpoint());
    case wire::PeerFrame::READ_CHECKPOINT: {
      const auto in = from.getReadCheckpoint();
      return ReadCheckpoint{in.getFingerprint(), in.getOffset(), in.getBytes()};
    }
    case wire::PeerFrame::CHECKPOINT_PART:
      return part_of(from.getCheckpointPart());
    case wire::PeerFrame::COMPARE_STATE: {
      const auto in = from.getCompareState();
      return CompareState{
          Epoch{in.getEpoch()}, Address{in.getAddress()}, in.getHigh(),    in.getLow(),
          in.getPairs(),        in.getSettled(),          in.getDisputed()};
    }
    case wire::PeerFrame::STATE_COMPARED: {
      const auto in = from.getStateCompared();
      return StateCompared{Epoch{in.getEpoch()}, Address{in.getAddress()},
                           in.getKnown(),        in.getHigh(),
                           in.getLow(),          in.getPairs(),
                           in.getDiverged(),     in.getDisputed()};
    }
    case wire::PeerFrame::HELLO:
      break;  // the connection's own
  }
  return make_error(ErrorCode::kUnsupported, fmt::format("a peer's message of unknown kind {}",
                                                         static_cast<unsigned>(from.which())));
}

}  // namespace tailrace::rpc
