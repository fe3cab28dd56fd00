// What a node reads from its event files, and from those that other members send. The first byte
// says what the rest is: else no fuzzer would come past the checksums.
#include <algorithm>
#include <string>
#include <vector>

#include "core/check.h"
#include "history/event_cursor.h"
#include "history/event_file.h"
#include "history/event_file_writer.h"
#include "history/floor_cursor.h"
#include "history/format/entries.h"
#include "history/format/file_name.h"
#include "history/format/floors.h"
#include "history/format/index.h"
#include "tests/fuzz/targets.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::fuzz {

namespace {

using namespace history;

constexpr const char* kEvents = "/events";

void write_as(testing::FaultFileSystem& disk, const storage::Path& path, ByteSpan bytes) {
  const auto file = disk.open(path, {storage::OpenMode::kCreateReadWrite});
  TAILRACE_CHECK(file && (*file)->write_at(0, bytes), "the disk refuses");
}

/// All that a cursor gives; nothing if it fails.
std::vector<Address> positions(EventCursor cursor) {
  std::vector<Address> found;
  for (auto next = cursor.next(); next; next = cursor.next()) {
    if (*next == nullptr) return found;
    found.push_back((*next)->position);
  }
  return {};
}

/// What verify() lets through is what a writer makes of its events.
void rewrite(const EventFile& file) {
  const EventFileSummary& summary = file.summary();
  testing::FaultFileSystem disk(1);
  TAILRACE_CHECK(disk.make_directory(kEvents), "the disk refuses");
  EventFileOptions options;
  options.revision = summary.info.revision;
  options.compression = Compression::kNone;
  auto writer = EventFileWriter::create(disk, kEvents, summary.info.range.first, options);
  TAILRACE_CHECK(writer, "no writer");
  EventCursor cursor = file.events(Address{}, Order::kForwards);
  for (auto next = cursor.next(); next && *next != nullptr; next = cursor.next())
    TAILRACE_CHECK((*writer)->add(**next), "an event that was read cannot be written");
  FloorCursor floors = file.floors();
  for (auto next = floors.next(); next && *next; next = floors.next())
    TAILRACE_CHECK((*writer)->add_floor(**next), "a floor that was read cannot be written");
  const auto info = (*writer)->finish(summary.info.range.end, summary.epoch);
  TAILRACE_CHECK(info && info->digest == summary.info.digest, "a verified file has another digest");
}

void whole_file(ByteSpan input) {
  testing::FaultFileSystem disk(1);
  const storage::Path path = storage::Path(kEvents) / "file.tmp";
  TAILRACE_CHECK(disk.make_directory(kEvents), "the disk refuses");
  write_as(disk, path, input);
  BlockCache cache(1u << 20);
  const auto file = EventFile::open(disk, path, cache);
  if (!file) return;
  const bool is_sound = (*file)->verify().has_value();
  auto forwards = positions((*file)->events(Address{}, Order::kForwards));
  TAILRACE_CHECK(std::is_sorted(forwards.begin(), forwards.end()), "positions do not ascend");
  const auto backwards = positions((*file)->events(Address::max(), Order::kBackwards));
  std::reverse(forwards.begin(), forwards.end());
  TAILRACE_CHECK(forwards == backwards, "both orders have other events");
  for (const IndexKind kind : {IndexKind::kCategory, IndexKind::kType, IndexKind::kTag})
    (void)positions((*file)->events_of(kind, "a", Address{}, Order::kForwards));
  (void)positions((*file)->events_of_stream("a-1", 1, Order::kBackwards));
  FloorCursor floors = (*file)->floors();
  for (auto next = floors.next(); next && *next; next = floors.next())
    TAILRACE_CHECK((*next)->version != 0, "a floor of nothing");
  if (!is_sound) return;
  TAILRACE_CHECK(forwards.size() == (*file)->summary().events, "a verified file cannot be read");
  rewrite(**file);
}

/// What is decoded is decoded again from what is encoded of it.
void block_of_entries(ByteSpan input) {
  if (input.empty()) return;
  EntryBlock block, again;
  block.raw.assign(input.begin() + 1, input.end());
  const auto count = static_cast<uint32_t>(input[0]);
  if (!decode_entries(block, count)) return;
  EntryEncoder encoder;
  for (const EventEntry& entry : block.entries) {
    TAILRACE_CHECK(check_entry(entry), "an impossible event is taken");
    TAILRACE_CHECK(encoder.add(entry, ~size_t{0}), "an event is not taken");
  }
  again.raw.assign(encoder.bytes().begin(), encoder.bytes().end());
  TAILRACE_CHECK(decode_entries(again, count), "what was encoded is not decoded");
  for (size_t i = 0; i < count; ++i) {
    const EventEntry &one = block.entries[i], &other = again.entries[i];
    TAILRACE_CHECK(one.stream == other.stream && one.version == other.version &&
                       one.position == other.position && one.epoch == other.epoch &&
                       one.record_address == other.record_address && one.time_ns == other.time_ns &&
                       one.type == other.type && one.id == other.id &&
                       std::ranges::equal(one.tags, other.tags) &&
                       std::ranges::equal(one.metadata, other.metadata) &&
                       one.content_type == other.content_type &&
                       std::ranges::equal(one.data, other.data),
                   "an event is another one when it is read again");
  }
}

void leaf_of_index(ByteSpan input) {
  std::vector<IndexItem> items;
  if (!decode_leaf(input, items)) return;
  std::vector<Posting> postings;
  for (const IndexItem& item : items) {
    if (!decode_postings(item, 1000, postings)) continue;
    TAILRACE_CHECK(postings.size() == item.postings && postings.back().entry < 1000,
                   "postings out of range");
    for (size_t i = 1; i < postings.size(); ++i)
      TAILRACE_CHECK(postings[i - 1].entry < postings[i].entry &&
                         (item.key.kind != IndexKind::kStream ||
                          postings[i - 1].version < postings[i].version),
                     "postings do not ascend");
  }
}

void directory_of_leaves(ByteSpan input) {
  if (input.size() < 12) return;
  std::vector<LeafRow> rows;
  const auto leaves = load<uint32_t>(input.data());
  const uint64_t end = load<uint64_t>(input.data() + 4);
  if (!decode_leaf_rows(input.subspan(12), leaves, 40, end, rows)) return;
  TAILRACE_CHECK(rows.size() == leaves, "another number of leaves");
  TAILRACE_CHECK(rows.empty() || rows.back().at < end, "a leaf beyond the file");
}

void block_of_floors(ByteSpan input) {
  std::vector<StreamFloor> floors;
  if (!decode_floors(input, floors)) return;
  std::vector<std::byte> again;
  for (const StreamFloor& floor : floors) {
    TAILRACE_CHECK(check_floor(floor), "an impossible floor is taken");
    TAILRACE_CHECK(append_floor(floor, ~size_t{0}, again), "a floor is not taken");
  }
  TAILRACE_CHECK(std::ranges::equal(again, input), "floors have other bytes when written again");
}

}  // namespace

void event_file(ByteSpan input) {
  if (input.empty()) return;
  const ByteSpan rest = input.subspan(1);
  switch (static_cast<uint8_t>(input[0])) {
    case 0:
      return whole_file(rest);
    case 1:
      return block_of_entries(rest);
    case 2:
      return leaf_of_index(rest);
    case 3:
      return directory_of_leaves(rest);
    case 5:
      return block_of_floors(rest);
    default:
      if (const auto info = parse_file_name(as_text(rest)))
        TAILRACE_CHECK(name_of(*info) == as_text(rest), "a name is read that is not written");
  }
}

}  // namespace tailrace::fuzz
