// Lists of streams, and what a stream may be called.
#include <algorithm>

#include <fmt/format.h>

#include "core/utf8.h"
#include "rpc/server/streams/stream_reads.h"
#include "statemachine/streams/stream_reader.h"
#include "statemachine/txn/names.h"

namespace tailrace::rpc {
namespace {

constexpr uint64_t kListedLogBytes = 1u << 20;  // looked at in one step

}  // namespace

Result<StreamsPage> list_streams(statemachine::StateMachine& machine, const StreamsQuery& query,
                                 const std::function<bool()>& wanted) {
  const size_t most = std::clamp<size_t>(query.most_streams, 1, kMostStreamsOfAnswer);
  TAILRACE_ASSIGN_OR_RETURN(const auto list, machine.start_stream_list(query.prefix, query.after,
                                                                       {most, kListAnswerBytes}));
  for (;;) {
    if (!wanted()) return make_error(ErrorCode::kCancelled, "nobody waits for the list any more");
    TAILRACE_ASSIGN_OR_RETURN(const bool more, list->next(kListedLogBytes));
    if (!more) break;
  }
  StreamsPage page;
  page.streams = list->take();
  page.more = list->is_cut();
  const uint64_t log_time_ns = machine.log_time_ns();
  for (auto& [name, head] : page.streams)
    head.first = statemachine::first_readable(head, log_time_ns);
  return page;
}

Result<> check_stream_name(std::string_view name) {
  if (name.empty())
    return make_error(ErrorCode::kInvalidArgument,
                      "the stream's name is empty: it has at least one byte");
  if (name.size() > statemachine::kMaxStreamBytes)
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("the stream's name is {} bytes long, {} are allowed", name.size(),
                                  statemachine::kMaxStreamBytes));
  if (!is_utf8(name))
    return make_error(ErrorCode::kInvalidArgument, "the stream's name is not UTF-8");
  return {};
}

}  // namespace tailrace::rpc
