#pragma once
// Events as they come from clients: a batch of one stream, each event a command record that repeats
// the stream's name. Internal.

#include <cstddef>
#include <span>
#include <vector>

#include "fasterlog/log.h"
#include "statemachine/command/command.h"
#include "statemachine/txn/names.h"

namespace tailrace::statemachine {

/// Lays the payloads of a batch one behind the other into one buffer, once it is known that they
/// fit; so nothing is copied of a batch that is refused.
class EventBatch {
 public:
  /// `most_log_bytes`: what the batch's records may take in the log.
  EventBatch(ByteSpan stream, size_t max_value_bytes, uint64_t most_log_bytes)
      : stream_(stream), max_value_bytes_(max_value_bytes), most_log_bytes_(most_log_bytes) {}

  /// kInvalidArgument, naming the limit and the event (counted from 0). The bytes outlive encode().
  Result<> add(ByteSpan event);
  size_t size() const { return events_.size(); }
  /// Replaces `into` and `records`, which refer to it.
  void encode(std::vector<std::byte>& into, std::vector<fasterlog::RecordView>& records) const;

 private:
  const ByteSpan stream_;
  const size_t max_value_bytes_;
  const uint64_t most_log_bytes_;
  uint64_t log_bytes_ = 0;
  size_t payload_bytes_ = 0;
  std::vector<ByteSpan> events_;
};

}  // namespace tailrace::statemachine
