#pragma once
// Most of a log is events, and the applier leaves them where they are: what it takes to see that a
// record is one, and sound, without the rest of decode().

#include "core/bytes.h"

namespace tailrace::statemachine {

/// Whether decode() would give an event without a session: it changes nothing of the state and has
/// no answer. False also for what decode() refuses.
bool is_plain_event(ByteSpan payload);

}  // namespace tailrace::statemachine
