#include "fasterlog/format/segment_files.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>

#include "fasterlog/format/record.h"
#include "storage/aligned_buffer.h"

namespace tailrace::fasterlog {

namespace {

constexpr uint64_t kZeroedAtOnce = 1u << 20;

// What is zero already, which most of it is, is only read.
Result<> overwrite_with_zeros(storage::File& file, uint64_t from, uint64_t end) {
  TAILRACE_ASSIGN_OR_RETURN(auto buffer, storage::AlignedBuffer::allocate(kZeroedAtOnce));
  while (from < end) {
    const MutableByteSpan part = buffer.span().first(std::min<uint64_t>(kZeroedAtOnce, end - from));
    TAILRACE_ASSIGN_OR_RETURN(const auto got, file.read_at(from, part));
    if (got < part.size() || !all_zero(part)) {
      std::memset(part.data(), 0, part.size());
      TAILRACE_RETURN_IF_ERROR(file.write_at(from, part));
    }
    from += part.size();
  }
  return {};
}

}  // namespace

std::string segment_name(uint64_t first_address) {
  char text[32];
  std::snprintf(text, sizeof text, "%016llx.seg", static_cast<unsigned long long>(first_address));
  return text;
}

std::optional<uint64_t> parse_segment_name(std::string_view name) {
  if (name.size() != 20 || name.substr(16) != ".seg") return std::nullopt;
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + 16, value, 16);
  if (error != std::errc{} || end != name.data() + 16 || segment_name(value) != name)
    return std::nullopt;
  return value;
}

storage::Path SegmentFiles::path_of(Address address) const {
  return directory_ / segment_name(index_of(address) * segment_bytes_);
}

Result<> SegmentFiles::open_existing(bool writable) {
  TAILRACE_ASSIGN_OR_RETURN(auto names, file_system_.list(directory_));
  for (const std::string& name : names) {
    if (name.ends_with(kSpareSuffix)) {
      const MutexLock lock(mutex_);
      spares_.push_back(directory_ / name);
      count();
      continue;
    }
    const std::optional<uint64_t> first = parse_segment_name(name);
    if (!first) continue;
    if (*first % segment_bytes_ != 0)
      return make_error(ErrorCode::kCorruption, (directory_ / name).string() + ": no segment of " +
                                                    std::to_string(segment_bytes_) +
                                                    " bytes begins at that address");
    const auto mode = writable ? storage::OpenMode::kReadWrite : storage::OpenMode::kReadOnly;
    TAILRACE_ASSIGN_OR_RETURN(auto file, file_system_.open(directory_ / name, {mode, true}));
    const MutexLock lock(mutex_);
    files_[*first / segment_bytes_] = std::move(file);
    count();
  }
  const MutexLock lock(mutex_);
  const uint64_t begin = files_.empty() ? 0 : files_.begin()->first * segment_bytes_;
  if (begin == 0) return {};
  for (const auto& [index, file] : files_)
    made_of_[index] = {Address{}, Address{begin}};
  return {};
}

Result<std::vector<std::string>> SegmentFiles::open_readable() {
  TAILRACE_ASSIGN_OR_RETURN(auto names, file_system_.list(directory_));
  std::vector<std::string> misplaced;
  for (const std::string& name : names) {
    const std::optional<uint64_t> first = parse_segment_name(name);
    if (!first) continue;
    if (*first % segment_bytes_ != 0) {
      misplaced.push_back(name);
      continue;
    }
    auto file = file_system_.open(directory_ / name, {storage::OpenMode::kReadOnly, true});
    // A truncation of the log in use deletes and renames under us.
    if (!file && file.error().code == ErrorCode::kNotFound) continue;
    if (!file) return tl::unexpected(std::move(file).error());
    const MutexLock lock(mutex_);
    files_[*first / segment_bytes_] = std::move(*file);
    count();
  }
  return misplaced;
}

void SegmentFiles::count() {
  count_.store(files_.size() + spares_.size(), std::memory_order_relaxed);
}

bool SegmentFiles::has_spare() const {
  const MutexLock lock(mutex_);
  return !spares_.empty();
}

Result<> SegmentFiles::make(uint64_t index) {
  const storage::Path path = path_of(Address{index * segment_bytes_});
  std::optional<storage::Path> spare;
  {
    const MutexLock lock(mutex_);
    if (!spares_.empty()) {
      spare = std::move(spares_.back());
      spares_.pop_back();
    }
  }
  if (spare) {
    TAILRACE_RETURN_IF_ERROR(file_system_.rename(*spare, path));
  } else {
    TAILRACE_RETURN_IF_ERROR(create(path));
  }
  TAILRACE_RETURN_IF_ERROR(file_system_.sync_directory(directory_));
  TAILRACE_ASSIGN_OR_RETURN(auto file,
                            file_system_.open(path, {storage::OpenMode::kReadWrite, true}));
  const MutexLock lock(mutex_);
  files_[index] = std::move(file);
  made_of_.erase(index);
  if (spare) made_of_[index] = addresses_of(*spare);
  count();
  return {};
}

AddressRange SegmentFiles::addresses_of(const storage::Path& spare) const {
  storage::Path segment = spare.filename();
  segment.replace_extension(".seg");
  const uint64_t first = parse_segment_name(segment.string()).value_or(0);
  return {Address{first}, Address{first + segment_bytes_}};
}

Result<> SegmentFiles::discard_before(uint64_t index) {
  std::vector<storage::Path> discarded;
  {
    const MutexLock lock(mutex_);
    const uint64_t least = no_spares_before_ = std::max(no_spares_before_, index);
    std::erase_if(spares_, [&](const storage::Path& spare) {
      const bool goes = addresses_of(spare).first.value / segment_bytes_ < least;
      if (goes) discarded.push_back(spare);
      return goes;
    });
    count();
  }
  if (discarded.empty()) return {};
  Result<> failed;
  for (const storage::Path& spare : discarded) {
    const auto removed = file_system_.remove(spare);
    if (removed || removed.error().code == ErrorCode::kNotFound) continue;
    // Tried again by the next call; until then it is told of, and may be used.
    failed = removed;
    const MutexLock lock(mutex_);
    spares_.push_back(spare);
    count();
  }
  TAILRACE_RETURN_IF_ERROR(failed);
  return file_system_.sync_directory(directory_);
}

std::vector<OldBytes> SegmentFiles::old_bytes(Address end) const {
  std::vector<OldBytes> found;
  const MutexLock lock(mutex_);
  for (const storage::Path& spare : spares_)
    found.push_back({spare.string(), addresses_of(spare), {}});
  for (const auto& [index, of] : made_of_) {
    const Address segment_end{(index + 1) * segment_bytes_};
    if (files_.contains(index) && segment_end > end)
      found.push_back({path_of(Address{index * segment_bytes_}).string(), of, segment_end});
  }
  return found;
}

Result<> SegmentFiles::create(const storage::Path& path) {
  TAILRACE_ASSIGN_OR_RETURN(auto file,
                            file_system_.open(path, {storage::OpenMode::kCreateReadWrite, true}));
  if (auto allocated = file->allocate(segment_bytes_); !allocated) {
    // Nothing was written: giving the half-made file back leaves the log as it was.
    file.reset();
    (void)file_system_.remove(path);
    return allocated;
  }
  return file->sync();
}

Result<> SegmentFiles::remove_before(uint64_t index) {
  std::vector<uint64_t> below = indexes();
  std::erase_if(below, [index](uint64_t each) { return each >= index; });
  return remove_in_order(below, true);
}

size_t SegmentFiles::count_before(uint64_t index) const {
  const MutexLock lock(mutex_);
  return static_cast<size_t>(std::distance(files_.begin(), files_.lower_bound(index)));
}

uint64_t SegmentFiles::bytes_freed_by_removing(size_t segments) const {
  const MutexLock lock(mutex_);
  // The first ones are discarded, if any.
  const auto discarded =
      static_cast<size_t>(std::distance(files_.begin(), files_.lower_bound(no_spares_before_)));
  const size_t gone = std::min(segments, discarded);
  const size_t room = most_spares_ - std::min<size_t>(most_spares_, spares_.size());
  return (segments - std::min(segments - gone, room)) * segment_bytes_;
}

Result<> SegmentFiles::remove_from(uint64_t index) {
  // From the end downwards: a crash in between leaves no gap.
  std::vector<uint64_t> above = indexes();
  std::erase_if(above, [index](uint64_t each) { return each < index; });
  std::reverse(above.begin(), above.end());
  return remove_in_order(above, false);
}

Result<> SegmentFiles::remove_in_order(const std::vector<uint64_t>& all, bool may_become_spares) {
  if (all.empty()) return {};
  for (const uint64_t each : all) {
    const storage::Path path = path_of(Address{each * segment_bytes_});
    bool keep = false;
    {
      const MutexLock lock(mutex_);
      files_.erase(each);
      keep = may_become_spares && each >= no_spares_before_ && spares_.size() < most_spares_;
      made_of_.erase(each);
      count();
    }
    if (keep) {
      storage::Path spare = path;
      spare.replace_extension(kSpareSuffix);
      TAILRACE_RETURN_IF_ERROR(file_system_.rename(path, spare));
      const MutexLock lock(mutex_);
      spares_.push_back(std::move(spare));
      count();
      continue;
    }
    auto removed = file_system_.remove(path);
    if (!removed && removed.error().code != ErrorCode::kNotFound) return removed;
  }
  return file_system_.sync_directory(directory_);
}

Result<> SegmentFiles::zero_from(uint64_t index, uint64_t offset) {
  const std::shared_ptr<storage::File> segment = file(index);
  TAILRACE_ASSIGN_OR_RETURN(const auto space, file_system_.space(directory_));
  // Blocks that are given back and taken anew read as zeros. Where few are left, another program
  // might take them in between.
  if (space.available_bytes >= segment_bytes_) {
    TAILRACE_RETURN_IF_ERROR(segment->truncate(offset));
    TAILRACE_RETURN_IF_ERROR(segment->allocate(segment_bytes_));
  } else {
    TAILRACE_RETURN_IF_ERROR(segment->allocate(segment_bytes_));
    TAILRACE_RETURN_IF_ERROR(overwrite_with_zeros(*segment, offset, segment_bytes_));
  }
  return segment->sync();
}

std::shared_ptr<storage::File> SegmentFiles::file(uint64_t index) const {
  const MutexLock lock(mutex_);
  const auto found = files_.find(index);
  return found == files_.end() ? nullptr : found->second;
}

std::vector<uint64_t> SegmentFiles::indexes() const {
  const MutexLock lock(mutex_);
  std::vector<uint64_t> result;
  for (const auto& [index, file] : files_)
    result.push_back(index);
  return result;
}

Result<> SegmentFiles::read_aligned(Address from, MutableByteSpan into, uint64_t written) const {
  while (!into.empty()) {
    const uint64_t offset = from.value % segment_bytes_;
    const size_t part = std::min<uint64_t>(into.size(), segment_bytes_ - offset);
    const std::shared_ptr<storage::File> segment = file(index_of(from));
    if (!segment)
      return make_error(ErrorCode::kNotFound,
                        "segment file " + path_of(from).string() + " is absent");
    TAILRACE_ASSIGN_OR_RETURN(auto got, segment->read_at(offset, into.first(part)));
    if (got < std::min<uint64_t>(part, written))
      return make_error(ErrorCode::kCorruption,
                        path_of(from).string() + ": it ends at byte " +
                            std::to_string(offset + got) + ", but was written up to byte " +
                            std::to_string(offset + std::min<uint64_t>(part, written)));
    if (got < part) std::memset(into.data() + got, 0, part - got);
    written -= std::min<uint64_t>(part, written);
    from = from + part;
    into = into.subspan(part);
  }
  return {};
}

}  // namespace tailrace::fasterlog
