#include "storage/atomic_file.h"

#include <string>

#include "core/crc32c.h"

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
                    path.string() + ": " + what + "; restore it from a copy or another node");
}

Path temporary_of(const Path& path) {
  Path temporary = path;
  temporary += ".tmp";
  return temporary;
}

}  // namespace

Result<> replace_atomic_file(FileSystem& file_system, const Path& path, AtomicFileFormat format,
                             ByteSpan content) {
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

  const Path temporary = temporary_of(path);
  auto file = file_system.open(temporary, {OpenMode::kCreateReadWrite, false});
  if (!file) return tl::unexpected(file.error());
  TAILRACE_RETURN_IF_ERROR((*file)->truncate(0));
  TAILRACE_RETURN_IF_ERROR((*file)->write_at(0, bytes));
  TAILRACE_RETURN_IF_ERROR((*file)->sync());
  file->reset();
  TAILRACE_RETURN_IF_ERROR(file_system.rename(temporary, path));
  return file_system.sync_directory(path.parent_path());
}

Result<AtomicFileContent> read_atomic_file(FileSystem& file_system, const Path& path,
                                           AtomicFileFormat format) {
  auto file = file_system.open(path, {OpenMode::kReadOnly, false});
  if (!file) return tl::unexpected(file.error());
  const auto size = (*file)->size();
  if (!size) return tl::unexpected(size.error());
  if (*size < sizeof(Header)) {
    return damaged(path, "only " + std::to_string(*size) + " bytes, too short for its header");
  }
  if (*size > sizeof(Header) + kMostContentBytes) {
    return damaged(path, std::to_string(*size) + " bytes are more than such a file can have");
  }
  std::vector<std::byte> bytes(*size);
  const auto got = (*file)->read_at(0, bytes);
  if (!got) return tl::unexpected(got.error());
  if (*got != bytes.size()) return damaged(path, "it ends at byte " + std::to_string(*got));

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

}  // namespace tailrace::storage
