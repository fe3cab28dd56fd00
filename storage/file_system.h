#pragma once
// All contact with the disk. Both engines and every small metadata file go through these three
// interfaces, so that a test can put a disk beneath them which loses, tears, flips and refuses.
// None is called once an operation: only once a flush, a page or a file.

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "core/result.h"

namespace tailrace::storage {

using Path = std::filesystem::path;

/// The unit that O_DIRECT wants offsets, lengths and memory to be a multiple of. 4096 suits every
/// device whose logical block is 512 or 4096.
inline constexpr size_t kBlockBytes = 4096;

enum class OpenMode {
  kReadOnly,
  kReadWrite,        // must exist
  kCreateReadWrite,  // created when absent, kept when present
};

struct OpenOptions {
  OpenMode mode = OpenMode::kReadOnly;
  /// O_DIRECT: offsets, lengths and buffers are multiples of kBlockBytes. Falls back silently to
  /// buffered I/O where the file system (tmpfs) has no O_DIRECT.
  bool direct = false;
};

/// An open file. The calls block; any thread may call, the callers keep overlapping ranges apart.
/// Every failure names the file. A failed write or sync is final for the caller: never retried.
class File {
 public:
  virtual ~File() = default;
  virtual const Path& path() const = 0;
  virtual Result<uint64_t> size() const = 0;
  /// Reads until `into` is full or the file ends; returns the bytes read.
  virtual Result<size_t> read_at(uint64_t offset, MutableByteSpan into) = 0;
  /// Writes all of `bytes`, or fails.
  virtual Result<> write_at(uint64_t offset, ByteSpan bytes) = 0;
  /// fdatasync: all completed writes of this file are on the device.
  virtual Result<> sync() = 0;
  /// Makes room for [0, bytes) on disk (fallocate), growing the file with zeros.
  virtual Result<> allocate(uint64_t bytes) = 0;
  virtual Result<> truncate(uint64_t bytes) = 0;
};

/// What an asynchronous request came to.
struct Completion {
  uint64_t token = 0;    // the caller's, as submitted
  Result<size_t> bytes;  // moved; a short write is an error, a short read is the file's end
};

/// Requests in flight to files of the same FileSystem; io_uring where the kernel has it. One thread
/// at a time owns a queue; only wake() may come from others. Buffers must live until completion.
/// Nothing orders requests but their completions.
class IoQueue {
 public:
  virtual ~IoQueue() = default;
  virtual void write(File& file, uint64_t offset, ByteSpan bytes, uint64_t token) = 0;
  /// A write and, when it is over, a sync of the file, as one request: one completion, and one
  /// change of threads in the kernel where the two have three.
  virtual void write_synced(File& file, uint64_t offset, ByteSpan bytes, uint64_t token) = 0;
  virtual void read(File& file, uint64_t offset, MutableByteSpan into, uint64_t token) = 0;
  virtual void sync(File& file, uint64_t token) = 0;
  /// Requests accepted whose completions were not handed out yet.
  virtual size_t in_flight() const = 0;
  /// Hands out completions: those that are there, else waits for one, a wake() or the timeout.
  /// Requests made since the last call are submitted first, in one system call.
  virtual Result<size_t> wait(std::vector<Completion>& completions,
                              std::chrono::nanoseconds timeout) = 0;
  /// Makes a wait() that runs now, or else the next one, return. Any thread.
  virtual void wake() = 0;
  /// Readable when wait() has something to hand out, for an event loop which then calls it with no
  /// timeout; below 0: there is none.
  virtual int descriptor() const { return -1; }
  /// The last wait() has left something to be submitted, for which the descriptor will not become
  /// readable: the next wait() submits it.
  virtual bool must_submit() const { return false; }
};

/// Held as long as the object lives; released by the kernel when the process dies.
class DirectoryLock {
 public:
  virtual ~DirectoryLock() = default;
};

struct SpaceInfo {
  uint64_t capacity_bytes = 0;
  uint64_t available_bytes = 0;  // to an ordinary user
};

/// Any thread may call.
class FileSystem {
 public:
  virtual ~FileSystem() = default;
  virtual Result<std::unique_ptr<File>> open(const Path& path, const OpenOptions& options) = 0;
  virtual Result<std::unique_ptr<IoQueue>> make_queue(size_t depth) = 0;
  virtual Result<bool> exists(const Path& path) = 0;
  /// Names (not paths) of the directory's entries, sorted; kNotFound when it is absent.
  virtual Result<std::vector<std::string>> list(const Path& directory) = 0;
  /// With all its parents; existing ones are fine. The new entries are made durable.
  virtual Result<> make_directory(const Path& directory) = 0;
  /// Atomic within one directory; durable only after sync_directory.
  virtual Result<> rename(const Path& from, const Path& to) = 0;
  /// The two files of one directory change names, in one step: neither name is ever absent. Needs
  /// no room. kNotFound when one of them is absent, kUnsupported where the file system cannot do
  /// it; durable only after sync_directory.
  virtual Result<> exchange(const Path& one, const Path& other) = 0;
  /// kNotFound when it is absent.
  virtual Result<> remove(const Path& path) = 0;
  virtual Result<> remove_directory(const Path& directory) = 0;  // with all it holds
  /// Creations, renames and removals in `directory` so far survive a crash.
  virtual Result<> sync_directory(const Path& directory) = 0;
  /// Takes `directory`/LOCK; kInUse naming the holder's process id when another one has it.
  virtual Result<std::unique_ptr<DirectoryLock>> lock(const Path& directory) = 0;
  /// kInUse as lock() would say now; takes nothing and changes nothing. A lock() of another process
  /// that comes in the same instant may be refused, so only tools ask.
  virtual Result<> check_unlocked(const Path& directory) = 0;
  virtual Result<SpaceInfo> space(const Path& directory) = 0;
};

/// The operating system's files. One object without state.
FileSystem& posix_file_system();

}  // namespace tailrace::storage
