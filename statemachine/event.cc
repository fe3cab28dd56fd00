#include "statemachine/event.h"

#include <string>

#include "fasterlog/format/record.h"

namespace tailrace::statemachine {
namespace {

Command event_of(ByteSpan stream, ByteSpan event) {
  Command command;
  command.operation = Operation::kEvent;
  command.key = stream;
  command.value = event;
  return command;
}

}  // namespace

Result<> EventBatch::add(ByteSpan event) {
  const auto refuse = [&](const std::string& why) {
    return make_error(ErrorCode::kInvalidArgument,
                      "event " + std::to_string(events_.size()) + " of the batch: " + why);
  };
  if (stream_.size() > kMaxStreamBytes)
    return make_error(ErrorCode::kInvalidArgument,
                      "a stream's name of " + std::to_string(stream_.size()) +
                          " bytes: the limit is " + std::to_string(kMaxStreamBytes) + " bytes");
  const Command command = event_of(stream_, event);
  if (const auto checked = validate(command, max_value_bytes_); !checked)
    return refuse(checked.error().message);
  const size_t bytes = encoded_bytes(command);
  const uint64_t in_log = fasterlog::record_bytes(bytes);
  if (log_bytes_ + in_log > most_log_bytes_)
    return refuse("with it the batch takes " + std::to_string(log_bytes_ + in_log) +
                  " bytes in the log, where each event repeats the stream's name; the limit is " +
                  std::to_string(most_log_bytes_) + " bytes; append fewer events at a time");
  log_bytes_ += in_log;
  payload_bytes_ += bytes;
  events_.push_back(event);
  return {};
}

void EventBatch::encode(std::vector<std::byte>& into,
                        std::vector<fasterlog::RecordView>& records) const {
  into.resize(payload_bytes_);
  records.clear();
  records.reserve(events_.size());
  std::byte* place = into.data();
  for (const ByteSpan event : events_) {
    const Command command = event_of(stream_, event);
    const size_t bytes = encoded_bytes(command);
    encode_at(command, place);
    records.push_back({kCommandRecord, ByteSpan(place, bytes)});
    place += bytes;
  }
}

}  // namespace tailrace::statemachine
