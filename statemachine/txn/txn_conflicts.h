#pragma once
// Effects of one list that contradict each other, and ids that an append has twice. Internal.

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "statemachine/txn/txn.h"

namespace tailrace::statemachine {

/// Two effects of one list and one name that cannot both be: a key is changed once, and then not
/// read; of a stream there is one effect.
struct TxnConflict {
  size_t first = 0, second = 0;  // indices, first < second
};

/// Of at most kMaxTxnItems effects of known kinds. Allocates nothing.
std::optional<TxnConflict> first_conflict(const std::vector<TxnEffect>& list);
/// "then[2].put changes the key that then[0].delete changes; …". `name` is the list's.
std::string describe(const TxnConflict& conflict, const char* name,
                     const std::vector<TxnEffect>& list);

/// Two of these events have one id.
std::optional<TxnConflict> first_repeated_id(std::span<const TxnEvent> events);

}  // namespace tailrace::statemachine
