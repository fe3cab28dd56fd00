#include "fasterlog/format/checked_bytes.h"

#include <algorithm>
#include <string>

namespace tailrace::fasterlog {

namespace {

tl::unexpected<Error> bad_record(Address address, std::string_view reason) {
  return make_error(
      ErrorCode::kCorruption,
      "bad record at address " + std::to_string(address.value) + " (" + std::string(reason) + ")");
}

/// Parses one record behind the other. `visit` gives the reason to refuse one, or an empty one.
template <typename Visit>
Result<> walk_records(Address at, ByteSpan bytes, uint64_t page_bytes, Visit visit) {
  uint64_t done = 0;
  while (done < bytes.size()) {
    const Address address = next_record_address(at + done, page_bytes);
    const uint64_t gap = address - (at + done);
    if (gap > bytes.size() - done || !all_zero(bytes.subspan(done, gap)))
      return bad_record(at + done, "the unused end of the page is not zero");
    done += gap;
    const ParseOutcome outcome = parse_record(address, bytes.subspan(done), page_bytes);
    if (outcome.status == ParseStatus::kNeedMore) return bad_record(address, "it is cut off");
    if (outcome.status == ParseStatus::kBad) return bad_record(address, outcome.reason);
    const std::string_view refused = visit(outcome.record);
    if (!refused.empty()) return bad_record(address, refused);
    done += outcome.record.end - address;
  }
  return {};
}

}  // namespace

Result<CheckedBytes> check_batches(Address at, ByteSpan bytes, uint64_t page_bytes,
                                   BatchChain& chain) {
  const auto visit = [&](const ParsedRecord& record) -> std::string_view {
    if (record.epoch < chain.epoch) return "a record of an older epoch after a newer one";
    if (record.epoch > chain.epoch || (chain.empty && chain.starts.empty()))
      chain.starts.push_back({record.epoch, record.address});
    chain.epoch = record.epoch;
    if (record.kind == RecordKind::kConfiguration)
      chain.configurations.push_back(configuration_of(record));
    if (record.kind != RecordKind::kCommitMark) return {};
    const CommitMark mark = mark_of(record);
    if (mark.batch_begin != chain.mark_end)
      return "a commit mark that does not continue the one before";
    chain.mark_end = record.end;
    chain.newest_time_ns = std::max(chain.newest_time_ns, mark.unix_time_ns);
    return {};
  };
  TAILRACE_RETURN_IF_ERROR(walk_records(at, bytes, page_bytes, visit));
  if (chain.mark_end != at + bytes.size())
    return bad_record(at + bytes.size(), "the bytes do not end in a commit mark");
  return CheckedBytes(bytes);
}

Result<CheckedBytes> check_records(Address at, ByteSpan bytes, uint64_t page_bytes) {
  const auto visit = [](const ParsedRecord&) { return std::string_view{}; };
  TAILRACE_RETURN_IF_ERROR(walk_records(at, bytes, page_bytes, visit));
  return CheckedBytes(bytes);
}

}  // namespace tailrace::fasterlog
