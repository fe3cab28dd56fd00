// The log's formats.
#include <algorithm>
#include <memory>

#include "core/check.h"
#include "fasterlog/engine/consumers.h"
#include "fasterlog/format/log_metadata.h"
#include "fasterlog/format/record.h"
#include "fasterlog/format/segment_files.h"
#include "fasterlog/log.h"
#include "storage/atomic_file.h"
#include "tests/fuzz/log_bytes.h"
#include "tests/fuzz/targets.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::fuzz {

using fasterlog::Log;
using fasterlog::LogOptions;
using testing::FaultFileSystem;

namespace {

constexpr uint64_t kSegmentBytes = 2 * kPageBytes;

void write_file(FaultFileSystem& disk, const storage::Path& path, ByteSpan bytes) {
  auto file = disk.open(path, {storage::OpenMode::kCreateReadWrite, false});
  TAILRACE_CHECK(file && (*file)->write_at(0, bytes), "the disk in memory refuses");
}

/// A file of that kind with any content, or, for every other input, any file.
/// The content is of version 1, or of the newest when the input wants it.
void write_small_file(FaultFileSystem& disk, const storage::Path& path, uint32_t kind,
                      uint32_t newest, ByteSpan input) {
  TAILRACE_CHECK(disk.make_directory("/log"), "the disk in memory refuses");
  Input from(input);
  const auto form = from.take<uint8_t>();
  if (form % 2 == 0) {
    const uint32_t version = form % 4 == 0 ? 1 : newest;
    TAILRACE_CHECK(storage::replace_atomic_file(disk, path, {kind, version}, from.rest()),
                   "the disk in memory refuses");
  } else {
    write_file(disk, path, from.rest());
  }
}

LogOptions options() {
  LogOptions result;
  result.directory = "/log";
  result.owner = "fuzz";
  result.page_bytes = kPageBytes;
  result.buffer_pages = 4;
  result.segment_bytes = kSegmentBytes;
  result.reserve_disk_bytes = 0;
  result.huge_pages = false;
  return result;
}

/// Every record, each one behind the other; how many.
uint64_t scan_all(Log& log) {
  uint64_t count = 0;
  Address at = log.begin();
  const auto scanner = log.scan(log.begin(), {true, false, 1 << 16});
  for (;;) {
    auto record = scanner->next(Address::max());
    TAILRACE_CHECK(record.has_value(), "a record below durable cannot be read");
    if (!*record) return count;
    TAILRACE_CHECK((*record)->address >= at && (*record)->end <= log.durable(), "a wrong address");
    at = (*record)->end;
    ++count;
  }
}

}  // namespace

void record(ByteSpan input) {
  Input from(input);
  const Address address{from.take<uint64_t>()};
  std::vector<std::byte> bytes(from.rest().begin(), from.rest().end());
  for (const bool sealed : {false, true}) {
    const auto outcome = fasterlog::parse_record(address, bytes, kPageBytes);
    if (outcome.status == fasterlog::ParseStatus::kNeedMore)
      TAILRACE_CHECK(outcome.needed_bytes > bytes.size(), "needs what is there");
    if (outcome.status == fasterlog::ParseStatus::kOk) {
      TAILRACE_CHECK(outcome.record.end - address <= bytes.size(), "a record beyond its bytes");
      if (outcome.record.kind == fasterlog::RecordKind::kCommitMark)
        TAILRACE_CHECK(fasterlog::mark_of(outcome.record).batch_begin < address, "an empty batch");
    }
    if (sealed || bytes.size() < fasterlog::kHeaderBytes) return;
    // Once more with a checksum that fits.
    const auto header = load<fasterlog::RecordHeader>(bytes.data());
    const uint64_t payload = std::min<uint64_t>(header.payload_bytes, bytes.size() - sizeof header);
    fasterlog::seal_record(bytes.data(), address, Epoch{header.epoch},
                           static_cast<fasterlog::RecordKind>(header.kind),
                           static_cast<uint32_t>(payload));
  }
}

void metadata(ByteSpan input) {
  FaultFileSystem disk(1);
  write_small_file(disk, "/log/META", storage::four_letters("FLOG"), 2, input);
  const auto found = fasterlog::read_log_metadata(disk, "/log");
  if (!found) return;
  TAILRACE_CHECK(found->begin <= found->proven, "an impossible META is taken");
  TAILRACE_CHECK(fasterlog::write_log_metadata(disk, "/log", *found), "the disk refuses");
  const auto again = fasterlog::read_log_metadata(disk, "/log");
  TAILRACE_CHECK(again && *again == *found, "META is not what was written");
}

void consumers(ByteSpan input) {
  FaultFileSystem disk(1);
  write_small_file(disk, storage::Path("/log") / fasterlog::kConsumersName,
                   storage::four_letters("FCON"), 1, input);
  fasterlog::ConsumerTable table(disk, "/log");
  if (!table.load()) return;
  const auto all = table.all(Address{1 << 20});
  TAILRACE_CHECK(table.cut_at(fasterlog::kFirstAddress), "the disk refuses");
  if (!all.empty()) TAILRACE_CHECK(table.remove(all[0].name), "one that is there is not found");
  fasterlog::ConsumerTable again(disk, "/log");
  TAILRACE_CHECK(again.load(), "what was written is not read");
  TAILRACE_CHECK(all.empty() || again.all(Address{}).size() + 1 == all.size(), "one got lost");
}

void recovery(ByteSpan input) {
  Input from(input);
  const auto proven_mark = from.take<uint8_t>();
  const auto flags = from.take<uint8_t>();
  const LogBytes made = log_bytes(from.rest(), kSegmentBytes - fasterlog::kFirstAddress.value);
  FaultFileSystem disk(1);
  TAILRACE_CHECK(disk.make_directory("/log"), "the disk refuses");
  std::vector<std::byte> segment(fasterlog::kFirstAddress.value);
  segment.insert(segment.end(), made.bytes.begin(), made.bytes.end());
  if ((flags & 1) != 0) segment.resize(kSegmentBytes);
  write_file(disk, storage::Path("/log") / fasterlog::segment_name(0), segment);
  fasterlog::LogMetadata metadata;
  metadata.owner = "fuzz";
  metadata.page_bytes = kPageBytes;
  metadata.segment_bytes = kSegmentBytes;
  metadata.clean = (flags & 2) != 0;
  if (proven_mark > 0 && proven_mark <= made.mark_ends.size())
    metadata.proven = made.mark_ends[proven_mark - 1];
  if ((flags & 4) != 0) metadata.cut = metadata.proven;
  if ((flags & 8) != 0) metadata.begin = metadata.proven;
  TAILRACE_CHECK(fasterlog::write_log_metadata(disk, "/log", metadata), "the disk refuses");

  uint64_t records = 0;
  Address durable;
  fasterlog::ConfigurationTable configurations;
  {
    auto log = Log::open(disk, options());
    if (!log) return;
    durable = (*log)->durable();
    TAILRACE_CHECK(durable >= metadata.proven, "what was proven is dropped");
    if ((flags & 4) != 0) TAILRACE_CHECK(durable == metadata.cut, "what was cut is there");
    records = scan_all(**log);
    configurations = *(*log)->configurations();
    TAILRACE_CHECK(fasterlog::are_possible(configurations, durable), "an impossible table");
    TAILRACE_CHECK((*log)->become_writer(Epoch{~uint64_t{0}}), "the log cannot be written");
    const auto range = (*log)->enqueue(fasterlog::RecordKind::kData, as_bytes("more"));
    TAILRACE_CHECK(range && (*log)->wait_durable(range->end), "the log cannot be written");
  }
  auto again = Log::open(disk, options());
  TAILRACE_CHECK(again.has_value(), "a log that was opened is refused");
  TAILRACE_CHECK((*again)->durable() > durable, "a durable record is lost");
  TAILRACE_CHECK(*(*again)->configurations() == configurations, "configurations changed");
  // The record, its mark, and padding before either.
  const uint64_t now = scan_all(**again);
  TAILRACE_CHECK(now == records + 2, "what was discarded came back");
}

void append_raw(ByteSpan input) {
  const LogBytes made = log_bytes(input, 3 * kPageBytes);
  FaultFileSystem disk(1);
  auto log = Log::open(disk, options());
  TAILRACE_CHECK(log && (*log)->become_copy(), "a new log does not open");
  if (!(*log)->try_append_raw(fasterlog::kFirstAddress, made.bytes)) {
    TAILRACE_CHECK((*log)->tail() == fasterlog::kFirstAddress, "refused bytes were taken");
    return;
  }
  TAILRACE_CHECK((*log)->wait_durable((*log)->tail()), "what was taken is not durable");
  (void)scan_all(**log);
  const auto configurations = (*log)->configurations();
  TAILRACE_CHECK(fasterlog::are_possible(*configurations, (*log)->tail()), "an impossible table");
  std::vector<std::byte> back;
  TAILRACE_CHECK((*log)->read_raw((*log)->begin(), 1 << 20, back), "what was taken is not read");
  TAILRACE_CHECK(std::equal(back.begin(), back.end(), made.bytes.begin(), made.bytes.end()),
                 "other bytes come back");
}

}  // namespace tailrace::fuzz
