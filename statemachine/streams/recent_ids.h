#pragma once
// The ids of a stream's last events that have one, as they stand in the store: a ring, oldest
// first, which is written in place. By it a batch that is sent again is known
// (docs/formats/streams.md).

#include <span>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "core/result.h"
#include "statemachine/streams/stream.h"

namespace tailrace::statemachine {

/// What a batch's ids are to those that are remembered.
struct IdMatch {
  enum class Kind : uint8_t {
    kNew,       // none is among them
    kReplayed,  // all are: in order, next to each other, from version `first` on
    kPartial,   // some are, or not so; the batch's event `index` is
    kRepeated,  // the batch's event `index` has the id of an earlier one
  };
  Kind kind = Kind::kNew;
  StreamVersion first = 0;
  size_t index = 0;
};

/// Compares batches with rings. One thread; keeps its memory.
class IdMatcher {
 public:
  /// `ring` was let through by check_ring(), or is empty: none are remembered.
  IdMatch match(ByteSpan ring, std::span<const EventId> batch);

 private:
  IdMatch match_one(ByteSpan ring, EventId id) const;
  bool sort(std::span<const EventId> batch, size_t& repeated);

  struct Wanted {
    EventId id;
    size_t index = 0;
  };
  std::vector<Wanted> sorted_;
  std::vector<StreamVersion> versions_;
};

/// Remembers those of the batch's events that have an id, the first of which has version `first`;
/// of all no more than the last `dedupe`. True when there was one.
bool remember_ids(std::string& ring, std::span<const EventId> batch, StreamVersion first,
                  uint32_t dedupe);
/// Keeps the last `dedupe` at most.
void limit_ids(std::string& ring, uint32_t dedupe);
size_t count_of_ids(ByteSpan ring);
/// kCorruption for what the others would not have made.
Result<> check_ring(ByteSpan ring);

/// Of a ring that has room for `ids`.
constexpr size_t ring_bytes(size_t ids) {
  return 8 + ids * 24;
}

}  // namespace tailrace::statemachine
