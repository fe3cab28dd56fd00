// The fault disk's open files, queues and locks; and what writes and syncs do to a file's bytes.

#include <algorithm>
#include <cerrno>
#include <functional>

#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/support/fault_file_system.h"
#include "tests/support/fault_paths.h"

namespace tailrace::testing {

using storage::Completion;
using storage::Path;

namespace {
// A file has whole blocks.
uint64_t blocks_of(uint64_t bytes) {
  return align_up(bytes, storage::kBlockBytes);
}
}  // namespace

class FaultFile final : public storage::File {
 public:
  FaultFile(FaultFileSystem& disk, Path path, std::shared_ptr<FaultFileSystem::Inode> inode,
            bool writable, uint64_t generation)
      : disk_(disk),
        path_(std::move(path)),
        inode_(std::move(inode)),
        writable_(writable),
        generation_(generation) {}

  const Path& path() const override { return path_; }

  Result<uint64_t> size() const override {
    const MutexLock lock(disk_.mutex_);
    return inode_->written.size();
  }

  Result<size_t> read_at(uint64_t offset, MutableByteSpan into) override {
    const MutexLock lock(disk_.mutex_);
    if (dead()) return tl::unexpected(io_error("read", path_.native(), EIO));
    const auto fault = disk_.read_faults_.find(disk_.reads_++);
    const bool strikes = fault != disk_.read_faults_.end();
    if (strikes && fault->second != FaultKind::kShort)
      return tl::unexpected(io_error("read", path_.native(), EIO));
    if (offset >= inode_->written.size()) return size_t{0};
    size_t length = std::min<size_t>(into.size(), inode_->written.size() - offset);
    if (strikes) length /= 2;
    std::copy_n(inode_->written.begin() + static_cast<ptrdiff_t>(offset), length, into.begin());
    return length;
  }

  Result<> write_at(uint64_t offset, ByteSpan bytes) override {
    const MutexLock lock(disk_.mutex_);
    if (dead()) return tl::unexpected(io_error("write", path_.native(), EIO));
    if (!writable_) return tl::unexpected(io_error("write", path_.native(), EBADF));
    return disk_.write(*inode_, path_.native(), offset, bytes);
  }

  Result<> sync() override {
    const MutexLock lock(disk_.mutex_);
    if (dead()) return tl::unexpected(io_error("fdatasync", path_.native(), EIO));
    return disk_.sync(*inode_, path_.native());
  }

  Result<> allocate(uint64_t bytes) override { return resize("fallocate", bytes, true); }
  Result<> truncate(uint64_t bytes) override { return resize("ftruncate", bytes, false); }

 private:
  bool dead() const TAILRACE_REQUIRES(disk_.mutex_) {
    return generation_ != disk_.generation_ || disk_.power_is_cut_;
  }

  Result<> resize(std::string_view call, uint64_t bytes, bool only_grow) {
    const MutexLock lock(disk_.mutex_);
    if (dead()) return tl::unexpected(io_error(call, path_.native(), EIO));
    return disk_.resize(*inode_, path_.native(), call, bytes, only_grow);
  }

  FaultFileSystem& disk_;
  const Path path_;
  const std::shared_ptr<FaultFileSystem::Inode> inode_;
  const bool writable_;
  const uint64_t generation_;
};

/// Does what is in flight when wait() is called, in an order of chance: nothing orders requests.
class FaultQueue final : public storage::IoQueue {
 public:
  explicit FaultQueue(FaultFileSystem& disk)
      : disk_(disk), descriptor_(::eventfd(0, EFD_CLOEXEC)) {}
  ~FaultQueue() override { ::close(descriptor_); }

  void write(storage::File& file, uint64_t offset, ByteSpan bytes, uint64_t token) override {
    requests_.push_back({token, [&file, offset, bytes]() -> Result<size_t> {
                           TAILRACE_RETURN_IF_ERROR(file.write_at(offset, bytes));
                           return bytes.size();
                         }});
  }
  void write_synced(storage::File& file, uint64_t offset, ByteSpan bytes, uint64_t token) override {
    requests_.push_back({token, [&file, offset, bytes]() -> Result<size_t> {
                           TAILRACE_RETURN_IF_ERROR(file.write_at(offset, bytes));
                           TAILRACE_RETURN_IF_ERROR(file.sync());
                           return bytes.size();
                         }});
  }
  void read(storage::File& file, uint64_t offset, MutableByteSpan into, uint64_t token) override {
    requests_.push_back({token, [&file, offset, into] { return file.read_at(offset, into); }});
  }
  void sync(storage::File& file, uint64_t token) override {
    requests_.push_back({token, [&file]() -> Result<size_t> {
                           TAILRACE_RETURN_IF_ERROR(file.sync());
                           return size_t{0};
                         }});
  }

  size_t in_flight() const override { return requests_.size(); }

  Result<size_t> wait(std::vector<Completion>& completions,
                      std::chrono::nanoseconds timeout) override {
    if (requests_.empty()) {
      MutexLock lock(mutex_);
      signal_.wait_for(lock, timeout, [&]() TAILRACE_REQUIRES(mutex_) { return woken_; });
      woken_ = false;
      return size_t{0};
    }
    {
      const MutexLock lock(mutex_);
      woken_ = false;
    }
    for (size_t left = requests_.size(); left > 1; --left) {
      const MutexLock lock(disk_.mutex_);
      std::swap(requests_[left - 1], requests_[disk_.random_.below(left)]);
    }
    const size_t count = requests_.size();
    for (const Request& request : requests_) {
      completions.push_back(Completion{request.token, request.run()});
    }
    requests_.clear();
    return count;
  }

  void wake() override {
    {
      const MutexLock lock(mutex_);
      woken_ = true;
    }
    signal_.notify_one();
  }
  /// Never readable: wait() leaves nothing that would complete later.
  int descriptor() const override { return descriptor_; }

 private:
  struct Request {
    uint64_t token;
    std::function<Result<size_t>()> run;
  };
  FaultFileSystem& disk_;
  const int descriptor_;
  std::vector<Request> requests_;  // the owner's thread
  Mutex mutex_;
  Condition signal_;
  bool woken_ TAILRACE_GUARDED_BY(mutex_) = false;
};

class FaultLock final : public storage::DirectoryLock {
 public:
  FaultLock(FaultFileSystem& disk, std::string directory, uint64_t generation)
      : disk_(disk), directory_(std::move(directory)), generation_(generation) {}
  ~FaultLock() override {
    const MutexLock lock(disk_.mutex_);
    const auto held = disk_.locks_.find(directory_);
    if (held != disk_.locks_.end() && held->second == generation_) disk_.locks_.erase(held);
  }
  FaultLock(const FaultLock&) = delete;
  FaultLock& operator=(const FaultLock&) = delete;

 private:
  FaultFileSystem& disk_;
  const std::string directory_;
  const uint64_t generation_;
};

Result<> FaultFileSystem::write(Inode& inode, const std::string& path, uint64_t offset,
                                ByteSpan bytes) {
  const bool was_cut = power_is_cut_;
  const uint64_t end = offset + bytes.size();
  const uint64_t sectors = (end + kSectorBytes - 1) / kSectorBytes - offset / kSectorBytes;
  auto fault = next_fault(sectors);
  if (const auto named = take_named_fault("write", path); named && !fault) fault = Fault{*named, 0};
  if (was_cut || (fault && fault->kind == FaultKind::kNoSpace))
    return failure("write", path, fault->kind);
  if (end > inode.written.size()) {
    if (!has_room(inode, end)) return failure("write", path, FaultKind::kNoSpace);
    inode.written.resize(end);
  }
  const auto put = [&](uint64_t from, uint64_t to) {
    for (uint64_t place = from; place < to; ++place)
      inode.written[place] = bytes[place - offset];
  };
  // Most failed writes have done some of their sectors, no matter which.
  const auto does = [&](uint64_t sector) TAILRACE_REQUIRES(mutex_) {
    if (!fault) return true;
    if (fault->kind == FaultKind::kShort) return sector < sectors / 2;
    if (fault->kind == FaultKind::kTorn) return sector < fault->sectors;
    return random_.chance(1, 2);
  };
  for (uint64_t at = offset; at < end;) {
    const size_t sector = at / kSectorBytes;
    const uint64_t sector_end = std::min<uint64_t>(end, (sector + 1) * kSectorBytes);
    if (does(sector - offset / kSectorBytes)) {
      put(at, sector_end);
      inode.dirty_sectors.insert(sector);
    }
    at = sector_end;
  }
  if (fault) return failure("write", path, fault->kind);
  return {};
}

Result<> FaultFileSystem::resize(Inode& inode, const std::string& path, std::string_view call,
                                 uint64_t bytes, bool only_grow) {
  if (const auto fault = next_operation()) return failure(call, path, *fault);
  if (only_grow && bytes <= inode.written.size()) return {};
  if (!has_room(inode, bytes)) return failure(call, path, FaultKind::kNoSpace);
  // What was cut off and grown again is zero: dirty, so that a sync brings the zeros to the
  // platter.
  const uint64_t shorter = std::min<uint64_t>(bytes, inode.written.size());
  inode.written.resize(bytes);
  take_what_is_free();
  inode.dirty_sectors.erase(
      inode.dirty_sectors.lower_bound((bytes + kSectorBytes - 1) / kSectorBytes),
      inode.dirty_sectors.end());
  for (size_t sector = shorter / kSectorBytes; sector * kSectorBytes < bytes; ++sector) {
    inode.dirty_sectors.insert(sector);
  }
  return {};
}

Result<> FaultFileSystem::sync(Inode& inode, const std::string& path) {
  // A failed fsync drops what it could not write, as Linux does: the pages count as clean, and the
  // next fsync succeeds without them.
  const bool was_cut = power_is_cut_;
  auto fault = next_operation();
  if (const auto named = take_named_fault("fdatasync", path); named && !fault) fault = named;
  if (fault) {
    if (!was_cut && !power_is_cut_) inode.dirty_sectors.clear();
    return failure("fdatasync", path, *fault);
  }
  // Sector by sector: what an earlier failed sync dropped stays behind.
  inode.durable.resize(inode.written.size());
  for (const size_t sector : inode.dirty_sectors) {
    const size_t from = sector * kSectorBytes;
    const size_t to = std::min(from + kSectorBytes, inode.written.size());
    std::copy(inode.written.begin() + static_cast<ptrdiff_t>(from),
              inode.written.begin() + static_cast<ptrdiff_t>(to),
              inode.durable.begin() + static_cast<ptrdiff_t>(from));
  }
  inode.dirty_sectors.clear();
  return {};
}

void FaultFileSystem::take_what_is_free() {
  if (filled_) capacity_bytes_ = std::min(capacity_bytes_, used_bytes());
}

uint64_t FaultFileSystem::used_bytes() const {
  uint64_t bytes = 0;
  for (const auto& [name, inode] : names_)
    bytes += blocks_of(inode->written.size());
  return bytes;
}

bool FaultFileSystem::has_room(const Inode& inode, uint64_t bytes) const {
  const uint64_t present = blocks_of(inode.written.size());
  return blocks_of(bytes) <= present ||
         used_bytes() + blocks_of(bytes) - present <= capacity_bytes_;
}

Result<std::unique_ptr<storage::File>> FaultFileSystem::open(const Path& path,
                                                             const storage::OpenOptions& options) {
  const MutexLock lock(mutex_);
  const std::string name = normal(path);
  auto found = names_.find(name);
  if (found == names_.end()) {
    if (options.mode != storage::OpenMode::kCreateReadWrite) {
      return tl::unexpected(io_error("open", name, ENOENT));
    }
    if (!directories_.contains(parent_of(name))) {
      return tl::unexpected(io_error("open", name, ENOENT));
    }
    if (const auto fault = next_operation()) return failure("open", name, *fault);
    if (filled_) return failure("open", name, FaultKind::kNoSpace);
    found = names_.emplace(name, std::make_shared<Inode>()).first;
  }
  return std::make_unique<FaultFile>(*this, path, found->second,
                                     options.mode != storage::OpenMode::kReadOnly, generation_);
}

Result<std::unique_ptr<storage::IoQueue>> FaultFileSystem::make_queue(size_t) {
  return std::make_unique<FaultQueue>(*this);
}

Result<std::unique_ptr<storage::DirectoryLock>> FaultFileSystem::lock(const Path& directory) {
  const MutexLock lock(mutex_);
  const std::string name = normal(directory);
  if (!locks_.emplace(name, generation_).second) {
    return make_error(ErrorCode::kInUse, name + " is in use by process 1");
  }
  return std::make_unique<FaultLock>(*this, name, generation_);
}

Result<> FaultFileSystem::check_unlocked(const Path& directory) {
  const MutexLock lock(mutex_);
  const std::string name = normal(directory);
  if (!locks_.contains(name)) return {};
  return make_error(ErrorCode::kInUse, name + " is in use by process 1");
}

Result<storage::SpaceInfo> FaultFileSystem::space(const Path&) {
  const MutexLock lock(mutex_);
  const uint64_t used = used_bytes();
  return storage::SpaceInfo{capacity_bytes_, capacity_bytes_ > used ? capacity_bytes_ - used : 0};
}

}  // namespace tailrace::testing
