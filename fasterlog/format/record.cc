#include "fasterlog/format/record.h"

#include <cstddef>
#include <cstring>

#include "core/check.h"
#include "fasterlog/format/checked_bytes.h"
#include "storage/crc32c.h"

namespace tailrace::fasterlog {

namespace {

// Header and payload are neighbours in memory, so the checksum is two calls.
uint32_t record_crc(const std::byte* record, uint64_t payload_bytes, Address address) {
  std::byte own_address[8];
  store(own_address, address.value);
  return crc32c(own_address,
                crc32c({record + 4, kHeaderBytes - 4 + static_cast<size_t>(payload_bytes)}));
}

ParseOutcome bad(std::string_view reason) {
  return {ParseStatus::kBad, 0, reason, {}};
}

/// The record as far as its header tells: it lies within `bytes` and within its page.
ParseOutcome frame_record(Address address, ByteSpan bytes, uint64_t page_bytes) {
  if (address.value % kRecordAlignment != 0) return bad("the address is no multiple of 8");
  const uint64_t left = page_bytes - (address.value & (page_bytes - 1));
  if (left < kHeaderBytes) return bad("no header fits before the page's end");
  if (bytes.size() < kHeaderBytes) return {ParseStatus::kNeedMore, kHeaderBytes, {}, {}};
  const auto header = load<RecordHeader>(bytes.data());
  if (header.kind == 0) {
    return bad(all_zero(bytes.first(kHeaderBytes)) ? kNothingWritten
                                                   : std::string_view("record of kind 0"));
  }
  if (header.flags != 0 || header.reserved16 != 0 || header.reserved32 != 0)
    return bad("unknown flags or reserved fields are set");
  const uint64_t whole = record_bytes(header.payload_bytes);
  if (whole > left) return bad("the record would cross its page's end");
  if (bytes.size() < whole) return {ParseStatus::kNeedMore, whole, {}, {}};
  return {ParseStatus::kOk,
          0,
          {},
          ParsedRecord{address, address + whole, Epoch{header.epoch},
                       static_cast<RecordKind>(header.kind),
                       bytes.subspan(kHeaderBytes, header.payload_bytes)}};
}

/// Whether the payload has a length that its kind may have.
std::string_view wrong_length(const ParsedRecord& record) {
  if (record.kind == RecordKind::kConfiguration && record.payload.size() > kMostConfigurationBytes)
    return "a configuration that is too long";
  if (record.kind == RecordKind::kCommitMark && record.payload.size() < kMarkPayloadBytes)
    return "a commit mark that is too short";
  return {};
}

}  // namespace

Result<> check_embedder_kind(RecordKind kind) {
  if (kind == RecordKind::kEpochStart || kind == RecordKind::kConfiguration ||
      kind >= RecordKind::kData)
    return {};
  const bool reserved = kind > RecordKind::kConfiguration;
  return make_error(ErrorCode::kInvalidArgument,
                    "kind " + std::to_string(static_cast<int>(kind)) +
                        (reserved ? " is reserved for the log" : " is the log's own") +
                        "; an embedder writes kinds 3 (an epoch's start) and 4 (a configuration) "
                        "and its own from 16 on");
}

void seal_record(std::byte* to, Address address, Epoch epoch, RecordKind kind,
                 uint32_t payload_bytes) {
  RecordHeader header;
  header.payload_bytes = payload_bytes;
  header.kind = static_cast<uint8_t>(kind);
  header.epoch = epoch.value;
  store(to, header);
  store(to, record_crc(to, payload_bytes, address));
}

void write_page_padding(std::byte* to, Address from, Address page_end, Epoch epoch) {
  const uint64_t bytes = page_end - from;
  std::memset(to, 0, bytes);
  if (bytes < kHeaderBytes) return;
  seal_record(to, from, epoch, RecordKind::kPadding, static_cast<uint32_t>(bytes - kHeaderBytes));
}

void write_commit_mark(std::byte* to, Address address, uint64_t bytes, Epoch epoch,
                       const CommitMark& mark) {
  std::memset(to + kHeaderBytes, 0, bytes - kHeaderBytes);
  store(to + kHeaderBytes, mark.batch_begin.value);
  store(to + kHeaderBytes + 8, mark.unix_time_ns);
  seal_record(to, address, epoch, RecordKind::kCommitMark,
              static_cast<uint32_t>(bytes - kHeaderBytes));
}

ParseOutcome parse_record(Address address, ByteSpan bytes, uint64_t page_bytes) {
  ParseOutcome outcome = frame_record(address, bytes, page_bytes);
  if (outcome.status != ParseStatus::kOk) return outcome;
  const ParsedRecord& record = outcome.record;
  const ByteSpan payload = record.payload;
  const uint64_t whole = record.end - address;
  if (record_crc(bytes.data(), payload.size(), address) != load<uint32_t>(bytes.data()))
    return bad("the checksum does not match");
  if (!all_zero(
          bytes.subspan(kHeaderBytes + payload.size(), whole - kHeaderBytes - payload.size())))
    return bad("the bytes that align the record are not zero");
  const uint64_t left = page_bytes - (address.value & (page_bytes - 1));
  if (record.kind == RecordKind::kPadding && (whole != left || !all_zero(payload)))
    return bad("padding that does not end its page, or is not zero");
  if (const std::string_view reason = wrong_length(record); !reason.empty()) return bad(reason);
  if (record.kind == RecordKind::kCommitMark) {
    if (!all_zero(payload.subspan(kMarkPayloadBytes)))
      return bad("a commit mark that is not filled with zeros");
    if (load<uint64_t>(payload.data()) >= address.value)
      return bad("a commit mark of an empty or impossible batch");
  }
  return outcome;
}

ParseOutcome view_record(Address address, CheckedBytes bytes, uint64_t page_bytes) {
  ParseOutcome outcome = frame_record(address, bytes.span(), page_bytes);
  if (outcome.status != ParseStatus::kOk) return outcome;
  if (const std::string_view reason = wrong_length(outcome.record); !reason.empty())
    return bad(reason);
  return outcome;
}

bool all_zero(ByteSpan bytes) {
  // Compares the bytes with themselves shifted by one: memcmp does it at memory speed.
  return bytes.empty() || (bytes[0] == std::byte{0} &&
                           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

ConfigurationRecord configuration_of(const ParsedRecord& record) {
  return {record.address, record.end, record.epoch, {record.payload.begin(), record.payload.end()}};
}

CommitMark mark_of(const ParsedRecord& record) {
  TAILRACE_CHECK(record.kind == RecordKind::kCommitMark, "asked for the mark of another record");
  return {Address{load<uint64_t>(record.payload.data())},
          load<uint64_t>(record.payload.data() + 8)};
}

bool are_possible(const ConfigurationTable& table, Address end) {
  Address free = kFirstAddress;
  Epoch epoch;
  for (const ConfigurationRecord& each : table) {
    if (each.start < free || each.start.value % kRecordAlignment != 0 || each.epoch < epoch ||
        each.payload.size() > kMostConfigurationBytes || each.end > end || each.end <= each.start ||
        each.end - each.start != record_bytes(each.payload.size()))
      return false;
    free = each.end;
    epoch = each.epoch;
  }
  return true;
}

Result<CommitMark> parse_commit_mark(const Record& record) {
  if (record.kind != RecordKind::kCommitMark)
    return make_error(
        ErrorCode::kInvalidArgument,
        "record at address " + std::to_string(record.address.value) + " is no commit mark");
  if (record.payload.size() < kMarkPayloadBytes)
    return make_error(
        ErrorCode::kCorruption,
        "commit mark at address " + std::to_string(record.address.value) + " is too short");
  return CommitMark{Address{load<uint64_t>(record.payload.data())},
                    load<uint64_t>(record.payload.data() + 8)};
}

}  // namespace tailrace::fasterlog
