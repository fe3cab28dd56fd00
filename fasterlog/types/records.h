#pragma once
// Records as the log takes and gives them, and what it keeps of them at hand.

#include <cstdint>
#include <string>
#include <vector>

#include "core/address.h"
#include "core/bytes.h"
#include "core/record_kind.h"
#include "core/result.h"

namespace tailrace::fasterlog {

/// The first address of an empty log.
inline constexpr Address kFirstAddress{64};

using tailrace::RecordKind;

struct RecordView {
  RecordKind kind = RecordKind::kData;
  ByteSpan payload;
};

/// A record as read back. `payload` points into the reader's own buffer, until its next call.
struct Record {
  Address address;
  Address end;  // where the next record may begin
  Epoch epoch;
  RecordKind kind = RecordKind::kInvalid;
  ByteSpan payload;
};

/// What a commit mark says (payload of RecordKind::kCommitMark).
struct CommitMark {
  Address batch_begin;        // the end of the mark before
  uint64_t unix_time_ns = 0;  // log time (log_time.h)
};
Result<CommitMark> parse_commit_mark(const Record& record);

struct EpochStart {
  Epoch epoch;
  Address start;  // address of the epoch's first record
  bool operator==(const EpochStart&) const = default;
};

/// A record of RecordKind::kConfiguration. The log has those that it holds at hand, and the one
/// that was in force where it begins, also when that record itself is truncated.
struct ConfigurationRecord {
  Address start, end;
  Epoch epoch;
  std::vector<std::byte> payload;
  bool operator==(const ConfigurationRecord&) const = default;
};
using ConfigurationTable = std::vector<ConfigurationRecord>;  // ascending
/// The log's table and META hold each payload: it is to be small.
inline constexpr uint32_t kMostConfigurationBytes = 64u << 10;
/// Whether these can be such records of one log, in their order, all of which end at or below
/// `end`.
bool are_possible(const ConfigurationTable& table, Address end);

/// A file that has, or may have, bytes of segments which were truncated.
struct OldBytes {
  std::string file;
  AddressRange of;  // the log addresses that they had
  /// The log takes the file's room step by step: they are gone once its durable end is there. 0:
  /// it is a spare segment, of which nobody can say when it is used.
  Address until;
};

}  // namespace tailrace::fasterlog
