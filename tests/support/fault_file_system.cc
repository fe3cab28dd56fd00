#include "tests/support/fault_file_system.h"

#include <algorithm>
#include <cerrno>
#include <functional>

namespace tailrace::testing {

using storage::Completion;
using storage::Path;

namespace {
std::string normal(const Path& path) {
  return path.lexically_normal().string();
}
// A file has whole blocks.
uint64_t blocks_of(uint64_t bytes) {
  return align_up(bytes, storage::kBlockBytes);
}
std::string parent_of(const std::string& path) {
  return Path(path).parent_path().string();
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
  explicit FaultQueue(FaultFileSystem& disk) : disk_(disk) {}

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

 private:
  struct Request {
    uint64_t token;
    std::function<Result<size_t>()> run;
  };
  FaultFileSystem& disk_;
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

uint64_t FaultFileSystem::operations() const {
  const MutexLock lock(mutex_);
  return operations_;
}

void FaultFileSystem::fail_at(uint64_t operation, FaultKind kind, uint64_t sectors) {
  const MutexLock lock(mutex_);
  faults_[operation] = {kind, sectors};
}

void FaultFileSystem::fail_next(std::string_view call, const Path& path, FaultKind kind) {
  const MutexLock lock(mutex_);
  named_faults_[{std::string(call), normal(path)}] = kind;
}

uint64_t FaultFileSystem::reads() const {
  const MutexLock lock(mutex_);
  return reads_;
}

void FaultFileSystem::fail_read_at(uint64_t read, FaultKind kind) {
  const MutexLock lock(mutex_);
  read_faults_[read] = kind;
}

std::vector<uint64_t> FaultFileSystem::sectors_of_operations() const {
  const MutexLock lock(mutex_);
  return sectors_of_operations_;
}

void FaultFileSystem::set_capacity(uint64_t bytes) {
  const MutexLock lock(mutex_);
  capacity_bytes_ = bytes;
  filled_ = false;
}

void FaultFileSystem::fill() {
  const MutexLock lock(mutex_);
  capacity_bytes_ = used_bytes();
  filled_ = true;
}

void FaultFileSystem::set_can_exchange(bool can) {
  const MutexLock lock(mutex_);
  can_exchange_ = can;
}

void FaultFileSystem::crash(CrashPolicy policy) {
  const MutexLock lock(mutex_);
  ++generation_;
  power_is_cut_ = false;
  faults_.clear();
  named_faults_.clear();
  read_faults_.clear();
  locks_.clear();
  if (policy == CrashPolicy::kProcessEnds) return;
  const auto keeps = [&]() TAILRACE_REQUIRES(mutex_) {
    if (policy == CrashPolicy::kRandom) return random_.chance(1, 2);
    return policy == CrashPolicy::kKeepAll;
  };

  // Names first: every entry that differs from the platter's is kept or lost on its own.
  std::set<std::string> all;
  for (const Names* names : {&names_, &durable_names_}) {
    for (const auto& [name, inode] : *names)
      all.insert(name);
  }
  std::map<std::string, bool> kept;
  for (const std::string& name : all)
    kept[name] = keeps();
  for (const auto& [from, to] : unsynced_renames_)
    kept[to] = kept.try_emplace(from, keeps()).first->second;
  unsynced_renames_.clear();
  for (const auto& [from, to] : unsynced_directory_renames_) {
    const bool moved = keeps();
    for (auto& [name, keep] : kept)
      if (name.rfind(from + "/", 0) == 0 || name.rfind(to + "/", 0) == 0) keep = moved;
  }
  unsynced_directory_renames_.clear();
  Names after;
  for (const std::string& name : all) {
    const Names& chosen = kept[name] ? names_ : durable_names_;
    const auto found = chosen.find(name);
    if (found != chosen.end()) after.insert(*found);
  }

  // Then the sectors of what is left. A size that was not synced goes one way or the other.
  std::set<Inode*> done;
  for (const auto& [name, inode] : after) {
    if (!done.insert(inode.get()).second) continue;
    std::vector<std::byte> bytes = inode->durable;
    if (inode->written.size() != inode->durable.size() && keeps()) {
      bytes.resize(inode->written.size());
    }
    for (const size_t sector : inode->dirty_sectors) {
      if (!keeps()) continue;
      const size_t from = sector * kSectorBytes;
      const size_t to = std::min({from + kSectorBytes, bytes.size(), inode->written.size()});
      for (size_t place = from; place < to; ++place)
        bytes[place] = inode->written[place];
    }
    inode->durable = bytes;
    inode->written = std::move(bytes);
    inode->dirty_sectors.clear();
  }
  for (const auto& [name, inode] : after) {
    for (std::string parent = parent_of(name); !parent.empty() && parent != "/";
         parent = parent_of(parent))
      directories_.insert(parent);
  }
  names_ = after;
  durable_names_ = std::move(after);
}

std::vector<std::byte> FaultFileSystem::content(const Path& path) const {
  const MutexLock lock(mutex_);
  const auto found = names_.find(normal(path));
  return found == names_.end() ? std::vector<std::byte>{} : found->second->written;
}

void FaultFileSystem::flip_bit(const Path& path, uint64_t byte, int bit) {
  const MutexLock lock(mutex_);
  Inode& inode = *names_.at(normal(path));
  const auto mask = static_cast<std::byte>(1 << bit);
  inode.written.at(byte) ^= mask;
  if (byte < inode.durable.size()) inode.durable[byte] ^= mask;
}

std::vector<Path> FaultFileSystem::files() const {
  const MutexLock lock(mutex_);
  std::vector<Path> result;
  for (const auto& [name, inode] : names_)
    result.emplace_back(name);
  return result;
}

std::optional<FaultFileSystem::Fault> FaultFileSystem::next_fault(uint64_t sectors) {
  if (power_is_cut_) return Fault{FaultKind::kError, 0};
  sectors_of_operations_.push_back(sectors);
  const auto fault = faults_.find(operations_++);
  if (fault == faults_.end()) return std::nullopt;
  const FaultKind kind = fault->second.kind;
  if (kind == FaultKind::kPowerCut || kind == FaultKind::kTorn) power_is_cut_ = true;
  return fault->second;
}

std::optional<FaultKind> FaultFileSystem::next_operation() {
  const auto fault = next_fault(0);
  return fault ? std::optional(fault->kind) : std::nullopt;
}

std::optional<FaultKind> FaultFileSystem::take_named_fault(std::string_view call,
                                                           const std::string& path) {
  const auto found = named_faults_.find({std::string(call), path});
  if (found == named_faults_.end()) return std::nullopt;
  const FaultKind kind = found->second;
  named_faults_.erase(found);
  return kind;
}

tl::unexpected<Error> FaultFileSystem::failure(std::string_view call, const std::string& path,
                                               FaultKind kind) {
  return tl::unexpected(io_error(call, path, kind == FaultKind::kNoSpace ? ENOSPC : EIO));
}

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

Result<bool> FaultFileSystem::exists(const Path& path) {
  const MutexLock lock(mutex_);
  const std::string name = normal(path);
  return names_.contains(name) || directories_.contains(name);
}

Result<std::vector<std::string>> FaultFileSystem::list(const Path& directory) {
  const MutexLock lock(mutex_);
  const std::string name = normal(directory);
  if (!directories_.contains(name)) return tl::unexpected(io_error("list", name, ENOENT));
  std::vector<std::string> result;
  for (const auto& [path, inode] : names_) {
    if (parent_of(path) == name) result.push_back(Path(path).filename().string());
  }
  for (const std::string& path : directories_) {
    if (path != name && parent_of(path) == name) result.push_back(Path(path).filename().string());
  }
  std::sort(result.begin(), result.end());
  return result;
}

Result<> FaultFileSystem::make_directory(const Path& directory) {
  const MutexLock lock(mutex_);
  for (Path path = normal(directory); !path.empty(); path = path.parent_path()) {
    directories_.insert(path.string());
    if (path == path.parent_path()) break;
  }
  return {};
}

/// What `from` holds is then in `to`, which held nothing.
void FaultFileSystem::move_directory(Names& names, const std::string& from, const std::string& to) {
  const std::string old_prefix = from + "/", new_prefix = to + "/";
  Names moved;
  std::erase_if(names, [&](const auto& entry) {
    if (entry.first.rfind(new_prefix, 0) == 0) return true;
    if (entry.first.rfind(old_prefix, 0) != 0) return false;
    moved.emplace(new_prefix + entry.first.substr(old_prefix.size()), entry.second);
    return true;
  });
  names.merge(moved);
  std::set<std::string> directories{to};
  std::erase_if(directories_, [&](const std::string& path) {
    if (path.rfind(old_prefix, 0) == 0)
      directories.insert(new_prefix + path.substr(old_prefix.size()));
    return path == from || path.rfind(old_prefix, 0) == 0;
  });
  directories_.merge(directories);
}

Result<> FaultFileSystem::rename(const Path& from, const Path& to) {
  const MutexLock lock(mutex_);
  if (const auto fault = next_operation()) return failure("rename", normal(from), *fault);
  const auto found = names_.find(normal(from));
  if (found == names_.end() && directories_.contains(normal(from))) {
    move_directory(names_, normal(from), normal(to));
    unsynced_directory_renames_.emplace_back(normal(from), normal(to));
    return {};
  }
  if (found == names_.end()) return tl::unexpected(io_error("rename", normal(from), ENOENT));
  names_[normal(to)] = found->second;
  names_.erase(normal(from));
  take_what_is_free();
  unsynced_renames_.emplace_back(normal(from), normal(to));
  return {};
}

Result<> FaultFileSystem::exchange(const Path& one, const Path& other) {
  const MutexLock lock(mutex_);
  if (const auto fault = next_operation()) return failure("exchange", normal(one), *fault);
  if (!can_exchange_)
    return make_error(ErrorCode::kUnsupported, normal(one) + ": two files cannot be exchanged");
  const auto first = names_.find(normal(one)), second = names_.find(normal(other));
  if (first == names_.end()) return tl::unexpected(io_error("exchange", normal(one), ENOENT));
  if (second == names_.end()) return tl::unexpected(io_error("exchange", normal(other), ENOENT));
  std::swap(first->second, second->second);
  unsynced_renames_.emplace_back(normal(one), normal(other));
  return {};
}

Result<> FaultFileSystem::remove(const Path& path) {
  const MutexLock lock(mutex_);
  if (const auto fault = next_operation()) return failure("unlink", normal(path), *fault);
  if (names_.erase(normal(path)) == 0) {
    return tl::unexpected(io_error("unlink", normal(path), ENOENT));
  }
  take_what_is_free();
  return {};
}

Result<> FaultFileSystem::remove_directory(const Path& directory) {
  const MutexLock lock(mutex_);
  const std::string name = normal(directory);
  if (const auto fault = next_operation()) return failure("remove", name, *fault);
  const std::string below = name + "/";
  std::erase_if(names_, [&](const auto& entry) { return entry.first.rfind(below, 0) == 0; });
  std::erase_if(directories_,
                [&](const std::string& path) { return path == name || path.rfind(below, 0) == 0; });
  return {};
}

Result<> FaultFileSystem::sync_directory(const Path& directory) {
  const MutexLock lock(mutex_);
  const std::string name = normal(directory);
  if (const auto fault = next_operation()) return failure("fsync", name, *fault);
  for (const auto& [from, to] : unsynced_directory_renames_)
    if (parent_of(to) == name) move_directory(durable_names_, from, to);
  std::erase_if(unsynced_directory_renames_,
                [&](const auto& pair) { return parent_of(pair.second) == name; });
  // What a removed subdirectory held goes with it.
  std::erase_if(durable_names_, [&](const auto& entry) TAILRACE_REQUIRES(mutex_) {
    std::string parent = parent_of(entry.first);
    if (parent == name) return true;
    if (parent.rfind(name + "/", 0) != 0) return false;
    while (parent_of(parent) != name)
      parent = parent_of(parent);
    return !directories_.contains(parent);
  });
  std::erase_if(unsynced_renames_,
                [&](const auto& pair) { return parent_of(pair.second) == name; });
  for (const auto& [path, inode] : names_) {
    if (parent_of(path) == name) durable_names_.emplace(path, inode);
  }
  return {};
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
