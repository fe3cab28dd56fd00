// Whether an event file is what it says, byte for byte.

#include <algorithm>

#include "history/event_file.h"
#include "history/floor_cursor.h"
#include "history/format/content_hash.h"
#include "history/format/entries.h"
#include "history/format/index.h"
#include "history/format/parts.h"

namespace tailrace::history {

class FileCheck {
 public:
  explicit FileCheck(const EventFile& file) : file_(file), foot_(file.parts_->foot) {}

  Result<> run() {
    TAILRACE_RETURN_IF_ERROR(check_parts());
    TAILRACE_RETURN_IF_ERROR(check_events());
    TAILRACE_RETURN_IF_ERROR(check_floors());
    TAILRACE_RETURN_IF_ERROR(check_digest());
    return check_index();
  }

 private:
  tl::unexpected<Error> damaged(std::string_view what, uint64_t at, std::string_view why) const {
    return damaged_part(*file_.file_, what, at, why);
  }

  /// What was read when the file was opened may have been damaged since.
  Result<> check_parts() {
    TAILRACE_ASSIGN_OR_RETURN(const FileParts now, read_parts(*file_.file_));
    if (now.foot.crc == foot_.crc && now.foot_at == file_.parts_->foot_at) return {};
    return damaged("the foot", now.foot_at, "it is another one than when the file was opened");
  }

  Result<> check_events() {
    uint64_t least = ~uint64_t{0}, greatest = 0, last_position = 0;
    for (size_t block = 0; block < file_.parts_->blocks.size(); ++block) {
      TAILRACE_ASSIGN_OR_RETURN(const auto read, file_.read_entries(block));
      hash_.add(read->raw);
      for (const EventEntry& entry : read->entries) {
        TAILRACE_RETURN_IF_ERROR(take(entry, block));
        least = std::min(least, entry.time_ns);
        greatest = std::max(greatest, entry.time_ns);
      }
      last_position = read->entries.back().position.value;
    }
    if (file_.summary().events > 0 &&
        (last_position != foot_.last_position || least != foot_.least_time_ns ||
         greatest != foot_.greatest_time_ns))
      return damaged("the foot", file_.parts_->foot_at, "it tells of other events");
    return {};
  }

  Result<> check_floors() {
    FloorCursor cursor = file_.floors();
    for (;;) {
      TAILRACE_ASSIGN_OR_RETURN(const bool any, cursor.load_block());
      if (!any) return {};
      hash_.add(cursor.raw_);
    }
  }

  Result<> check_digest() {
    const EventFileSummary& summary = file_.summary();
    const ContentHash::Rest rest{summary.info.range, summary.epoch, summary.info.revision,
                                 summary.events, summary.floors};
    if (hash_.digest(rest) == summary.info.digest) return {};
    return damaged("the foot", file_.parts_->foot_at, "its digest is not that of the content");
  }

  Result<> take(const EventEntry& entry, size_t block) {
    const BlockPlace& place = file_.parts_->blocks[block];
    const Result<> fits = entry.record_address.value < foot_.from
                              ? make_error(ErrorCode::kCorruption, "a record before the range")
                              : index_.add(entry);
    if (!fits) return damaged(title_of(BlockKind::kEntries), place.at, fits.error().message);
    // A writer ends its file behind the record with which it is full.
    if (index_.bytes() > 2 * kMostIndexBytes)
      return damaged(title_of(BlockKind::kEntries), place.at, "more names than a file may have");
    return {};
  }

  /// The index that the events give is, byte for byte, the one that is there.
  Result<> check_index() {
    TAILRACE_ASSIGN_OR_RETURN(const auto directory, file_.read_leaf_directory());
    size_t next = 0;
    const auto compare = [&](const IndexKey& first, ByteSpan leaf) -> Result<> {
      if (next == directory->rows.size())
        return damaged("the index", foot_.leaves_at, "a leaf is missing");
      const LeafRow& row = directory->rows[next++];
      TAILRACE_ASSIGN_OR_RETURN(const auto read, file_.read_leaf(row));
      if (row.first == first && std::ranges::equal(read->raw, leaf)) return {};
      return damaged(title_of(BlockKind::kLeaf), row.at, "it is not that of the events");
    };
    TAILRACE_RETURN_IF_ERROR(index_.write(compare));
    if (next == directory->rows.size()) return {};
    return damaged("the index", foot_.leaves_at, "it has more leaves than the events give");
  }

  const EventFile& file_;
  const FileFoot& foot_;
  ContentHash hash_;
  IndexBuilder index_;
};

Result<> EventFile::verify() const {
  return FileCheck(*this).run();
}

}  // namespace tailrace::history
