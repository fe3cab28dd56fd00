// The test's side of the fault disk: which operations fail, and what a crash leaves.

#include "tests/support/fault_file_system.h"

#include <algorithm>
#include <cerrno>

#include "tests/support/fault_paths.h"

namespace tailrace::testing {

using storage::Path;

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

bool FaultFileSystem::keeps(CrashPolicy policy) {
  if (policy == CrashPolicy::kRandom) return random_.chance(1, 2);
  return policy == CrashPolicy::kKeepAll;
}

/// Every entry that differs from the platter's is kept or lost on its own.
FaultFileSystem::Names FaultFileSystem::names_after(CrashPolicy policy) {
  std::set<std::string> all;
  for (const Names* names : {&names_, &durable_names_}) {
    for (const auto& [name, inode] : *names)
      all.insert(name);
  }
  std::map<std::string, bool> kept;
  for (const std::string& name : all)
    kept[name] = keeps(policy);
  for (const auto& [from, to] : unsynced_renames_)
    kept[to] = kept.try_emplace(from, keeps(policy)).first->second;
  unsynced_renames_.clear();
  for (const auto& [from, to] : unsynced_directory_renames_) {
    const bool moved = keeps(policy);
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
  return after;
}

/// Of the files that are left. A size that was not synced goes one way or the other.
void FaultFileSystem::lose_sectors(const Names& names, CrashPolicy policy) {
  std::set<Inode*> done;
  for (const auto& [name, inode] : names) {
    if (!done.insert(inode.get()).second) continue;
    std::vector<std::byte> bytes = inode->durable;
    if (inode->written.size() != inode->durable.size() && keeps(policy)) {
      bytes.resize(inode->written.size());
    }
    for (const size_t sector : inode->dirty_sectors) {
      if (!keeps(policy)) continue;
      const size_t from = sector * kSectorBytes;
      const size_t to = std::min({from + kSectorBytes, bytes.size(), inode->written.size()});
      for (size_t place = from; place < to; ++place)
        bytes[place] = inode->written[place];
    }
    inode->durable = bytes;
    inode->written = std::move(bytes);
    inode->dirty_sectors.clear();
  }
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
  // Names first, then the sectors of what is left.
  Names after = names_after(policy);
  lose_sectors(after, policy);
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

}  // namespace tailrace::testing
