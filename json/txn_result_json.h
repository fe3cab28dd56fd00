#pragma once
// The JSON of what a transaction came to:
//
//   {"succeeded":true,"position":P,"results":[…]}
//   {"succeeded":false,"position":P,"failed":[{"index":0,"found":{"version":3}}],"results":[…]}
//
//   a result   {} (done), {"number":5}, {"value":"v"}, {"absent":true}, {"withheld_bytes":5000},
//              {"first":4,"last":5,"replayed":false}
//   found      {"absent":true}, {"value":"v"}, {"withheld_bytes":5000}, {"modified_at":4711},
//              {"none":true}, {"version":3}, {"tombstoned":true}, {"log_time":"2026-12-01T…Z"},
//              {"partial_ids":2} (the append's event whose id is there though not all are, or the
//              other way round), {"full":true,"version":3}, {"once_keys":1000} (no more fit)
//
// A failed check of `then` or `else` (what an effect needs), or the once key, names its `list`.
// Values that are not UTF-8 are in `value_base64`. Any thread.

#include <string>

#include "json/json_writer.h"
#include "statemachine/txn/txn_result.h"

namespace tailrace {

void write_txn_result(const statemachine::TxnResult& result, JsonWriter& to);

}  // namespace tailrace
