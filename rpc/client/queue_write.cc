// What each request is on the wire.
#include <algorithm>

#include "rpc/client/queue.h"
#include "rpc/wire/message.h"

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

/// Of which state is to be read.
template <typename Builder>
void write_needs(Builder& to, const ReadOptions& read, uint32_t timeout_ms) {
  to.setLevel(to_wire(read.level));
  to.setEpoch(read.epoch.value);
  to.setAddress(read.address.value);
  to.setTimeoutMs(timeout_ms);
  to.setStalenessMs(read.staleness_ms);
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
      if (request.words)
        command.adoptValue(lend(command, request.words->first(request.words_used)));
      else if (!request.value.empty())
        command.setValue(to_data(request.value));
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
      write_needs(get, request.read, left_ms);
      break;
    }
    case Verb::kScan: {
      auto scan = to.initScan();
      scan.setScan(request.scan);
      scan.setSlice(request.slice);
      scan.setPairs(request.pairs);
      scan.setPrefix(to_data(request.key));
      write_needs(scan, request.read, left_ms);
      break;
    }
    case Verb::kReadStream: {
      auto read = to.initReadStream();
      read.setStream(capnp::Text::Reader(request.key.c_str(), request.key.size()));
      read.setFrom(request.from.value_or(0));
      read.setFromEdge(!request.from);
      read.setBackwards(request.backwards);
      read.setEvents(request.most);
      write_needs(read, request.read, left_ms);
      break;
    }
    case Verb::kListStreams: {
      auto list = to.initListStreams();
      list.setPrefix(capnp::Text::Reader(request.key.c_str(), request.key.size()));
      list.setAfter(capnp::Text::Reader(request.value.c_str(), request.value.size()));
      list.setStreams(request.most);
      write_needs(list, request.read, left_ms);
      break;
    }
    case Verb::kMget: {
      auto mget = to.initMget();
      auto keys = mget.initKeys(static_cast<unsigned>(request.event_sizes.size()));
      size_t at = 0;
      for (unsigned i = 0; i < request.event_sizes.size(); ++i) {
        keys.set(i, to_data(std::string_view(request.value).substr(at, request.event_sizes[i])));
        at += request.event_sizes[i];
      }
      write_needs(mget, request.read, left_ms);
      break;
    }
    case Verb::kHistory: {
      auto history = to.initHistory();
      history.setTimeoutMs(left_ms);
      if (!request.key.empty()) {
        history.setStream(capnp::Text::Reader(request.key.c_str(), request.key.size()));
        break;
      }
      if (!request.from) {
        history.setAfter(request.address.value);
        history.setFiles(request.most);
        break;
      }
      history.setOffset(*request.from);
      history.setBytes(request.most);
      auto file = history.initFile();
      file.setBegin(request.file.range.first.value);
      file.setEnd(request.file.range.end.value);
      file.setRevision(request.file.revision);
      file.setDigestHigh(request.file.digest_high);
      file.setDigestLow(request.file.digest_low);
      file.setBytes(request.file.bytes);
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
  connection_->send(message.builder(), request.words);
}

}  // namespace tailrace::rpc
