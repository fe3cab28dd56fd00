#pragma once
// A log's record as `tail --json` and `log dump` show it, and `load` reads it: commands with their
// parts, all else with its payload. What a command came to is not part of the log and not shown.

#include <string>

#include "core/address.h"
#include "core/bytes.h"
#include "fasterlog/log.h"
#include "json/json_line.h"

namespace tailrace::app {

/// A view of one record.
struct ShownRecord {
  Address address, end;
  Epoch epoch;
  fasterlog::RecordKind kind = fasterlog::RecordKind::kInvalid;
  ByteSpan payload;
};

/// Writes the record's members; the caller may add some, and ends the line. They are
/// address, end, epoch, kind, and
///   event                             stream, payload
///   put                               key, payload, expires_at_ns (unless it lives for ever)
///   delete                            key
///   add                               key, delta
///   cas                               key, expected, payload
///   insert (a cas against absent)     key, payload
///   expire                            key, expires_at_ns (unless it lives for ever)
///   txn                               txn: its checks and effects (json/txn_json.h)
///   digest, compare, time, rules      payload (where it has one)
///   commands with a session           client, serial; begins_before_ns of a first one with a bound
///   any other kind                    payload
/// Text that is not UTF-8 is in base64, and NAME_encoding says so.
void write_record(const ShownRecord& record, JsonLine& to);

/// The same on one line, in columns with tabs between them.
std::string record_line(const ShownRecord& record);

}  // namespace tailrace::app
