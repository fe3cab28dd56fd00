#include <algorithm>
#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "storage/file_system.h"
#include "storage/io_choice.h"
#include "storage/io_uring_queue.h"
#include "storage/patience.h"
#include "storage/posix_file.h"
#include "storage/posix_queue.h"

namespace tailrace::storage {

namespace {

tl::unexpected<Error> failed(std::string_view call, const Path& path, int error_number) {
  return tl::unexpected(io_error(call, path.native(), error_number));
}

/// Holds LOCK by flock: the kernel lets go when the process ends, however it ends.
/// A descriptor, or -1 and errno.
int open_patiently(const Path& path, int flags) {
  return with_patience([&] { return ::open(path.c_str(), flags | O_CLOEXEC, 0644); });
}

/// Opened with O_NONBLOCK: refuses a pipe, and takes the flag away, which io_uring heeds for files,
/// too.
Result<> check_read(const Path& path, int descriptor) {
  struct stat info {};
  if (::fstat(descriptor, &info) != 0) return failed("fstat", path, errno);
  if (S_ISFIFO(info.st_mode))
    return make_error(ErrorCode::kIo, path.string() + " is a pipe and not a file; remove it");
  const int flags = ::fcntl(descriptor, F_GETFL);
  if (flags < 0 || ::fcntl(descriptor, F_SETFL, flags & ~O_NONBLOCK) != 0)
    return failed("fcntl", path, errno);
  return {};
}

class PosixDirectoryLock final : public DirectoryLock {
 public:
  explicit PosixDirectoryLock(int descriptor) : descriptor_(descriptor) {}
  ~PosixDirectoryLock() override { ::close(descriptor_); }
  PosixDirectoryLock(const PosixDirectoryLock&) = delete;
  PosixDirectoryLock& operator=(const PosixDirectoryLock&) = delete;

 private:
  const int descriptor_;
};

/// The holder writes its process id into LOCK.
Error in_use(const Path& directory, int descriptor) {
  char holder[32] = {};
  const ssize_t length = ::pread(descriptor, holder, sizeof holder - 1, 0);
  return Error{ErrorCode::kInUse,
               directory.string() + " is in use by process " +
                   (length > 0 ? std::string(holder) : std::string("(unknown)")) +
                   "; stop that process or choose another directory"};
}

class PosixFileSystem final : public FileSystem {
 public:
  explicit PosixFileSystem(IoChoice choice) : choice_(choice) {}

  Result<std::unique_ptr<File>> open(const Path& path, const OpenOptions& options) override {
    int flags = options.mode == OpenMode::kReadOnly ? O_RDONLY : O_RDWR;
    if (options.mode == OpenMode::kCreateReadWrite) flags |= O_CREAT;
    // A pipe that nobody writes to would be waited for.
    if (options.mode == OpenMode::kReadOnly) flags |= O_NONBLOCK;
    bool direct = options.direct;
    int descriptor = open_patiently(path, flags | (direct ? O_DIRECT : 0));
    if (descriptor < 0 && direct && errno == EINVAL) {
      direct = false;
      descriptor = open_patiently(path, flags);
    }
    if (descriptor < 0) return failed("open", path, errno);
    auto file = std::make_unique<PosixFile>(path, descriptor, direct);
    if (options.mode == OpenMode::kReadOnly) TAILRACE_RETURN_IF_ERROR(check_read(path, descriptor));
    return file;
  }

  Result<std::unique_ptr<IoQueue>> make_queue(size_t depth) override {
    if (choice_ == IoChoice::kPosix) return make_posix_queue();
    auto queue = make_io_uring_queue(depth);
    const bool there_is_none = !queue && queue.error().code == ErrorCode::kUnsupported;
    if (there_is_none && choice_ == IoChoice::kAuto) return make_posix_queue();
    return queue;
  }

  Result<bool> exists(const Path& path) override {
    struct stat info {};
    if (::stat(path.c_str(), &info) == 0) return true;
    if (errno == ENOENT || errno == ENOTDIR) return false;
    return failed("stat", path, errno);
  }

  Result<std::vector<std::string>> list(const Path& directory) override {
    std::vector<std::string> names;
    const int result = with_patience([&] {
      std::error_code error;
      names.clear();
      std::filesystem::directory_iterator entries(directory, error);
      while (!error && entries != std::filesystem::directory_iterator()) {
        names.push_back(entries->path().filename().string());
        entries.increment(error);
      }
      errno = error.value();
      return error ? -1 : 0;
    });
    if (result < 0) return failed("list", directory, errno);
    std::sort(names.begin(), names.end());
    return names;
  }

  Result<> make_directory(const Path& directory) override {
    if (directory.empty()) return {};
    if (::mkdir(directory.c_str(), 0755) == 0) return sync_directory(parent_of(directory));
    if (errno == EEXIST) {
      struct stat info {};
      if (::stat(directory.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) return {};
      return failed("mkdir", directory, ENOTDIR);
    }
    if (errno != ENOENT) return failed("mkdir", directory, errno);
    TAILRACE_RETURN_IF_ERROR(make_directory(parent_of(directory)));
    if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) {
      return failed("mkdir", directory, errno);
    }
    return sync_directory(parent_of(directory));
  }

  Result<> rename(const Path& from, const Path& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) return failed("rename", from, errno);
    return {};
  }

  Result<> exchange(const Path& one, const Path& other) override {
    if (::renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE) == 0)
      return {};
    if (errno == EINVAL || errno == ENOSYS)
      return make_error(ErrorCode::kUnsupported,
                        one.string() + ": its file system cannot exchange two files");
    return failed("exchange", one, errno);
  }

  Result<> remove(const Path& path) override {
    if (::unlink(path.c_str()) != 0) return failed("unlink", path, errno);
    return {};
  }

  Result<> remove_directory(const Path& directory) override {
    const int result = with_patience([&] {
      std::error_code error;
      std::filesystem::remove_all(directory, error);
      errno = error.value();
      return error ? -1 : 0;
    });
    if (result < 0) return failed("remove", directory, errno);
    return {};
  }

  Result<> sync_directory(const Path& directory) override {
    const Path target = directory.empty() ? Path(".") : directory;
    const int descriptor = open_patiently(target, O_RDONLY | O_DIRECTORY);
    if (descriptor < 0) return failed("open", target, errno);
    const int result = ::fsync(descriptor);
    const int error_number = errno;
    ::close(descriptor);
    if (result != 0) return failed("fsync", target, error_number);
    return {};
  }

  Result<std::unique_ptr<DirectoryLock>> lock(const Path& directory) override {
    const Path path = directory / "LOCK";
    const int descriptor = open_patiently(path, O_RDWR | O_CREAT);
    if (descriptor < 0) return failed("open", path, errno);
    auto held = std::make_unique<PosixDirectoryLock>(descriptor);
    if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return failed("flock", path, errno);
      return tl::unexpected(in_use(directory, descriptor));
    }
    // Only for the message above; the lock itself is the kernel's. On a full disk the message of a
    // second process is poorer, and this one starts all the same.
    const std::string self = std::to_string(::getpid());
    if (::ftruncate(descriptor, 0) == 0) {
      const ssize_t put = ::pwrite(descriptor, self.data(), self.size(), 0);
      (void)put;
    }
    return held;
  }

  Result<> check_unlocked(const Path& directory) override {
    const Path path = directory / "LOCK";
    const int descriptor = open_patiently(path, O_RDONLY);
    if (descriptor < 0 && errno == ENOENT) return {};
    if (descriptor < 0) return failed("open", path, errno);
    const PosixDirectoryLock closes(descriptor);
    // Shared, so that several who ask do not refuse each other.
    if (::flock(descriptor, LOCK_SH | LOCK_NB) == 0) return {};
    if (errno != EWOULDBLOCK) return failed("flock", path, errno);
    return tl::unexpected(in_use(directory, descriptor));
  }

  Result<SpaceInfo> space(const Path& directory) override {
    struct statvfs info {};
    if (::statvfs(directory.c_str(), &info) != 0) return failed("statvfs", directory, errno);
    return SpaceInfo{info.f_blocks * info.f_frsize, info.f_bavail * info.f_frsize};
  }

 private:
  static Path parent_of(const Path& path) {
    // "a/b/" has the parent "a/b" by the library's reckoning; here it is "a".
    const Path trimmed = path.has_filename() ? path : path.parent_path();
    const Path parent = trimmed.parent_path();
    return parent.empty() ? Path(".") : parent;
  }

  const IoChoice choice_;
};

}  // namespace

FileSystem& posix_file_system() {
  return posix_file_system(IoChoice::kAuto);
}

FileSystem& posix_file_system(IoChoice choice) {
  static PosixFileSystem automatic(IoChoice::kAuto), io_uring(IoChoice::kIoUring),
      posix(IoChoice::kPosix);
  switch (choice) {
    case IoChoice::kAuto:
      return automatic;
    case IoChoice::kIoUring:
      return io_uring;
    case IoChoice::kPosix:
      return posix;
  }
  return automatic;
}

std::optional<std::string> io_uring_obstacle() {
  const auto queue = make_io_uring_queue(1);
  if (queue) return std::nullopt;
  return queue.error().message;
}

}  // namespace tailrace::storage
