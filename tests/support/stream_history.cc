#include "stream_history.h"

#include <algorithm>
#include <limits>

namespace tailrace::testing {

namespace {

constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();

std::string text_of(const StreamOperation& append) {
  return "append " + std::to_string(append.number) + " to the stream '" + append.stream + "'";
}

/// One stream's judge.
class StreamJudge {
 public:
  StreamJudge(const std::string& stream, const std::vector<StreamEvent>& events)
      : stream_(stream), events_(events), not_before_(events.size()) {
    not_after_.resize(events.size(), kNever);
    for (uint64_t version = 0; version < events.size(); ++version)
      if (!versions_.emplace(events[version], version).second)
        broken_ = "an event stands twice in the stream '" + stream + "': at " +
                  std::to_string(versions_[events[version]]) + " and " + std::to_string(version);
  }

  void add(const StreamOperation& operation) {
    if (broken_) return;
    if (operation.kind == Kind::kAppend) add_append(operation);
    if (operation.seen) add_seen(operation);
  }

  std::optional<std::string> judge() {
    if (broken_) return broken_;
    if (explained_ < events_.size())
      return "the stream '" + stream_ + "' has an event that nobody appended";
    // The earliest moment of each event goes by those before it.
    uint64_t earliest = 0;
    std::vector<uint64_t> latest(not_after_);
    for (size_t i = latest.size(); i-- > 1;)
      latest[i - 1] = std::min(latest[i - 1], latest[i]);
    for (size_t i = 0; i < latest.size(); ++i) {
      earliest = std::max(earliest, not_before_[i]);
      if (earliest > latest[i])
        return "no order explains what clients saw of the stream '" + stream_ + "': the event at " +
               std::to_string(i) + " was to be there by " + std::to_string(latest[i]) +
               " and not before " + std::to_string(earliest);
    }
    return std::nullopt;
  }

 private:
  using Kind = StreamOperation::Kind;
  using Outcome = StreamOperation::Outcome;
  using Expected = StreamOperation::Expected;

  void add_append(const StreamOperation& append) {
    const auto first = versions_.find({append.number, append.first_index});
    uint64_t found = 0;
    for (uint64_t i = 0; i < append.events; ++i) {
      const auto one = versions_.find({append.number, append.first_index + i});
      found +=
          one != versions_.end() && first != versions_.end() && one->second == first->second + i;
    }
    explained_ += found;
    if (append.outcome == Outcome::kRefused) {
      if (found > 0) broken_ = text_of(append) + " was refused, and stands there";
      if (append.seen && is_expected(append, *append.seen))
        broken_ = text_of(append) + " was refused although it found what it expected";
      return;
    }
    if (append.outcome == Outcome::kUnknown && first == versions_.end()) return;
    if (found != append.events) {
      broken_ = text_of(append) + " does not stand there whole";
      return;
    }
    const uint64_t version = first->second;
    if (append.outcome == Outcome::kDone && version != append.first_version)
      broken_ = text_of(append) + " was answered with another place than it has";
    if (!is_expected(append, version))
      broken_ = text_of(append) + " stands behind another version than it expected";
    for (uint64_t i = version; i < version + append.events; ++i) {
      not_before_[i] = std::max(not_before_[i], append.invoked);
      if (append.outcome == Outcome::kDone)
        not_after_[i] = std::min(not_after_[i], append.returned);
    }
  }

  static bool is_expected(const StreamOperation& append, uint64_t events_before) {
    switch (append.expected) {
      case Expected::kAny:
        return true;
      case Expected::kNone:
        return events_before == 0;
      case Expected::kExists:
        return events_before > 0;
      case Expected::kExact:
        return events_before == append.expected_version + 1;
    }
    return false;
  }

  void add_seen(const StreamOperation& operation) {
    const uint64_t seen = *operation.seen;
    if (seen > events_.size()) {
      broken_ = "somebody saw more events in the stream '" + stream_ + "' than there are";
      return;
    }
    if (seen > 0) not_after_[seen - 1] = std::min(not_after_[seen - 1], operation.returned);
    if (seen < events_.size() && operation.kind != Kind::kStaleRead)
      not_before_[seen] = std::max(not_before_[seen], operation.invoked);
  }

  const std::string& stream_;
  const std::vector<StreamEvent>& events_;
  std::vector<uint64_t> not_before_, not_after_;  // of the moment of each event
  std::map<StreamEvent, uint64_t> versions_;
  uint64_t explained_ = 0;
  std::optional<std::string> broken_;
};

}  // namespace

std::optional<std::string> judge_streams(const std::vector<StreamOperation>& operations,
                                         const StreamContents& contents) {
  const std::vector<StreamEvent> nothing;
  std::map<std::string, std::vector<const StreamOperation*>> by_stream;
  for (const auto& [stream, events] : contents)
    by_stream[stream];
  for (const StreamOperation& operation : operations)
    by_stream[operation.stream].push_back(&operation);
  for (const auto& [stream, all] : by_stream) {
    const auto events = contents.find(stream);
    StreamJudge judge(stream, events == contents.end() ? nothing : events->second);
    for (const StreamOperation* operation : all)
      judge.add(*operation);
    if (auto broken = judge.judge()) return broken;
  }
  return std::nullopt;
}

std::optional<std::string> judge_order(std::vector<PlacedAnswer> answers) {
  std::ranges::sort(answers, {}, &PlacedAnswer::position);
  uint64_t earliest = 0;
  for (const PlacedAnswer& answer : answers) {
    earliest = std::max(earliest, answer.invoked);
    if (answer.returned < earliest)
      return "the answer of the command at " + std::to_string(answer.position) +
             " was there before a command that stands before it was sent";
  }
  return std::nullopt;
}

}  // namespace tailrace::testing
