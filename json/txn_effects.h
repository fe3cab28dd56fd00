#pragma once
// The JSON of one effect of a transaction (txn_json.h). Internal.

#include <string>

#include "json/members.h"
#include "json/txn_json.h"

namespace tailrace {

/// Whether times are how long from now, as clients say it, or moments, as the log has them.
enum class TxnTimes : uint8_t { kFromNow, kInLog };

/// Its events, if it has some, are added to the transaction.
Result<statemachine::TxnEffect> read_effect(JsonView json, std::string place, TxnTimes times,
                                            OwnedTxn& to);

/// The member `ttl`, which is there: "30s".
Result<uint64_t> read_time_to_live_ns(const Members& members);

}  // namespace tailrace
