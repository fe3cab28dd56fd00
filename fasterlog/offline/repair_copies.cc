#include "fasterlog/offline/repair_copies.h"

#include <algorithm>
#include <cstring>

#include "fasterlog/format/record.h"
#include "observability/logging.h"
#include "storage/aligned_buffer.h"

namespace tailrace::fasterlog {

namespace {

constexpr size_t kChunkBytes = 1u << 20;

// Reads a chunk; where the disk refuses it, block by block with zeros for what is lost.
Result<size_t> read_chunk(storage::File& file, uint64_t offset, MutableByteSpan into) {
  auto whole = file.read_at(offset, into);
  if (whole || whole.error().code != ErrorCode::kIo) return whole;
  for (size_t at = 0; at < into.size(); at += storage::kBlockBytes) {
    const MutableByteSpan block =
        into.subspan(at, std::min(storage::kBlockBytes, into.size() - at));
    if (auto read = file.read_at(offset + at, block); !read) {
      observability::log_warning("{}: byte {}: not in the copy, the disk cannot read it: {}",
                                 file.path().string(), offset + at, read.error().message);
      std::fill(block.begin(), block.end(), std::byte{0});
    }
  }
  return into.size();
}

Result<> copy_file(storage::FileSystem& file_system, const storage::Path& from,
                   const storage::Path& to) {
  TAILRACE_ASSIGN_OR_RETURN(auto source,
                            file_system.open(from, {storage::OpenMode::kReadOnly, false}));
  TAILRACE_ASSIGN_OR_RETURN(auto target,
                            file_system.open(to, {storage::OpenMode::kCreateReadWrite, false}));
  TAILRACE_ASSIGN_OR_RETURN(auto buffer, storage::AlignedBuffer::allocate(kChunkBytes));
  TAILRACE_ASSIGN_OR_RETURN(const auto size, source->size());
  // A segment is allocated whole and mostly zeros at the log's end: those stay a hole.
  TAILRACE_RETURN_IF_ERROR(target->truncate(size));
  for (uint64_t at = 0; at < size; at += kChunkBytes) {
    const MutableByteSpan chunk = buffer.span().first(std::min<uint64_t>(kChunkBytes, size - at));
    TAILRACE_ASSIGN_OR_RETURN(auto got, read_chunk(*source, at, chunk));
    if (got != chunk.size())
      return make_error(ErrorCode::kIo, from.string() + ": it became shorter while it was copied");
    if (all_zero(chunk)) continue;
    TAILRACE_RETURN_IF_ERROR(target->write_at(at, chunk));
  }
  return target->sync();
}

}  // namespace

Result<storage::Path> copy_for_repair(storage::FileSystem& file_system,
                                      const storage::Path& directory,
                                      const std::vector<std::string>& names,
                                      const std::string& report) {
  // "log/" and "log" are the same directory, and the copies stand beside it.
  const storage::Path beside = directory.has_filename() ? directory : directory.parent_path();
  storage::Path copies;
  for (int number = 1;; ++number) {
    copies = beside;
    copies += ".repair-" + std::to_string(number);
    TAILRACE_ASSIGN_OR_RETURN(auto taken, file_system.exists(copies));
    if (!taken) break;
  }
  TAILRACE_RETURN_IF_ERROR(file_system.make_directory(copies));
  for (const std::string& name : names)
    TAILRACE_RETURN_IF_ERROR(copy_file(file_system, directory / name, copies / name));
  TAILRACE_ASSIGN_OR_RETURN(
      auto file,
      file_system.open(copies / "report.json", {storage::OpenMode::kCreateReadWrite, false}));
  TAILRACE_RETURN_IF_ERROR(file->write_at(0, as_bytes(report)));
  TAILRACE_RETURN_IF_ERROR(file->sync());
  TAILRACE_RETURN_IF_ERROR(file_system.sync_directory(copies));
  return copies;
}

}  // namespace tailrace::fasterlog
