#include "storage/atomic_file.h"

#include <memory>
#include <string>
#include <utility>

#include "storage/crc32c.h"

namespace tailrace::storage {

namespace {

constexpr uint32_t kMagic = four_letters("TRAF");
// A file of this kind is small; a size beyond this is a damaged or foreign file.
constexpr uint64_t kMostContentBytes = uint64_t{64} << 20;

struct Header {
  uint32_t magic;
  uint32_t crc;
  uint32_t kind;
  uint32_t version;
  uint64_t content_bytes;
  uint64_t reserved;
};
static_assert(sizeof(Header) == 32 && std::is_trivially_copyable_v<Header>);

constexpr size_t kCheckedFrom = offsetof(Header, kind);

uint32_t checksum(const std::byte* file, size_t content_bytes) {
  return crc32c({file + kCheckedFrom, sizeof(Header) - kCheckedFrom + content_bytes});
}

// What becomes of the file is its owner's to say.
tl::unexpected<Error> damaged(const Path& path, const std::string& what) {
  return make_error(ErrorCode::kCorruption,
                    path.string() + ": " + what +
                        "; where other nodes have the data, move the data directory away and start "
                        "the node; else restore the file from a copy");
}

Path temporary_of(const Path& path) {
  Path temporary = path;
  temporary += ".tmp";
  return temporary;
}

/// Header and content, as they are in the file.
Result<std::vector<std::byte>> encode(const Path& path, AtomicFileFormat format, ByteSpan content) {
  if (content.size() > kMostContentBytes) {
    return make_error(ErrorCode::kInvalidArgument,
                      path.string() + ": " + std::to_string(content.size()) +
                          " bytes are more than such a file can have (" +
                          std::to_string(kMostContentBytes) + "); nothing was changed");
  }
  std::vector<std::byte> bytes(sizeof(Header) + content.size());
  if (!content.empty()) std::memcpy(bytes.data() + sizeof(Header), content.data(), content.size());
  Header header{kMagic, 0, format.kind, format.version, content.size(), 0};
  store(bytes.data(), header);
  header.crc = checksum(bytes.data(), content.size());
  store(bytes.data(), header);
  return bytes;
}

/// After a failure nobody knows which file has the name on the device, also where the reason is a
/// full disk.
Result<> sync_names(FileSystem& file_system, const Path& path) {
  Result<> synced = file_system.sync_directory(path.parent_path());
  if (!synced && synced.error().code == ErrorCode::kResourceExhausted)
    synced = make_error(ErrorCode::kIo, synced.error().message);
  return synced;
}

Result<> replace_by_new_file(FileSystem& file_system, const Path& path, ByteSpan bytes) {
  const Path temporary = temporary_of(path);
  TAILRACE_ASSIGN_OR_RETURN(auto file,
                            file_system.open(temporary, {OpenMode::kCreateReadWrite, false}));
  TAILRACE_RETURN_IF_ERROR(file->truncate(0));
  TAILRACE_RETURN_IF_ERROR(file->write_at(0, bytes));
  TAILRACE_RETURN_IF_ERROR(file->sync());
  file.reset();
  TAILRACE_RETURN_IF_ERROR(file_system.rename(temporary, path));
  return sync_names(file_system, path);
}

/// As sync_names. A reserve whose blocks may be those of `path` on the device is given up: a later
/// sync that succeeds would not tell.
Result<> sync_reserve(FileSystem& file_system, const Path& path, const Path& reserve) {
  Result<> synced = sync_names(file_system, path);
  if (!synced) (void)file_system.remove(reserve);
  return synced;
}

/// Steps 1 to 5 of the header, but for the reserve's new length.
Result<> replace_by_reserve(FileSystem& file_system, const Path& path, const Path& reserve,
                            std::unique_ptr<File> file, ByteSpan bytes) {
  std::byte mark[sizeof(uint32_t)] = {};
  TAILRACE_RETURN_IF_ERROR(file->read_at(0, mark));
  if (load<uint32_t>(mark) != 0) TAILRACE_RETURN_IF_ERROR(sync_reserve(file_system, path, reserve));

  TAILRACE_RETURN_IF_ERROR(file->write_at(0, bytes));
  TAILRACE_ASSIGN_OR_RETURN(const auto size, file->size());
  if (size > bytes.size()) TAILRACE_RETURN_IF_ERROR(file->truncate(bytes.size()));
  TAILRACE_RETURN_IF_ERROR(file->sync());
  file.reset();

  Result<> exchanged = file_system.exchange(reserve, path);
  const bool both = exchanged.has_value();
  if (!both && (exchanged.error().code == ErrorCode::kNotFound ||
                exchanged.error().code == ErrorCode::kUnsupported))
    exchanged = file_system.rename(reserve, path);
  TAILRACE_RETURN_IF_ERROR(exchanged);
  TAILRACE_RETURN_IF_ERROR(sync_reserve(file_system, path, reserve));
  if (!both) return {};
  TAILRACE_ASSIGN_OR_RETURN(auto old, file_system.open(reserve, {OpenMode::kReadWrite, false}));
  store(mark, uint32_t{0});
  Result<> marked = old->write_at(0, mark);
  if (!marked && marked.error().code == ErrorCode::kResourceExhausted) return {};
  return marked;
}

}  // namespace

Result<> replace_atomic_file(FileSystem& file_system, const Path& path, AtomicFileFormat format,
                             ByteSpan content) {
  TAILRACE_ASSIGN_OR_RETURN(const auto bytes, encode(path, format, content));
  return replace_by_new_file(file_system, path, bytes);
}

Path reserve_of(const Path& path) {
  Path reserve = path;
  reserve += ".reserve";
  return reserve;
}

Result<bool> reserve_atomic_file(FileSystem& file_system, const Path& path, size_t content_bytes) {
  const uint64_t wanted = align_up(sizeof(Header) + content_bytes, kBlockBytes) + kBlockBytes;
  auto file = file_system.open(reserve_of(path), {OpenMode::kCreateReadWrite, false});
  if (!file && file.error().code == ErrorCode::kResourceExhausted) return false;
  if (!file) return tl::unexpected(std::move(file).error());
  TAILRACE_ASSIGN_OR_RETURN(const auto size, (*file)->size());
  if (size >= wanted) return true;
  auto allocated = (*file)->allocate(wanted);
  if (!allocated && allocated.error().code == ErrorCode::kResourceExhausted) return false;
  if (!allocated) return tl::unexpected(std::move(allocated).error());
  return true;
}

Result<> replace_reserved_file(FileSystem& file_system, const Path& path, AtomicFileFormat format,
                               ByteSpan content) {
  TAILRACE_ASSIGN_OR_RETURN(const auto bytes, encode(path, format, content));
  const Path reserve = reserve_of(path);
  auto file = file_system.open(reserve, {OpenMode::kReadWrite, false});
  if (!file && file.error().code != ErrorCode::kNotFound)
    return tl::unexpected(std::move(file).error());
  Result<> replaced = file ? replace_by_reserve(file_system, path, reserve, std::move(*file), bytes)
                           : replace_by_new_file(file_system, path, bytes);
  if (!replaced && replaced.error().code == ErrorCode::kResourceExhausted)
    return make_error(ErrorCode::kResourceExhausted,
                      replaced.error().message + "; there was no room yet to reserve for " +
                          path.string() + ", and nothing was changed: free disk space");
  if (!replaced) return replaced;
  TAILRACE_RETURN_IF_ERROR(reserve_atomic_file(file_system, path, content.size()));
  return {};
}

Result<> remove_reserved_file(FileSystem& file_system, const Path& path) {
  // The file first: a reserve means nothing.
  for (const Path& each : {path, reserve_of(path)}) {
    auto removed = file_system.remove(each);
    if (!removed && removed.error().code != ErrorCode::kNotFound) return removed;
    TAILRACE_RETURN_IF_ERROR(file_system.sync_directory(path.parent_path()));
  }
  return {};
}

namespace {

Result<AtomicFileContent> read_once(FileSystem& file_system, const Path& path,
                                    AtomicFileFormat format) {
  TAILRACE_ASSIGN_OR_RETURN(auto file, file_system.open(path, {OpenMode::kReadOnly, false}));
  TAILRACE_ASSIGN_OR_RETURN(const auto size, file->size());
  if (size < sizeof(Header)) {
    return damaged(path, "only " + std::to_string(size) + " bytes, too short for its header");
  }
  if (size > sizeof(Header) + kMostContentBytes) {
    return damaged(path, std::to_string(size) + " bytes are more than such a file can have");
  }
  std::vector<std::byte> bytes(size);
  TAILRACE_ASSIGN_OR_RETURN(const auto got, file->read_at(0, bytes));
  if (got != bytes.size()) return damaged(path, "it ends at byte " + std::to_string(got));

  const auto header = load<Header>(bytes.data());
  if (header.magic != kMagic) return damaged(path, "no tailrace file: wrong magic at byte 0");
  if (header.content_bytes != bytes.size() - sizeof(Header)) {
    return damaged(path, "its header says " + std::to_string(header.content_bytes) +
                             " bytes of content at byte 16, there are " +
                             std::to_string(bytes.size() - sizeof(Header)));
  }
  if (header.crc != checksum(bytes.data(), header.content_bytes)) {
    return damaged(path, "its checksum at byte 4 does not match its content");
  }
  if (header.kind != format.kind) return damaged(path, "it is a file of another kind (byte 8)");
  if (header.version > format.version) {
    return make_error(ErrorCode::kUnsupported,
                      path.string() + ": format version " + std::to_string(header.version) +
                          " is newer than " + std::to_string(format.version) +
                          ", the newest that this program knows; nothing was changed: use the "
                          "program that wrote it, or a newer one");
  }
  AtomicFileContent content;
  content.version = header.version;
  content.bytes.assign(bytes.begin() + sizeof(Header), bytes.end());
  return content;
}

}  // namespace

/// Another process may read a file that is in use: what it has opened becomes the reserve when the
/// file is replaced, and is overwritten when it is replaced again. Damage stays.
Result<AtomicFileContent> read_atomic_file(FileSystem& file_system, const Path& path,
                                           AtomicFileFormat format) {
  constexpr int kLooks = 5;
  for (int look = 1;; ++look) {
    auto content = read_once(file_system, path, format);
    if (content || content.error().code != ErrorCode::kCorruption || look == kLooks) return content;
  }
}

}  // namespace tailrace::storage
