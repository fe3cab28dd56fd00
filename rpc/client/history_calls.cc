// history(): the list of files, one piece of it after the other; and pieces of files.
#include "rpc/client/impl.h"

namespace tailrace::rpc {
namespace {

using HistoryReply = Result<wire::Response::Reader>;

constexpr uint32_t kFilesAsked = 1024;

struct HistoryPage {
  HistoryAnswer answer;
  bool more = false;
};

Result<HistoryPage> read_history(const HistoryReply& reply) {
  TAILRACE_RETURN_IF_ERROR(reply);
  if (!reply->isHistory()) return tl::unexpected(unexpected_answer());
  const auto from = reply->getHistory();
  HistoryPage page;
  page.more = from.getMore();
  HistoryAnswer& answer = page.answer;
  answer.kept = from.getKept();
  answer.range = {Address{from.getBegin()}, Address{from.getComplete()}};
  answer.files = from.getFiles();
  answer.bytes = from.getBytes();
  answer.missing_bytes = from.getMissingBytes();
  answer.trouble = to_string(from.getTrouble());
  answer.scavenge_to = Address{from.getScavengeTo()};
  answer.scavenged_to = Address{from.getScavengedTo()};
  answer.scavenge_trouble = to_string(from.getScavengeTrouble());
  answer.removed_events = from.getRemovedEvents();
  for (const auto file : from.getListed())
    answer.listed.push_back({{Address{file.getBegin()}, Address{file.getEnd()}},
                             file.getRevision(),
                             file.getDigestHigh(),
                             file.getDigestLow(),
                             file.getBytes()});
  return page;
}

Result<std::string> read_piece(const HistoryReply& reply) {
  TAILRACE_RETURN_IF_ERROR(reply);
  if (!reply->isHistory()) return tl::unexpected(unexpected_answer());
  return to_string(reply->getHistory().getPiece());
}

}  // namespace

Result<Address> ClientImpl::request_scavenge() {
  TAILRACE_ASSIGN_OR_RETURN(auto answer, write({.operation = statemachine::Operation::kScavenge}));
  return answer.range.end;
}

Result<std::vector<StreamRemains>> ClientImpl::remains(const std::string& server,
                                                       std::string_view stream) {
  const auto read = [](const HistoryReply& reply) -> Result<std::vector<StreamRemains>> {
    TAILRACE_RETURN_IF_ERROR(reply);
    if (!reply->isHistory()) return tl::unexpected(unexpected_answer());
    if (!reply->getHistory().getLooked())
      return make_error(ErrorCode::kUnsupported,
                        "the server is too old to say where events of a stream are; upgrade it");
    std::vector<StreamRemains> remains;
    for (const auto each : reply->getHistory().getRemains())
      remains.push_back(
          {to_string(each.getWhat()), {Address{each.getBegin()}, Address{each.getEnd()}}});
    return remains;
  };
  return wait_for<std::vector<StreamRemains>>(
      queue_to(server), request_of(ClientRequest::Verb::kHistory, as_bytes(stream)), read);
}

Result<HistoryAnswer> ClientImpl::history(const std::string& server) {
  HistoryAnswer answer;
  for (bool more = true; more;) {
    ClientRequest request = request_of(ClientRequest::Verb::kHistory);
    request.most = kFilesAsked;
    if (!answer.listed.empty()) request.address = answer.listed.back().range.end;
    TAILRACE_ASSIGN_OR_RETURN(
        auto page, wait_for<HistoryPage>(queue_to(server), std::move(request), read_history));
    more = page.more && !page.answer.listed.empty();
    page.answer.listed.insert(page.answer.listed.begin(), answer.listed.begin(),
                              answer.listed.end());
    answer = std::move(page.answer);
  }
  return answer;
}

Result<std::string> ClientImpl::history_piece(const std::string& server, const HistoryFile& file,
                                              uint64_t offset, uint32_t bytes) {
  ClientRequest request = request_of(ClientRequest::Verb::kHistory);
  request.file = file;
  request.from = offset;
  request.most = bytes;
  return wait_for<std::string>(queue_to(server), std::move(request), read_piece);
}

}  // namespace tailrace::rpc
