#include "storage/posix_file.h"

#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/patience.h"

namespace tailrace::storage {

namespace {
tl::unexpected<Error> failed(std::string_view call, const Path& path) {
  return tl::unexpected(io_error(call, path.native(), errno));
}
}  // namespace

PosixFile::~PosixFile() {
  ::close(descriptor_);
}

Result<uint64_t> PosixFile::size() const {
  struct stat info {};
  if (::fstat(descriptor_, &info) != 0) return failed("fstat", path_);
  return static_cast<uint64_t>(info.st_size);
}

Result<size_t> PosixFile::read_at(uint64_t offset, MutableByteSpan into) {
  size_t done = 0;
  while (done < into.size()) {
    const ssize_t got = with_patience([&] {
      return ::pread(descriptor_, into.data() + done, into.size() - done,
                     static_cast<off_t>(offset + done));
    });
    if (got < 0) return failed("read", path_);
    if (got == 0) break;
    done += static_cast<size_t>(got);
    // O_DIRECT stops at the file's end with a length that is no whole block; going on would be
    // EINVAL.
    if (direct_ && done % 512 != 0) break;
  }
  return done;
}

Result<> PosixFile::write_at(uint64_t offset, ByteSpan bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t put = with_patience([&] {
      return ::pwrite(descriptor_, bytes.data() + done, bytes.size() - done,
                      static_cast<off_t>(offset + done));
    });
    if (put < 0) return failed("write", path_);
    if (put == 0) return tl::unexpected(io_error("write", path_.native(), EIO));
    done += static_cast<size_t>(put);
  }
  return {};
}

Result<> PosixFile::sync() {
  if (::fdatasync(descriptor_) != 0) return failed("fdatasync", path_);
  return {};
}

Result<> PosixFile::allocate(uint64_t bytes) {
  int result = 0;
  do {
    result = ::posix_fallocate(descriptor_, 0, static_cast<off_t>(bytes));
  } while (result == EINTR);
  if (result != 0) return tl::unexpected(io_error("fallocate", path_.native(), result));
  return {};
}

Result<> PosixFile::truncate(uint64_t bytes) {
  if (::ftruncate(descriptor_, static_cast<off_t>(bytes)) != 0) return failed("ftruncate", path_);
  return {};
}

}  // namespace tailrace::storage
