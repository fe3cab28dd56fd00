#include "history/event_file.h"

#include <algorithm>
#include <string>
#include <utility>

#include "history/format/block.h"
#include "history/format/entries.h"
#include "history/format/index.h"
#include "history/format/parts.h"

namespace tailrace::history {

namespace {

EventFileSummary summary_of(const FileParts& parts) {
  const FileFoot& foot = parts.foot;
  EventFileSummary summary;
  summary.info = {{Address{foot.from}, Address{foot.to}},
                  foot.revision,
                  {foot.digest_high, foot.digest_low},
                  parts.foot_at + sizeof(FileFoot)};
  summary.cluster = {parts.head.cluster_high, parts.head.cluster_low};
  summary.epoch = Epoch{foot.epoch};
  summary.events = foot.entries;
  summary.floors = foot.floors;
  summary.first_position = Address{foot.first_position};
  summary.last_position = Address{foot.last_position};
  summary.least_time_ns = foot.least_time_ns;
  summary.greatest_time_ns = foot.greatest_time_ns;
  summary.entry_bytes = foot.entry_bytes;
  return summary;
}

}  // namespace

EventFile::EventFile(std::unique_ptr<storage::File> file, std::unique_ptr<const FileParts> parts,
                     BlockCache& cache)
    : file_(std::move(file)),
      parts_(std::move(parts)),
      cache_(cache),
      number_(cache.next_file()),
      summary_(summary_of(*parts_)) {}

EventFile::~EventFile() {
  cache_.forget(number_);
}

Result<std::shared_ptr<const EventFile>> EventFile::open(storage::FileSystem& file_system,
                                                         const storage::Path& path,
                                                         BlockCache& cache) {
  TAILRACE_ASSIGN_OR_RETURN(auto file, file_system.open(path, {storage::OpenMode::kReadOnly}));
  TAILRACE_ASSIGN_OR_RETURN(auto parts, read_parts(*file));
  return std::shared_ptr<const EventFile>(
      new EventFile(std::move(file), std::make_unique<const FileParts>(std::move(parts)), cache));
}

Result<std::shared_ptr<const EntryBlock>> EventFile::read_entries(size_t block) const {
  const BlockPlace& place = parts_->blocks[block];
  auto read = std::make_shared<EntryBlock>();
  TAILRACE_ASSIGN_OR_RETURN(read->raw, read_block(*file_, BlockKind::kEntries, place.at,
                                                  place.stored_bytes, place.raw_bytes));
  const std::string_view what = title_of(BlockKind::kEntries);
  if (read->raw.size() != place.raw_bytes)
    return damaged_part(*file_, what, place.at, "the directory gives it another length");
  if (const auto decoded = decode_entries(*read, place.entries); !decoded)
    return damaged_part(*file_, what, place.at, decoded.error());
  const Address end = block + 1 < parts_->blocks.size() ? parts_->blocks[block + 1].first_position
                                                        : summary_.info.range.end;
  if (read->entries.front().position != place.first_position ||
      read->entries.back().position >= end)
    return damaged_part(*file_, what, place.at,
                        "its events are not at the positions that the directory says");
  return read;
}

Result<std::shared_ptr<const EntryBlock>> EventFile::entries(size_t block) const {
  const uint64_t at = parts_->blocks[block].at;
  if (auto kept = cache_.find<EntryBlock>(number_, at)) return kept;
  TAILRACE_ASSIGN_OR_RETURN(auto read, read_entries(block));
  cache_.put(number_, at, read, read->memory_bytes());
  return read;
}

Result<std::shared_ptr<const LeafDirectory>> EventFile::read_leaf_directory() const {
  auto read = std::make_shared<LeafDirectory>();
  TAILRACE_ASSIGN_OR_RETURN(
      read->raw, read_block(*file_, BlockKind::kLeafRows, parts_->foot.leaves_directory_at,
                            parts_->foot_at - parts_->foot.leaves_directory_at - sizeof(BlockHead),
                            kMostDirectoryBytes));
  const auto decoded = decode_leaf_rows(read->raw, parts_->foot.leaves, parts_->foot.leaves_at,
                                        parts_->foot.floors_at, read->rows);
  if (!decoded)
    return damaged_part(*file_, title_of(BlockKind::kLeafRows), parts_->foot.leaves_directory_at,
                        decoded.error());
  return read;
}

Result<std::shared_ptr<const LeafDirectory>> EventFile::leaf_directory() const {
  if (auto kept = cache_.find<LeafDirectory>(number_, parts_->foot.leaves_directory_at))
    return kept;
  TAILRACE_ASSIGN_OR_RETURN(auto read, read_leaf_directory());
  cache_.put(number_, parts_->foot.leaves_directory_at, read,
             sizeof *read + read->raw.capacity() + read->rows.capacity() * sizeof(LeafRow));
  return read;
}

Result<std::shared_ptr<const Leaf>> EventFile::read_leaf(const LeafRow& row) const {
  auto read = std::make_shared<Leaf>();
  TAILRACE_ASSIGN_OR_RETURN(
      read->raw, read_block(*file_, BlockKind::kLeaf, row.at, row.stored_bytes, row.raw_bytes));
  const std::string_view what = title_of(BlockKind::kLeaf);
  if (const auto decoded = decode_leaf(read->raw, read->items); !decoded)
    return damaged_part(*file_, what, row.at, decoded.error());
  if (read->raw.size() != row.raw_bytes || read->items.empty() ||
      read->items.front().key != row.first)
    return damaged_part(*file_, what, row.at, "it does not begin as the directory says");
  return read;
}

Result<std::shared_ptr<const Leaf>> EventFile::leaf(const LeafRow& row) const {
  if (auto kept = cache_.find<Leaf>(number_, row.at)) return kept;
  TAILRACE_ASSIGN_OR_RETURN(auto read, read_leaf(row));
  cache_.put(number_, row.at, read,
             sizeof *read + read->raw.capacity() + read->items.capacity() * sizeof(IndexItem));
  return read;
}

size_t EventFile::block_of(uint32_t entry) const {
  const auto behind = std::upper_bound(
      parts_->blocks.begin(), parts_->blocks.end(), entry,
      [](uint32_t number, const BlockPlace& each) { return number < each.first_entry; });
  return static_cast<size_t>(behind - parts_->blocks.begin()) - 1;
}

Result<uint32_t> EventFile::entry_at(Address position) const {
  const auto behind =
      std::upper_bound(parts_->blocks.begin(), parts_->blocks.end(), position,
                       [](Address at, const BlockPlace& each) { return at < each.first_position; });
  if (behind == parts_->blocks.begin()) return 0;
  const auto block = static_cast<size_t>(behind - parts_->blocks.begin()) - 1;
  if (parts_->blocks[block].first_position == position) return parts_->blocks[block].first_entry;
  TAILRACE_ASSIGN_OR_RETURN(const auto read, entries(block));
  const auto found =
      std::partition_point(read->entries.begin(), read->entries.end(),
                           [&](const EventEntry& each) { return each.position < position; });
  return parts_->blocks[block].first_entry + static_cast<uint32_t>(found - read->entries.begin());
}

}  // namespace tailrace::history
