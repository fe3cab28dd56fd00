#include "app/verbs/stream_text.h"

#include <utility>

#include <fmt/format.h>

#include "app/cli/option_values.h"
#include "app/cli/output.h"
#include "app/cli/printable.h"

namespace tailrace::app {

namespace {

/// 7d, 90s, 1500ms.
std::string duration_text(uint64_t ns) {
  constexpr uint64_t kMillisecondNs = 1'000'000;
  constexpr std::pair<uint64_t, const char*> kUnits[] = {
      {86'400'000, "d"}, {3'600'000, "h"}, {60'000, "m"}, {1000, "s"}};
  const uint64_t milliseconds = ns / kMillisecondNs;
  for (const auto& [unit, name] : kUnits)
    if (milliseconds != 0 && milliseconds % unit == 0)
      return fmt::format("{}{}", milliseconds / unit, name);
  return fmt::format("{}ms", milliseconds);
}

}  // namespace

Result<rpc::ExpectedStream> parse_expected(std::string_view text) {
  using statemachine::Expected;
  if (text == "any") return rpc::ExpectedStream{};
  if (text == "none") return rpc::ExpectedStream{Expected::kNone};
  if (text == "exists") return rpc::ExpectedStream{Expected::kExists};
  if (const auto version = parse_whole_number(text))
    return rpc::ExpectedStream{Expected::kExact, *version};
  return make_error(ErrorCode::kInvalidArgument,
                    fmt::format("--expect is '{}'; it must be any, none, exists, or the version of "
                                "the stream's last event",
                                text));
}

rpc::ReadOptions after(Epoch epoch, Address address) {
  rpc::ReadOptions read;
  read.level = rpc::ReadOptions::Level::kAtLeast;
  read.epoch = epoch;
  read.address = address;
  return read;
}

std::string wrong_stream_text(std::string_view stream, const statemachine::FailedCheck& found) {
  using statemachine::FoundKind;
  const std::string name = fmt::format("the stream '{}'", printable(stream));
  switch (found.found) {
    case FoundKind::kNoStream:
      return "there is no stream '" + printable(stream) + "'";
    case FoundKind::kVersion:
      return fmt::format("{} is at version {}", name, found.number);
    case FoundKind::kTombstoned:
      return name + " was tombstoned: it takes no more events";
    case FoundKind::kPartialIds:
      return fmt::format(
          "{} has some of these ids already, but not all of them in a row: event {} "
          "of the batch",
          name, found.number);
    case FoundKind::kStreamFull:
      return name + " is full";
    case FoundKind::kAbsent:
    case FoundKind::kValue:
    case FoundKind::kWithheld:
    case FoundKind::kPosition:
    case FoundKind::kLogTime:
    case FoundKind::kOnceFull:
    case FoundKind::kReadLimit:
      break;
  }
  return name + " is not as was expected";
}

std::string policy_text(const rpc::StreamInfo& stream) {
  std::string text;
  if (stream.max_count != 0) text = fmt::format("its newest {} events", stream.max_count);
  if (stream.max_age_ns != 0)
    text += fmt::format("{}those younger than {}", text.empty() ? "" : ", and of these ",
                        duration_text(stream.max_age_ns));
  return text;
}

void warn_of_policy(std::string_view stream, const rpc::StreamInfo& info) {
  const std::string policy = policy_text(info);
  if (policy.empty()) return;
  print_error("tailrace: the stream '{}' keeps only {}: others cannot be read any more\n",
              printable(stream), policy);
}

}  // namespace tailrace::app
