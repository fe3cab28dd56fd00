// What event files a node has, and pieces of them: for operators, and for other nodes that lack
// them.
#include <algorithm>

#include "history/history.h"
#include "rpc/server/connection.h"
#include "rpc/server/reads_elsewhere.h"
#include "rpc/server/streams/stream_remains.h"

namespace tailrace::rpc {
namespace {

constexpr size_t kMostFilesOfAnswer = 1024;
constexpr size_t kMostPieceBytes = 1u << 20;
constexpr uint64_t kMostStalenessMs = 5000;  // of a state that says where events are

struct HistoryPart {
  history::HistoryStatus status;
  std::vector<history::EventFileInfo> listed;
  bool more = false;
  std::vector<std::byte> piece;
};

history::EventFileInfo read_file(wire::EventFile::Reader from) {
  history::EventFileInfo info;
  info.range = {Address{from.getBegin()}, Address{from.getEnd()}};
  info.revision = from.getRevision();
  info.digest = {from.getDigestHigh(), from.getDigestLow()};
  info.bytes = from.getBytes();
  return info;
}

void write_file(const history::EventFileInfo& info, wire::EventFile::Builder to) {
  to.setBegin(info.range.first.value);
  to.setEnd(info.range.end.value);
  to.setRevision(info.revision);
  to.setDigestHigh(info.digest.high);
  to.setDigestLow(info.digest.low);
  to.setBytes(info.bytes);
}

void write_part(const HistoryPart& part, wire::HistoryAnswer::Builder to) {
  to.setKept(true);
  to.setBegin(part.status.range.first.value);
  to.setComplete(part.status.range.end.value);
  to.setFiles(part.status.files);
  to.setBytes(part.status.bytes);
  to.setMissingBytes(part.status.missing);
  if (part.status.historian.trouble) to.setTrouble(part.status.historian.trouble->message.c_str());
  const history::ScavengeStatus& scavenge = part.status.scavenge;
  to.setScavengeTo(scavenge.wanted.value);
  to.setScavengedTo(scavenge.done.value);
  if (scavenge.trouble) to.setScavengeTrouble(scavenge.trouble->message.c_str());
  to.setRemovedEvents(part.status.removed);
  auto listed = to.initListed(static_cast<unsigned>(part.listed.size()));
  for (unsigned i = 0; i < part.listed.size(); ++i)
    write_file(part.listed[i], listed[i]);
  to.setMore(part.more);
  to.setPiece(to_data(as_text(part.piece)));
}

Result<HistoryPart> list_files(history::History& history, Address after, size_t most) {
  HistoryPart part;
  part.status = history.status();
  for (const auto& info : history.catalogue().files()) {
    if (info.range.first < after) continue;
    part.more = part.listed.size() == most;
    if (part.more) break;
    part.listed.push_back(info);
  }
  return part;
}

Result<HistoryPart> read_piece(history::History& history, const history::EventFileInfo& info,
                               uint64_t offset, size_t bytes) {
  HistoryPart part;
  TAILRACE_ASSIGN_OR_RETURN(part.piece, history.catalogue().read_piece(info, offset, bytes));
  return part;
}

}  // namespace

FramedSocket::Take Connection::handle_remains(const Asked& asked, wire::History::Reader request) {
  std::string stream = to_string(request.getStream());
  if (const auto checked = check_stream_name(stream); !checked) {
    reply_error(asked, checked.error());
    return Take::kDone;
  }
  Elsewhere<std::vector<StreamRemains>> read;
  read.key_bytes = stream.size();
  read.work = [&machine = *context_.to.state_machine, &log = *context_.to.log,
               history = context_.to.history, left_files = context_.to.left_files,
               stream = std::move(stream)](const std::function<bool()>& wanted) {
    return find_remains(machine, log, history, left_files, stream, wanted);
  };
  read.late = "the event files were not looked through in time; ask with a longer timeout";
  read.write = [](const std::vector<StreamRemains>& remains, wire::Response::Builder to) {
    auto answer = to.initHistory();
    answer.setLooked(true);
    auto list = answer.initRemains(static_cast<unsigned>(remains.size()));
    for (unsigned i = 0; i < remains.size(); ++i) {
      list[i].setWhat(remains[i].what.c_str());
      list[i].setBegin(remains[i].range.first.value);
      list[i].setEnd(remains[i].range.end.value);
    }
  };
  ReadNeeds needs;
  // A node that lags might not know the stream yet, and would find nothing of it.
  needs.level = wire::ReadLevel::BOUNDED;
  needs.staleness_ms = kMostStalenessMs;
  needs.deadline = deadline(request.getTimeoutMs());
  return read_elsewhere(asked, needs, std::move(read));
}

FramedSocket::Take Connection::handle_history(uint64_t id, wire::History::Reader request) {
  const Asked asked{id, RequestKind::kHistory, arrived_};
  if (request.getStream().size() > 0) return handle_remains(asked, request);
  history::History* const history = context_.to.history;
  if (history == nullptr) {
    OutgoingMessage message;
    begin_response(message, id).initHistory();
    reply(asked, message);
    return Take::kDone;
  }
  Elsewhere<HistoryPart> read;
  const size_t files = std::min<size_t>(request.getFiles(), kMostFilesOfAnswer);
  if (files > 0)
    read.work = [history, files, after = Address{request.getAfter()}](
                    const std::function<bool()>&) { return list_files(*history, after, files); };
  else
    read.work = [history, info = read_file(request.getFile()), offset = request.getOffset(),
                 bytes = std::min<size_t>(request.getBytes(), kMostPieceBytes)](
                    const std::function<bool()>&) {
      return read_piece(*history, info, offset, bytes);
    };
  read.late = "the event file was not read in time; ask again, or with a longer timeout";
  read.write = [](const HistoryPart& part, wire::Response::Builder to) {
    write_part(part, to.initHistory());
  };
  ReadNeeds needs;
  needs.level = wire::ReadLevel::ANY;
  needs.deadline = deadline(request.getTimeoutMs());
  return read_elsewhere(asked, needs, std::move(read));
}

}  // namespace tailrace::rpc
