#include "kv/log/segments.h"

namespace tailrace::kv {

storage::Path LogSegments::path_of(LogAddress address) const {
  return directory_ / segment_file_name(align_down(address, segment_bytes_));
}

std::string LogSegments::place_of(LogAddress address) const {
  return path_of(address).string() + ", offset " + std::to_string(offset_of(address));
}

Result<std::vector<LogAddress>> LogSegments::list() const {
  TAILRACE_ASSIGN_OR_RETURN(const auto names, file_system_.list(directory_));
  std::vector<LogAddress> result;
  for (const std::string& name : names) {
    const auto first = parse_segment_file_name(name);
    if (!first) continue;
    if (*first % segment_bytes_ != 0) {
      return make_error(ErrorCode::kFailedPrecondition,
                        (directory_ / name).string() + " begins at no multiple of the segment's " +
                            std::to_string(segment_bytes_) +
                            " bytes: open the log with the segment size it was made with");
    }
    result.push_back(*first);
  }
  return result;
}

Result<> LogSegments::clear() {
  TAILRACE_RETURN_IF_ERROR(file_system_.make_directory(directory_));
  // A log of another segment size may have been here: by name, not by list().
  TAILRACE_ASSIGN_OR_RETURN(const auto names, file_system_.list(directory_));
  bool removed = false;
  for (const std::string& name : names) {
    if (!parse_segment_file_name(name)) continue;
    TAILRACE_RETURN_IF_ERROR(file_system_.remove(directory_ / name));
    removed = true;
  }
  if (removed) TAILRACE_RETURN_IF_ERROR(file_system_.sync_directory(directory_));
  return {};
}

Result<> LogSegments::open_existing(LogAddress begin, bool writable) {
  TAILRACE_ASSIGN_OR_RETURN(const auto found, list());
  const MutexLock lock(mutex_);
  for (const LogAddress first : found) {
    TAILRACE_ASSIGN_OR_RETURN(
        segments_[first].file,
        file_system_.open(path_of(first), {.mode = writable ? storage::OpenMode::kReadWrite
                                                            : storage::OpenMode::kReadOnly,
                                           .direct = true}));
  }
  LogAddress lowest = align_down(begin, segment_bytes_);
  if (!segments_.empty()) lowest = std::min(lowest, segments_.begin()->first);
  begin_.store(lowest, std::memory_order_release);
  // The process before may have ended between making a file and syncing the directory.
  made_ = !segments_.empty();
  return {};
}

Result<> LogSegments::reserve(LogAddress from, LogAddress to) {
  const LogAddress first = align_down(from, segment_bytes_);
  FilePointer file = file_of(first);
  if (file == nullptr) {
    TAILRACE_ASSIGN_OR_RETURN(
        file, file_system_.open(path_of(first),
                                {.mode = storage::OpenMode::kCreateReadWrite, .direct = true}));
    const MutexLock lock(mutex_);
    segments_[first].file = file;
    made_ = true;
  }
  return file->allocate(to - first);
}

LogSegments::FilePointer LogSegments::file_of(LogAddress address) const {
  const MutexLock lock(mutex_);
  const auto found = segments_.find(align_down(address, segment_bytes_));
  return found == segments_.end() ? nullptr : found->second.file;
}

void LogSegments::note_written(LogAddress address) {
  const MutexLock lock(mutex_);
  segments_[align_down(address, segment_bytes_)].written = true;
}

Result<> LogSegments::sync() {
  const MutexLock one_at_a_time(sync_mutex_);
  std::vector<FilePointer> files;
  bool made = false;
  {
    const MutexLock lock(mutex_);
    for (auto& [first, segment] : segments_) {
      if (!segment.written) continue;
      segment.written = false;  // before the sync: what is written during it counts for the next
      files.push_back(segment.file);
    }
    std::swap(made, made_);
  }
  for (const FilePointer& file : files)
    TAILRACE_RETURN_IF_ERROR(file->sync());
  if (made) TAILRACE_RETURN_IF_ERROR(file_system_.sync_directory(directory_));
  return {};
}

Result<uint64_t> LogSegments::release(LogAddress address) {
  const LogAddress until = align_down(address, segment_bytes_);
  uint64_t bytes = 0;
  for (;;) {
    LogAddress first = 0;
    {
      const MutexLock lock(mutex_);
      if (segments_.empty() || segments_.begin()->first >= until) break;
      first = segments_.begin()->first;
      segments_.erase(segments_.begin());
    }
    TAILRACE_RETURN_IF_ERROR(file_system_.remove(path_of(first)));
    bytes += segment_bytes_;
  }
  if (begin() < until) begin_.store(until, std::memory_order_release);
  if (bytes > 0) TAILRACE_RETURN_IF_ERROR(file_system_.sync_directory(directory_));
  return bytes;
}

}  // namespace tailrace::kv
