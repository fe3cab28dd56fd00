#pragma once
// The events of one file that lie below the floors of their streams: how many they are, and the
// file without them. Internal.

#include <stop_token>

#include "core/result.h"
#include "history/event_file.h"
#include "history/scavenge/floor_table.h"
#include "history/types/options.h"
#include "storage/file_system.h"

namespace tailrace::history {

/// Looks at the index alone. Errors as reading the file.
Result<uint32_t> count_dead(const std::shared_ptr<const EventFile>& file, const FloorTable& floors);

/// Writes a file of the same range beside it: without the `dead` events, of which count_dead() has
/// told, with its floors, and with a revision that is greater by `dead`. So its content rests on
/// the content before and the floors alone. Durable when it returns; no catalogue knows it yet.
/// kCancelled; kCorruption, naming the file, when its index and its events contradict each other;
/// kResourceExhausted when the disk is full.
Result<EventFileInfo> write_without_dead(storage::FileSystem& file_system,
                                         const storage::Path& directory,
                                         const std::shared_ptr<const EventFile>& file,
                                         const FloorTable& floors, uint32_t dead,
                                         EventFileOptions options, const std::stop_token& stop);

}  // namespace tailrace::history
