// The fault disk's names: what is there, and how it moves and goes.

#include <algorithm>
#include <cerrno>

#include "tests/support/fault_file_system.h"
#include "tests/support/fault_paths.h"

namespace tailrace::testing {

using storage::Path;

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

}  // namespace tailrace::testing
