#pragma once
// Floors: below which version of a stream no event is readable from the end of a file's range on.
// They stand in blocks, sorted by the streams' names (docs/formats/event-file.md). Internal.

#include <vector>

#include "core/bytes.h"
#include "core/result.h"
#include "history/format/event_entry.h"

namespace tailrace::history {

/// kInvalidArgument naming field, limit and value: what cannot stand in a file.
Result<> check_floor(const StreamFloor& floor);

/// Puts it behind those that are there, if all of them keep within `most_bytes`; the first one
/// always is put. False: `block` is as before.
bool append_floor(const StreamFloor& floor, size_t most_bytes, std::vector<std::byte>& block);

/// Replaces `into` by all floors of one block, which are views into it. kCorruption unless each is
/// as check_floor() wants it and names ascend.
Result<> decode_floors(ByteSpan block, std::vector<StreamFloor>& into);

}  // namespace tailrace::history
