#include "app/verbs/appender.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <unistd.h>

#include "app/cli/output.h"
#include "core/utf8.h"
#include "json/uuid.h"

namespace tailrace::app {

namespace {

// A batch of lines fits into one page of any log that the service makes, and into a transaction.
constexpr size_t kMostBatchBytes = 512u << 10;
constexpr size_t kMostBatchLines = 2048;
constexpr std::chrono::milliseconds kShownEvery{500};
constexpr uint64_t kMillisecondOfId = 1'000'000;

size_t event_bytes_of(const OwnedEvent& event) {
  size_t bytes = event.data.size() + event.metadata.size() + event.type.size();
  for (const std::string& tag : event.tags)
    bytes += tag.size();
  return bytes;
}

/// The cluster, or the server, does not know transactions yet.
bool knows_no_txn(const Error& error) {
  return error.code == ErrorCode::kFailedPrecondition || error.code == ErrorCode::kUnsupported;
}

}  // namespace

Appender::Appender(rpc::Client& client, const AppendLines& what, const std::string& name)
    : client_(client), what_(what), name_(name), random_(random_seed()), expected_(what.expected) {}

Result<> Appender::take(LineReader& lines) {
  for (;;) {
    // Before the reader waits for more: what has come should show up.
    if (!lines.ready()) TAILRACE_RETURN_IF_ERROR(send());
    const auto line = lines.next();
    if (!line) {
      TAILRACE_RETURN_IF_ERROR(send());
      return tl::unexpected(Error{
          line.error().code,
          fmt::format("{}; the {} lines before it are in the log", line.error().message, lines_)});
    }
    if (!*line) return send();
    TAILRACE_RETURN_IF_ERROR(add(**line, lines.number()));
    if (wrong_) return {};
  }
}

Result<> Appender::add(std::string_view line, uint64_t number) {
  OwnedEvent event;
  if (what_.json) {
    auto parsed = parse_event(line);
    if (!parsed) {
      TAILRACE_RETURN_IF_ERROR(send());
      return make_error(ErrorCode::kInvalidArgument,
                        fmt::format("{}: line {}: {}; the {} lines before it are in the log", name_,
                                    number, parsed.error().message, lines_));
    }
    event = *std::move(parsed);
  } else {
    event.data = std::string(line);
    if (is_utf8(line)) event.content_type = statemachine::ContentType::kText;
  }
  if (event.type.empty()) event.type = what_.type;
  if (what_.id && lines_ + batch_.size() > 0)
    return make_error(ErrorCode::kInvalidArgument,
                      name_ +
                          " has more than one line: --id is for one event, --ids gives each a "
                          "new one");
  if (what_.id) event.id = what_.id;
  if (what_.new_ids && !event.id)
    event.id =
        new_uuid(system_clock().unix_time_ns() / kMillisecondOfId, random_.next(), random_.next());
  const size_t bytes = event_bytes_of(event);
  if (batch_bytes_ + bytes > kMostBatchBytes || batch_.size() >= kMostBatchLines)
    TAILRACE_RETURN_IF_ERROR(send());
  batch_.push_back(std::move(event));
  batch_bytes_ += bytes;
  return {};
}

Result<> Appender::send() {
  if (batch_.empty() || wrong_) return {};
  Result<> sent = plainly_ ? send_plainly() : send_events();
  if (!sent && !plainly_ && knows_no_txn(sent.error()) && !what_.needs_txn() && lines_ == 0) {
    plainly_ = true;
    sent = send_plainly();
  }
  if (!sent) return tl::unexpected(with_context(known(sent.error()), std::move(sent).error()));
  if (wrong_) return {};
  lines_ += batch_.size();
  batch_.clear();
  batch_bytes_ = 0;
  show_progress();
  return {};
}

Result<> Appender::send_events() {
  std::vector<std::vector<std::string_view>> tags(batch_.size());
  std::vector<rpc::NewEvent> events(batch_.size());
  for (size_t i = 0; i < batch_.size(); ++i) {
    const OwnedEvent& from = batch_[i];
    tags[i].assign(from.tags.begin(), from.tags.end());
    events[i] = {as_bytes(from.data),
                 from.content_type,
                 from.type,
                 from.id,
                 as_bytes(from.metadata),
                 tags[i]};
  }
  TAILRACE_ASSIGN_OR_RETURN(const auto answer, client_.append(what_.stream, events, expected_));
  if (!answer.appended) {
    wrong_ = answer.found;
    return {};
  }
  note(answer);
  return {};
}

void Appender::note(const rpc::AppendAnswer& answer) {
  if (lines_ == 0) first_ = answer.range.first;
  last_ = answer.range.first;
  end_ = answer.range.end;
  epoch_ = answer.epoch;
  if (!versions_) versions_ = Versions{answer.first, answer.last};
  versions_->last = answer.last;
  versions_->replayed &= answer.replayed;
  versions_->some_replayed |= answer.replayed;
  // Whoever has expected something wants no others' events in between.
  if (expected_.kind != statemachine::Expected::kAny)
    expected_ = {statemachine::Expected::kExact, answer.last};
}

Result<> Appender::send_plainly() {
  std::vector<ByteSpan> events;
  for (const OwnedEvent& event : batch_)
    events.push_back(as_bytes(event.data));
  TAILRACE_ASSIGN_OR_RETURN(const auto answer, client_.append(what_.stream, events));
  if (lines_ == 0) first_ = answer.range.first;
  last_ = answer.last;
  end_ = answer.range.end;
  epoch_ = answer.epoch;
  return {};
}

std::string Appender::known(const Error& error) const {
  return fmt::format("{}: the first {} lines are in the log; {}", name_, lines_,
                     error.code == ErrorCode::kUnknownOutcome
                         ? fmt::format("the {} after it may or may not be", batch_.size())
                         : "none after it") +
         longest_line(error);
}

/// What a refusal of the batch is most likely about.
std::string Appender::longest_line(const Error& error) const {
  if (error.code != ErrorCode::kInvalidArgument) return {};
  const auto longest = std::max_element(batch_.begin(), batch_.end(),
                                        [](const OwnedEvent& left, const OwnedEvent& right) {
                                          return left.data.size() < right.data.size();
                                        });
  const auto number = lines_ + static_cast<uint64_t>(longest - batch_.begin()) + 1;
  return fmt::format("; of the lines that were refused line {} is the longest, {} bytes", number,
                     longest->data.size());
}

void Appender::show_progress() {
  if (::isatty(STDERR_FILENO) != 1) return;
  const SteadyTime now = system_clock().now();
  if (now - shown_ < kShownEvery) return;
  shown_ = now;
  print_error("\r{} lines appended", lines_);
  line_open_ = true;
}

void Appender::end_progress() {
  if (std::exchange(line_open_, false)) print_error("\r\033[K");
}

}  // namespace tailrace::app
