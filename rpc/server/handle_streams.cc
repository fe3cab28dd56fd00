// Reads of streams and of several keys: other threads do them (reads_elsewhere.h), and the answers
// are made here.
#include <algorithm>
#include <memory>

#include <fmt/format.h>

#include "rpc/server/connection.h"
#include "rpc/server/reads_elsewhere.h"
#include "rpc/server/streams/stream_reads.h"

namespace tailrace::rpc {
namespace {

constexpr size_t kMostKeys = 1024;  // of one mget
// Of a value with what stands before it in the store.
constexpr size_t kValueOverhead = 64;

void write_policy(const statemachine::StreamPolicy& policy, wire::StreamPolicy::Builder to) {
  to.setMaxCount(policy.max_count);
  to.setMaxAgeNs(policy.max_age_ns);
  to.setDedupe(policy.dedupe);
}

void write_page(const StreamPage& page, wire::StreamAnswer::Builder to) {
  to.setState(static_cast<uint8_t>(page.state));
  to.setFirst(page.first);
  to.setEnd(page.end);
  to.setMore(page.next.has_value());
  to.setNext(page.next.value_or(0));
  write_policy(page.policy, to.initPolicy());
  auto events = to.initEvents(static_cast<unsigned>(page.events.size()));
  for (unsigned i = 0; i < page.events.size(); ++i) {
    const StreamPage::Event& event = page.events[i];
    events[i].setVersion(event.version);
    events[i].setPosition(event.position);
    events[i].setTimeNs(event.time_ns);
    events[i].setEvent(to_data(event.bytes));
  }
}

void write_streams(const StreamsPage& page, wire::StreamsAnswer::Builder to) {
  to.setMore(page.more);
  auto streams = to.initStreams(static_cast<unsigned>(page.streams.size()));
  for (unsigned i = 0; i < page.streams.size(); ++i) {
    const auto& [name, head] = page.streams[i];
    streams[i].setName(name.c_str());
    streams[i].setFirst(head.first);
    streams[i].setEnd(head.next);
    streams[i].setLastTimeNs(head.last_time_ns);
    write_policy(head.policy, streams[i].initPolicy());
  }
}

void write_keys(const statemachine::KeysTogether& together, wire::MgetAnswer::Builder to) {
  auto values = to.initValues(static_cast<unsigned>(together.keys.size()));
  for (unsigned i = 0; i < together.keys.size(); ++i) {
    const statemachine::KeysTogether::Key& key = together.keys[i];
    values[i].setFound(key.found);
    if (!key.found) continue;
    values[i].setValue(to_data(key.state.value));
    values[i].setModifiedAt(key.state.modified_at);
  }
}

}  // namespace

FramedSocket::Take Connection::handle_read_stream(uint64_t id, wire::ReadStream::Reader request) {
  const Asked asked{id, RequestKind::kReadStream, arrived_};
  StreamQuery query;
  query.stream = to_string(request.getStream());
  if (!request.getFromEdge()) query.from = request.getFrom();
  query.backwards = request.getBackwards();
  query.most_events = request.getEvents();
  if (const auto checked = check_stream_name(query.stream); !checked) {
    reply_error(asked, checked.error());
    return Take::kDone;
  }
  Elsewhere<StreamPage> read;
  read.key_bytes = query.stream.size();
  read.work = [&machine = *context_.to.state_machine,
               sources = EventSources{*context_.to.log, context_.to.history},
               query = std::move(query)](const std::function<bool()>& wanted) {
    return read_stream(machine, sources, query, wanted);
  };
  read.late = "the stream was not read in time; ask for fewer events, or with a longer timeout";
  read.write = [](const StreamPage& page, wire::Response::Builder to) {
    write_page(page, to.initStream());
  };
  return read_elsewhere(asked, needs_of(request), std::move(read));
}

FramedSocket::Take Connection::handle_list_streams(uint64_t id, wire::ListStreams::Reader request) {
  const Asked asked{id, RequestKind::kListStreams, arrived_};
  StreamsQuery query{to_string(request.getPrefix()), to_string(request.getAfter()),
                     request.getStreams()};
  for (const std::string* name : {&query.prefix, &query.after}) {
    const auto checked = check_stream_name(*name);
    if (name->empty() || checked) continue;
    reply_error(asked, checked.error());
    return Take::kDone;
  }
  Elsewhere<StreamsPage> read;
  read.lists = true;
  read.answer_bytes = kListAnswerBytes;
  read.key_bytes = query.prefix.size() + query.after.size();
  read.work = [&machine = *context_.to.state_machine,
               query = std::move(query)](const std::function<bool()>& wanted) {
    return list_streams(machine, query, wanted);
  };
  read.late = "the list of streams took too long: it reads all of the store";
  read.write = [](const StreamsPage& page, wire::Response::Builder to) {
    write_streams(page, to.initStreams());
  };
  return read_elsewhere(asked, needs_of(request), std::move(read));
}

FramedSocket::Take Connection::handle_mget(uint64_t id, wire::Mget::Reader request) {
  const Asked asked{id, RequestKind::kMget, arrived_};
  const auto keys = request.getKeys();
  Result<> checked;
  if (keys.size() == 0 || keys.size() > kMostKeys)
    checked = make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("{} keys are asked for, 1 to {} can be read together", keys.size(), kMostKeys));
  Elsewhere<statemachine::KeysTogether> read;
  auto names = std::make_shared<std::vector<std::string>>();  // one copy, wherever it goes
  for (unsigned i = 0; checked && i < keys.size(); ++i) {
    names->push_back(to_string(keys[i]));
    checked = statemachine::validate_key(as_bytes(names->back()));
    read.key_bytes += names->back().size();
  }
  if (!checked) {
    reply_error(asked, checked.error());
    return Take::kDone;
  }
  const ReadNeeds needs = needs_of(request);
  const size_t most_bytes =
      std::max(kAnswerBytes, context_.options.max_value_bytes + kValueOverhead);
  read.answer_bytes = most_bytes;
  read.work = [&machine = *context_.to.state_machine, names = std::move(names),
               most_bytes](const std::function<bool()>& wanted) {
    return machine.read_together(*names, most_bytes, wanted);
  };
  read.late = "the keys were not read together in time; ask for fewer, or with a longer timeout";
  read.note_state = [](const statemachine::KeysTogether& together, ShownState& shown) {
    shown.point = together.at;
  };
  read.write = [](const statemachine::KeysTogether& together, wire::Response::Builder to) {
    write_keys(together, to.initMget());
  };
  return read_elsewhere(asked, needs, std::move(read));
}

}  // namespace tailrace::rpc
