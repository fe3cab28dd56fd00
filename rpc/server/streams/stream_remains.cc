#include "rpc/server/streams/stream_remains.h"

#include <fmt/format.h>

#include "history/format/file_name.h"

namespace tailrace::rpc {
namespace {

using Remains = std::vector<StreamRemains>;

Result<> in_files(history::History& history, const std::string& stream,
                  const std::function<bool()>& wanted, Remains& into) {
  const auto name = [&](const history::EventFileInfo& info) {
    return (history.catalogue().directory() / history::name_of(info)).string();
  };
  for (const history::EventFileInfo& info : history.catalogue().files()) {
    if (!wanted()) return make_error(ErrorCode::kCancelled, "nobody waits for it");
    const auto events = history.count_events(info, stream);
    // Scavenged meanwhile: whoever asks next sees the one in its place.
    if (!events)
      into.push_back({fmt::format("event file {}: it cannot be read now: {}", name(info),
                                  events.error().message),
                      info.range});
    else if (*events > 0)
      into.push_back({fmt::format("event file {}: {} events", name(info), *events), info.range});
  }
  TAILRACE_ASSIGN_OR_RETURN(const auto unread, history.unread_files());
  for (const storage::Path& path : unread)
    into.push_back({fmt::format("file {}: nobody reads it, so it may have some; it goes when "
                                "another of its range has come, or the node starts",
                                path.string()),
                    {}});
  return {};
}

Result<> in_left_files(const LeftFiles& left_files, Remains& into) {
  TAILRACE_ASSIGN_OR_RETURN(const auto files, left_files());
  for (const storage::Path& path : files)
    into.push_back({fmt::format("file {}: it may have some; history.keep is none now, so nothing "
                                "takes them out: remove the file if it is not to be kept",
                                path.string()),
                    {}});
  return {};
}

}  // namespace

Result<Remains> find_remains(const statemachine::StateMachine& machine, const fasterlog::Log& log,
                             history::History* history, const LeftFiles& left_files,
                             const std::string& stream, const std::function<bool()>& wanted) {
  Remains found;
  TAILRACE_ASSIGN_OR_RETURN(const auto head, machine.stream_head(stream));
  // It never had an event.
  if (!head || head->last_place == statemachine::EventPlace{}) return found;
  if (history != nullptr)
    TAILRACE_RETURN_IF_ERROR(in_files(*history, stream, wanted, found));
  else if (left_files)
    TAILRACE_RETURN_IF_ERROR(in_left_files(left_files, found));
  const Address last{head->last_place.record_address}, first = log.first_byte();
  if (last >= first)
    found.push_back({fmt::format("log: it has all from address {} on, the stream's last record is "
                                 "at {}; its segment goes when the log is truncated behind it",
                                 first.value, last.value),
                     {first, last + 1}});
  for (const fasterlog::OldBytes& old : log.old_bytes()) {
    if (old.of.first > last) continue;
    const std::string until =
        old.until == Address{}
            ? "it is a spare segment"
            : fmt::format("the log overwrites it until it reaches address {}", old.until.value);
    found.push_back({fmt::format("log file {}: it may have bytes of the log from {} to {}; {}",
                                 old.file, old.of.first.value, old.of.end.value, until),
                     old.of});
  }
  return found;
}

}  // namespace tailrace::rpc
