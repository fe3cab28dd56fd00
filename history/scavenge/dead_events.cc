#include "history/scavenge/dead_events.h"

#include <fmt/format.h>

#include "history/event_cursor.h"
#include "history/event_file_writer.h"
#include "history/floor_cursor.h"
#include "history/posting_walk.h"

namespace tailrace::history {

Result<uint32_t> count_dead(const std::shared_ptr<const EventFile>& file,
                            const FloorTable& floors) {
  uint32_t dead = 0;
  StreamWalk streams(*file);
  TAILRACE_RETURN_IF_ERROR(streams.seek(floors.first()));
  for (;;) {
    TAILRACE_ASSIGN_OR_RETURN(const bool any, streams.next());
    if (!any || (floors.end() && streams.name() >= *floors.end())) return dead;
    const uint64_t floor = floors.floor_of(streams.name());
    if (floor == 0) continue;
    TAILRACE_ASSIGN_OR_RETURN(const uint32_t below, streams.count_below(floor));
    dead += below;
  }
}

namespace {

Result<uint32_t> copy_alive(const EventFile& file, const FloorTable& floors,
                            EventFileWriter& writer, const std::stop_token& stop) {
  uint32_t left_out = 0;
  EventCursor cursor = file.events(Address{}, Order::kForwards);
  for (;;) {
    TAILRACE_ASSIGN_OR_RETURN(const EventEntry* const event, cursor.next());
    if (event == nullptr) return left_out;
    if (event->version < floors.floor_of(event->stream)) {
      ++left_out;
      continue;
    }
    TAILRACE_RETURN_IF_ERROR(writer.add(*event));
    if (stop.stop_requested()) return make_error(ErrorCode::kCancelled, "the scavenger stops");
  }
}

Result<> copy_floors(const EventFile& file, EventFileWriter& writer) {
  FloorCursor cursor = file.floors();
  for (;;) {
    TAILRACE_ASSIGN_OR_RETURN(const auto floor, cursor.next());
    if (!floor) return {};
    TAILRACE_RETURN_IF_ERROR(writer.add_floor(*floor));
  }
}

}  // namespace

Result<EventFileInfo> write_without_dead(storage::FileSystem& file_system,
                                         const storage::Path& directory,
                                         const std::shared_ptr<const EventFile>& file,
                                         const FloorTable& floors, uint32_t dead,
                                         EventFileOptions options, const std::stop_token& stop) {
  const EventFileSummary& summary = file->summary();
  const AddressRange range = summary.info.range;
  options.revision = summary.info.revision + dead;
  options.cluster = summary.cluster;
  TAILRACE_ASSIGN_OR_RETURN(const auto writer,
                            EventFileWriter::create(file_system, directory, range.first, options));
  TAILRACE_ASSIGN_OR_RETURN(const uint32_t left_out, copy_alive(*file, floors, *writer, stop));
  if (left_out != dead)
    return make_error(ErrorCode::kCorruption,
                      fmt::format("{}: its index has {} events that are unreadable, and there are "
                                  "{}; drop the file, and fetch it again from another member",
                                  file->path().string(), dead, left_out));
  TAILRACE_RETURN_IF_ERROR(copy_floors(*file, *writer));
  return writer->finish(range.end, summary.epoch);
}

}  // namespace tailrace::history
