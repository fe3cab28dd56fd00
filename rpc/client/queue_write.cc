// What each request is on the wire.
#include <algorithm>

#include "rpc/client/queue.h"

namespace tailrace::rpc {
namespace {

using Verb = ClientRequest::Verb;

wire::ReadLevel to_wire(ReadOptions::Level level) {
  switch (level) {
    case ReadOptions::Level::kAny:
      return wire::ReadLevel::ANY;
    case ReadOptions::Level::kAtLeast:
      return wire::ReadLevel::AT_LEAST;
    case ReadOptions::Level::kBounded:
      return wire::ReadLevel::BOUNDED;
    case ReadOptions::Level::kLinearizable:
      break;
  }
  return wire::ReadLevel::LINEARIZABLE;
}

}  // namespace

void RequestQueue::write_request(uint64_t id, ClientRequest& request) {
  OutgoingMessage message;
  auto to = message.init<wire::Request>();
  to.setId(id);
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      request.deadline - std::chrono::steady_clock::now());
  // The server knows better why it is late: its word is to come before the time is over here.
  const int64_t early_ms = std::min<int64_t>(left.count() / 8, 250);
  const auto left_ms = static_cast<uint32_t>(std::max<int64_t>(1, left.count() - early_ms));
  switch (request.verb) {
    case Verb::kCommand: {
      auto command = to.initCommand();
      command.setOperation(request.operation);
      if (request.session.serial != 0) {
        auto session = command.initSession();
        session.setClientHigh(request.session.client.high);
        session.setClientLow(request.session.client.low);
        session.setSerial(request.session.serial);
        session.setBeginsBeforeNs(request.session.begins_before_ns);
      }
      command.setKey(to_data(request.key));
      if (!request.value.empty()) command.setValue(to_data(request.value));
      if (!request.expected.empty()) command.setExpected(to_data(request.expected));
      command.setDelta(request.delta);
      command.setTimeToLiveMs(request.time_to_live_ms);
      break;
    }
    case Verb::kAppend: {
      auto append = to.initAppend();
      append.setStream(capnp::Text::Reader(request.key.c_str(), request.key.size()));
      auto events = append.initEvents(static_cast<unsigned>(request.event_sizes.size()));
      size_t at = 0;
      for (unsigned i = 0; i < request.event_sizes.size(); ++i) {
        events.set(i, to_data(std::string_view(request.value).substr(at, request.event_sizes[i])));
        at += request.event_sizes[i];
      }
      break;
    }
    case Verb::kGet: {
      auto get = to.initGet();
      get.setKey(to_data(request.key));
      get.setLevel(to_wire(request.read.level));
      get.setEpoch(request.read.epoch.value);
      get.setAddress(request.read.address.value);
      get.setTimeoutMs(left_ms);
      get.setStalenessMs(request.read.staleness_ms);
      break;
    }
    case Verb::kScan: {
      auto scan = to.initScan();
      scan.setScan(request.scan);
      scan.setSlice(request.slice);
      scan.setPairs(request.pairs);
      scan.setPrefix(to_data(request.key));
      scan.setLevel(to_wire(request.read.level));
      scan.setEpoch(request.read.epoch.value);
      scan.setAddress(request.read.address.value);
      scan.setTimeoutMs(left_ms);
      scan.setStalenessMs(request.read.staleness_ms);
      break;
    }
    case Verb::kStatus:
      to.setStatus();
      break;
    case Verb::kTransfer:
      to.setTransfer(request.node.value);
      break;
    case Verb::kPromote:
      to.setPromote();
      break;
    case Verb::kSetMember: {
      auto member = to.initChangeMember().initSet();
      member.setNode(request.member.node.value);
      member.setVoter(request.member.voter);
      member.setPeerAddress(request.member.peer_address.c_str());
      member.setClientAddress(request.member.client_address.c_str());
      break;
    }
    case Verb::kRemoveMember:
      to.initChangeMember().setRemove(request.node.value);
      break;
    case Verb::kCheckpoint:
      to.setCheckpoint();
      break;
    case Verb::kDigest: {
      auto digest = to.initDigest();
      digest.setAddress(request.address.value);
      digest.setLogFrom(request.log_from.value);
      digest.setTimeoutMs(left_ms);
      break;
    }
  }
  connection_->send(message.builder());
}

}  // namespace tailrace::rpc
