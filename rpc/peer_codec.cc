#include "rpc/peer_codec.h"

#include <fmt/format.h>

#include "rpc/message.h"

namespace tailrace::rpc {
namespace {

using replication::Accept;
using replication::Acknowledge;
using replication::Data;
using replication::Refuse;
using replication::Subscribe;

struct Encode {
  wire::PeerFrame::Builder frame;

  void operator()(const Subscribe& from) {
    auto to = frame.initSubscribe();
    to.setPromised(from.promised.value);
    to.setLastEpoch(from.last_epoch.value);
    to.setBegin(from.begin.value);
    to.setDurable(from.durable.value);
    to.setIncarnation(from.incarnation);
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
  }
  void operator()(const Data& from) {
    auto to = frame.initData();
    to.setEpoch(from.epoch.value);
    to.setFrom(from.from.value);
    to.setCommitted(from.committed.value);
    to.setLeaderDurable(from.leader_durable.value);
    to.setLeaderUnixTimeNs(from.leader_unix_time_ns);
    if (from.bytes && !from.bytes->empty()) to.setBytes(to_data(ByteSpan(*from.bytes)));
  }
  void operator()(const Acknowledge& from) {
    auto to = frame.initAcknowledge();
    to.setEpoch(from.epoch.value);
    to.setDurable(from.durable.value);
    to.setApplied(from.applied.value);
  }
};

}  // namespace

void encode_peer(const replication::Message& message, wire::PeerFrame::Builder to) {
  std::visit(Encode{to}, message);
}

Result<replication::Message> decode_peer(wire::PeerFrame::Reader from) {
  switch (from.which()) {
    case wire::PeerFrame::SUBSCRIBE: {
      const auto in = from.getSubscribe();
      return Subscribe{Epoch{in.getPromised()}, Epoch{in.getLastEpoch()}, Address{in.getBegin()},
                       Address{in.getDurable()}, in.getIncarnation()};
    }
    case wire::PeerFrame::ACCEPT: {
      const auto in = from.getAccept();
      return Accept{Epoch{in.getEpoch()}, Address{in.getStart()}, Address{in.getCommitted()}};
    }
    case wire::PeerFrame::REFUSE: {
      const auto in = from.getRefuse();
      return Refuse{static_cast<replication::RefusalReason>(in.getReason()), Epoch{in.getEpoch()},
                    to_string(in.getMessage())};
    }
    case wire::PeerFrame::DATA: {
      const auto in = from.getData();
      Data data;
      data.epoch = Epoch{in.getEpoch()};
      data.from = Address{in.getFrom()};
      data.committed = Address{in.getCommitted()};
      data.leader_durable = Address{in.getLeaderDurable()};
      data.leader_unix_time_ns = in.getLeaderUnixTimeNs();
      const ByteSpan bytes = to_span(in.getBytes());
      if (!bytes.empty())
        data.bytes = std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end());
      return data;
    }
    case wire::PeerFrame::ACKNOWLEDGE: {
      const auto in = from.getAcknowledge();
      return Acknowledge{Epoch{in.getEpoch()}, Address{in.getDurable()}, Address{in.getApplied()}};
    }
    default:
      return make_error(ErrorCode::kUnsupported, fmt::format("a peer's message of unknown kind {}",
                                                             static_cast<unsigned>(from.which())));
  }
}

}  // namespace tailrace::rpc
