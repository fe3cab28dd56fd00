#include "history/catalogue.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "history/format/file_name.h"
#include "storage/atomic_file.h"

namespace tailrace::history {

namespace {

constexpr storage::AtomicFileFormat kEmptyFormat{storage::four_letters("EVEM"), 1};
constexpr std::string_view kEmptyName = "EMPTY";
// What stands in it.
static_assert(sizeof(AddressRange) == 16 && std::is_trivially_copyable_v<AddressRange>);

tl::unexpected<Error> overlap(const storage::Path& one, const storage::Path& other) {
  return make_error(ErrorCode::kCorruption,
                    one.string() + " and " + other.filename().string() +
                        " have events of the same addresses; move one of them away, the one that "
                        "other members do not have");
}

}  // namespace

storage::Path Catalogue::path_of(const EventFileInfo& info) const {
  return directory_ / name_of(info);
}

Result<std::unique_ptr<Catalogue>> Catalogue::open(storage::FileSystem& file_system,
                                                   storage::Path directory) {
  TAILRACE_RETURN_IF_ERROR(file_system.make_directory(directory));
  std::unique_ptr<Catalogue> catalogue(new Catalogue(file_system, std::move(directory)));
  TAILRACE_RETURN_IF_ERROR(catalogue->load());
  return catalogue;
}

Result<> Catalogue::load() {
  TAILRACE_ASSIGN_OR_RETURN(const auto names, file_system_.list(directory_));
  // All is looked at before anything is changed.
  std::vector<storage::Path> leftovers;
  {
    const MutexLock lock(mutex_);
    for (const std::string& name : names) {
      if (name.ends_with(kTemporarySuffix)) leftovers.push_back(directory_ / name);
      if (!name.ends_with(kEventFileSuffix)) continue;
      const auto info = parse_file_name(name);
      if (!info)
        return make_error(ErrorCode::kCorruption,
                          (directory_ / name).string() +
                              ": this is not the name of an event file; move the file away");
      // Names of one range come by revision.
      if (const auto before = files_.find(info->range.first);
          before != files_.end() && before->second.range == info->range &&
          before->second.revision < info->revision) {
        leftovers.push_back(path_of(before->second));
        total_bytes_ -= before->second.bytes;
        files_.erase(before);
      }
      TAILRACE_RETURN_IF_ERROR(take(*info));
    }
  }
  TAILRACE_RETURN_IF_ERROR(read_empty());
  // A process that ended may have given a name that is not on the device yet.
  TAILRACE_RETURN_IF_ERROR(file_system_.sync_directory(directory_));
  for (const storage::Path& leftover : leftovers)
    TAILRACE_RETURN_IF_ERROR(file_system_.remove(leftover));
  if (leftovers.empty()) return {};
  return file_system_.sync_directory(directory_);
}

Result<> Catalogue::read_empty() {
  const storage::Path path = directory_ / kEmptyName;
  const auto content = storage::read_atomic_file(file_system_, path, kEmptyFormat);
  if (!content && content.error().code == ErrorCode::kNotFound) return {};
  if (!content) return tl::unexpected(content.error());
  AddressRange range;
  if (content->bytes.size() == sizeof range)
    range = tailrace::load<AddressRange>(content->bytes.data());
  if (range.first >= range.end)
    return make_error(ErrorCode::kCorruption, path.string() + ": the stretch in it is impossible");
  const MutexLock lock(mutex_);
  empty_ = range;
  return {};
}

std::optional<EventFileInfo> Catalogue::overlapping(const EventFileInfo& info) const {
  auto behind = files_.lower_bound(info.range.end);
  if (behind == files_.begin()) return std::nullopt;
  const EventFileInfo& last = std::prev(behind)->second;
  if (last.range.end <= info.range.first) return std::nullopt;
  return last;
}

Result<> Catalogue::take(const EventFileInfo& info) {
  if (const auto other = overlapping(info)) return overlap(path_of(*other), path_of(info));
  files_.emplace(info.range.first, info);
  total_bytes_ += info.bytes;
  return {};
}

std::vector<EventFileInfo> Catalogue::files() const {
  const MutexLock lock(mutex_);
  std::vector<EventFileInfo> all;
  all.reserve(files_.size());
  for (const auto& [from, info] : files_)
    all.push_back(info);
  return all;
}

std::optional<EventFileInfo> Catalogue::first_behind(Address address) const {
  const MutexLock lock(mutex_);
  auto next = files_.upper_bound(address);
  if (next != files_.begin() && std::prev(next)->second.range.end > address) --next;
  if (next == files_.end()) return std::nullopt;
  return next->second;
}

std::optional<EventFileInfo> Catalogue::find(Address address) const {
  const auto found = first_behind(address);
  if (!found || !found->range.contains(address)) return std::nullopt;
  return found;
}

Address Catalogue::end_of_files() const {
  return files_.empty() ? Address{} : files_.rbegin()->second.range.end;
}

Address Catalogue::end() const {
  const MutexLock lock(mutex_);
  return std::max(end_of_files(), empty_.end);
}

Address Catalogue::next_begin() const {
  const MutexLock lock(mutex_);
  return empty_.end > end_of_files() ? empty_.first : end_of_files();
}

std::vector<AddressRange> Catalogue::gaps(AddressRange range) const {
  const MutexLock lock(mutex_);
  std::vector<AddressRange> found;
  Address at = range.first;
  const auto cover = [&](AddressRange covered) {
    if (covered.end <= at || covered.first >= range.end) return;
    if (covered.first > at) found.push_back({at, covered.first});
    at = covered.end;
  };
  for (const auto& [from, info] : files_)
    cover(info.range);
  // A file that was written since has taken it in.
  if (empty_.end > end_of_files()) cover(empty_);
  if (at < range.end) found.push_back({at, range.end});
  return found;
}

uint64_t Catalogue::total_bytes() const {
  const MutexLock lock(mutex_);
  return total_bytes_;
}

Result<std::shared_ptr<const EventFile>> Catalogue::open_file(const EventFileInfo& info,
                                                              BlockCache& cache) const {
  TAILRACE_ASSIGN_OR_RETURN(auto file, EventFile::open(file_system_, path_of(info), cache));
  if (file->summary().info == info) return file;
  return make_error(ErrorCode::kCorruption,
                    path_of(info).string() +
                        ": the file is not what its name says; drop it, and fetch it again from "
                        "another member");
}

Result<std::vector<std::byte>> Catalogue::read_piece(const EventFileInfo& info, uint64_t offset,
                                                     size_t bytes) const {
  if (find(info.range.first) != info)
    return make_error(ErrorCode::kNotFound,
                      fmt::format("there is no event file with the log from {} to {} any more",
                                  info.range.first.value, info.range.end.value));
  TAILRACE_ASSIGN_OR_RETURN(
      const auto file, file_system_.open(path_of(info), {storage::OpenMode::kReadOnly, false}));
  if (offset >= info.bytes) return std::vector<std::byte>{};
  std::vector<std::byte> piece(bytes);
  TAILRACE_ASSIGN_OR_RETURN(const size_t got, file->read_at(offset, piece));
  piece.resize(got);
  return piece;
}

Result<> Catalogue::remove_damaged(const EventFileInfo& info) {
  TAILRACE_ASSIGN_OR_RETURN(const auto names, file_system_.list(directory_));
  for (const std::string& name : names) {
    const std::string_view view = name;
    if (!view.ends_with(kDamagedSuffix)) continue;
    const auto of = parse_file_name(view.substr(0, view.size() - kDamagedSuffix.size()));
    if (of && of->range == info.range)
      TAILRACE_RETURN_IF_ERROR(file_system_.remove(directory_ / name));
  }
  return {};
}

Result<> Catalogue::remove_replaced() {
  const MutexLock one_at_a_time(changes_);
  TAILRACE_ASSIGN_OR_RETURN(const auto names, file_system_.list(directory_));
  for (const std::string& name : names) {
    std::string_view view = name;
    const bool is_damaged = view.ends_with(kDamagedSuffix);
    if (is_damaged) view.remove_suffix(kDamagedSuffix.size());
    const auto of = parse_file_name(view);
    const auto now = of ? find(of->range.first) : std::nullopt;
    if (!now || now->range != of->range) continue;
    if (is_damaged || now->revision > of->revision)
      TAILRACE_RETURN_IF_ERROR(file_system_.remove(directory_ / name));
  }
  return file_system_.sync_directory(directory_);
}

Result<> Catalogue::add(const EventFileInfo& info) {
  const MutexLock one_at_a_time(changes_);
  return add_now(info);
}

Result<> Catalogue::add_now(const EventFileInfo& info) {
  std::optional<EventFileInfo> before;
  {
    const MutexLock lock(mutex_);
    before = overlapping(info);
    if (before == info) return {};
    if (before && (before->range != info.range || before->revision >= info.revision))
      return make_error(ErrorCode::kFailedPrecondition,
                        path_of(info).string() + ": the file cannot be added, " + name_of(*before) +
                            " has events of the same addresses");
    if (before) {
      total_bytes_ -= before->bytes;
      files_.erase(before->range.first);
    }
    TAILRACE_RETURN_IF_ERROR(take(info));
  }
  if (before) TAILRACE_RETURN_IF_ERROR(file_system_.remove(path_of(*before)));
  return remove_damaged(info);
}

Result<EventFileInfo> Catalogue::adopt(const storage::Path& temporary, BlockCache& cache) {
  EventFileInfo info;
  {
    auto checked = [&]() -> Result<> {
      TAILRACE_ASSIGN_OR_RETURN(const auto file, EventFile::open(file_system_, temporary, cache));
      info = file->summary().info;
      return file->verify();
    }();
    if (!checked && checked.error().code == ErrorCode::kCorruption)
      (void)file_system_.remove(temporary);
    TAILRACE_RETURN_IF_ERROR(checked);
  }
  const MutexLock one_at_a_time(changes_);
  {
    const MutexLock lock(mutex_);
    const auto before = overlapping(info);
    if (before && (before->range != info.range || before->revision >= info.revision))
      return make_error(ErrorCode::kFailedPrecondition,
                        temporary.string() + ": the file cannot be added, " + name_of(*before) +
                            " has events of the same addresses");
  }
  {
    TAILRACE_ASSIGN_OR_RETURN(const auto file,
                              file_system_.open(temporary, {storage::OpenMode::kReadWrite, false}));
    TAILRACE_RETURN_IF_ERROR(file->sync());
  }
  TAILRACE_RETURN_IF_ERROR(file_system_.rename(temporary, path_of(info)));
  TAILRACE_RETURN_IF_ERROR(file_system_.sync_directory(directory_));
  TAILRACE_RETURN_IF_ERROR(add_now(info));
  return info;
}

Result<> Catalogue::drop(const EventFileInfo& info) {
  const MutexLock one_at_a_time(changes_);
  const storage::Path path = path_of(info);
  storage::Path aside = path;
  aside += kDamagedSuffix;
  {
    const MutexLock lock(mutex_);
    const auto found = files_.find(info.range.first);
    if (found == files_.end() || found->second != info)
      return make_error(ErrorCode::kNotFound, path.string() + ": it is no event file any more");
    files_.erase(found);
    total_bytes_ -= info.bytes;
  }
  const auto renamed = file_system_.rename(path, aside);
  if (!renamed && renamed.error().code != ErrorCode::kNotFound) return renamed;
  return file_system_.sync_directory(directory_);
}

Result<> Catalogue::note_empty(Address from, Address to) {
  const MutexLock one_at_a_time(changes_);
  AddressRange stretch{from, to};
  {
    const MutexLock lock(mutex_);
    const Address files_end = end_of_files();
    const Address at = std::max(files_end, empty_.end);
    if (to <= from || from < at)
      return make_error(ErrorCode::kInvalidArgument,
                        fmt::format("{}: an empty stretch from {} to {} does not lie behind {}",
                                    directory_.string(), from.value, to.value, at.value));
    if (empty_.end > files_end && from == empty_.end) stretch.first = empty_.first;
  }
  std::byte content[sizeof stretch];
  store(content, stretch);
  TAILRACE_RETURN_IF_ERROR(
      storage::replace_atomic_file(file_system_, directory_ / kEmptyName, kEmptyFormat, content));
  const MutexLock lock(mutex_);
  empty_ = stretch;
  return {};
}

}  // namespace tailrace::history
