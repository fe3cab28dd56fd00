#pragma once

#include <cstdint>

namespace tailrace {

/// What a record is. The log writes the first three itself; the others are the embedder's, but for
/// 5 to 15, which are reserved and refused at enqueue. (A reader shows them, see fasterlog.md.)
enum class RecordKind : uint8_t {
  kInvalid = 0,
  kPadding = 1,        // fills a page to its end; never shown to readers
  kCommitMark = 2,     // ends a batch; shown only on request
  kEpochStart = 3,     // a leader's first record: payload is opaque to the log
  kConfiguration = 4,  // the embedder's, such as its members: opaque, see ConfigurationRecord
  kData = 16,          // and every greater value: the embedder's own kinds
};

}  // namespace tailrace
