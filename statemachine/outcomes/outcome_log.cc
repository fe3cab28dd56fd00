#include "statemachine/outcomes/outcome_log.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include <fmt/format.h>
#include <xxhash.h>

#include "core/varint.h"
#include "observability/logging.h"
#include "storage/atomic_file.h"

namespace tailrace::statemachine {
namespace {

constexpr uint32_t kBlockMagic = storage::four_letters("TRTO");
constexpr size_t kHeaderBytes = 40, kSummedBytes = 24;
constexpr std::string_view kSuffix = ".outcomes";
constexpr size_t kDigits = 20;

uint64_t sum_of(ByteSpan bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::optional<Address> parse_name(std::string_view name) {
  if (name.size() != kDigits + kSuffix.size() || !name.ends_with(kSuffix)) return std::nullopt;
  Address address;
  const auto [end, error] = std::from_chars(name.data(), name.data() + kDigits, address.value);
  if (error != std::errc{} || end != name.data() + kDigits) return std::nullopt;
  return address;
}

tl::unexpected<Error> damaged(const storage::Path& path, uint64_t offset) {
  return make_error(
      ErrorCode::kCorruption,
      fmt::format("{}: the block at offset {} is damaged; move the file away, and what became of "
                  "the transactions in it is not known on this node any more: another member "
                  "then has to give the event files for them",
                  path.string(), offset));
}

tl::unexpected<Error> missing_between(const storage::Path& directory, Address end, Address from) {
  return make_error(
      ErrorCode::kCorruption,
      fmt::format(
          "{}: what became of the transactions from address {} to {} is missing: a file was "
          "cut or removed. Move the directory away, and it is not known on this node any "
          "more: another member then has to give the event files for them",
          directory.string(), end.value, from.value));
}

/// One chunk's entries, those of records within `range`.
Result<> read_chunk(ByteSpan chunk, AddressRange range, StretchOutcomes& into) {
  PackedReader reader(chunk);
  for (uint64_t address = 0; reader.is_sound() && !reader.at_end();) {
    address += 8 * reader.varint();
    StretchOutcomes::Record record{Address{address}, into.appends.size(), 0};
    const bool wanted = range.contains(record.address);
    bool has_streams = false;
    for (uint64_t left = reader.varint(); left > 0 && reader.is_sound(); --left) {
      const uint64_t kind = reader.varint(), dense_id = kind >> 1;
      if (kind == 1) {
        const Address end{reader.varint()};
        if (wanted) into.ends.push_back(end);
        continue;
      }
      has_streams = true;
      if ((kind & 1) != 0) {
        const uint64_t version = reader.varint();
        const auto effect =
            static_cast<uint32_t>(reader.varint(UINT16_MAX, "an effect's number is too great"));
        if (wanted) into.floors[dense_id] = {version, record.address, effect};
        continue;
      }
      StretchOutcomes::Appended appended{dense_id};
      appended.ordinal =
          static_cast<uint32_t>(reader.varint(UINT16_MAX, "an ordinal is too great"));
      appended.events =
          static_cast<uint32_t>(reader.varint(UINT16_MAX, "there are too many events"));
      appended.first = reader.varint();
      if (wanted) into.appends.push_back(appended);
    }
    record.appends = into.appends.size() - record.first_append;
    if (wanted && has_streams) into.records.push_back(record);
  }
  return reader.result();
}

}  // namespace

storage::Path OutcomeLog::path_of(Address file) const {
  return directory_ / fmt::format("{:020}{}", file.value, kSuffix);
}

// ---- Opening.

Result<> OutcomeLog::open(Address from, bool none_before) {
  TAILRACE_RETURN_IF_ERROR(file_system_.make_directory(directory_));
  TAILRACE_RETURN_IF_ERROR(load_blocks());
  TAILRACE_ASSIGN_OR_RETURN(const auto names, file_system_.list(directory_));
  // One that begins with the state was begun after it.
  const bool has_files = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    const auto begin = parse_name(name);
    return begin && *begin < from;
  });
  {
    // A copy of another node's state takes the directory with it: what is there reaches the state.
    const MutexLock lock(mutex_);
    const Address end = blocks_.empty() ? Address{} : blocks_.back().range.end;
    if (has_files && end < from && !none_before)
      return doubt_ ? tl::unexpected(*doubt_) : missing_between(directory_, end, from);
  }
  if (!has_files && !none_before)
    observability::log_warning(
        "{}: what became of the transactions below address {} is not known on this node: it got a "
        "copy of the state, or history.keep was none, or the files were removed",
        directory_.string(), from.value);
  TAILRACE_RETURN_IF_ERROR(cut(from));
  MutexLock lock(mutex_);
  const Address begin = blocks_.empty() && none_before ? Address{} : from;
  pending_.range = {begin, begin};
  known_from_ = begin;
  // Back to where something is missing between two of them.
  for (auto block = blocks_.rbegin(); block != blocks_.rend(); ++block) {
    if (block->range.end < known_from_) break;
    known_from_ = block->range.first;
  }
  return {};
}

Result<> OutcomeLog::load_blocks() {
  TAILRACE_ASSIGN_OR_RETURN(const auto names, file_system_.list(directory_));
  for (const std::string& name : names)
    if (const auto address = parse_name(name)) TAILRACE_RETURN_IF_ERROR(load_file(*address));
  return {};
}

Result<> OutcomeLog::load_file(Address name) {
  if (doubt_) return tl::unexpected(*doubt_);
  const storage::Path path = path_of(name);
  TAILRACE_ASSIGN_OR_RETURN(const auto file,
                            file_system_.open(path, {storage::OpenMode::kReadOnly}));
  TAILRACE_ASSIGN_OR_RETURN(const uint64_t size, file->size());
  for (uint64_t offset = 0; offset + kHeaderBytes <= size;) {
    std::array<std::byte, kHeaderBytes> header;
    TAILRACE_ASSIGN_OR_RETURN(const size_t got, file->read_at(offset, header));
    if (got < header.size()) break;
    // Room that was made for a block which was not written.
    if (std::all_of(header.begin(), header.end(), [](std::byte b) { return b == std::byte{0}; }))
      break;
    const Block block{
        name,
        offset,
        load<uint32_t>(header.data() + 4),
        {Address{load<uint64_t>(header.data() + 8)}, Address{load<uint64_t>(header.data() + 16)}}};
    const bool is_sound =
        load<uint32_t>(header.data()) == kBlockMagic &&
        load<uint64_t>(header.data() + 24) == sum_of(ByteSpan(header).first(kSummedBytes)) &&
        offset + kHeaderBytes + block.payload_bytes <= size;
    if (!is_sound) {
      doubt_ = damaged(path, offset).value();
      break;
    }
    offset += kHeaderBytes + block.payload_bytes;
    const MutexLock lock(mutex_);
    blocks_.push_back(block);
  }
  return {};
}

/// What begins at `from` or later will be written again.
Result<> OutcomeLog::cut(Address from) {
  MutexLock lock(mutex_);
  while (!blocks_.empty() && blocks_.back().range.first >= from)
    blocks_.pop_back();
  const bool any = !blocks_.empty();
  const Block last = any ? blocks_.back() : Block{};
  lock.unlock();
  TAILRACE_ASSIGN_OR_RETURN(const auto names, file_system_.list(directory_));
  for (const std::string& name : names) {
    const auto address = parse_name(name);
    if (!address || (any && *address <= last.file)) continue;
    TAILRACE_RETURN_IF_ERROR(file_system_.remove(path_of(*address)));
  }
  TAILRACE_RETURN_IF_ERROR(file_system_.sync_directory(directory_));
  if (!any) return {};
  file_name_ = last.file;
  file_end_ = last.offset + kHeaderBytes + last.payload_bytes;
  TAILRACE_ASSIGN_OR_RETURN(file_,
                            file_system_.open(path_of(last.file), {storage::OpenMode::kReadWrite}));
  TAILRACE_RETURN_IF_ERROR(file_->truncate(file_end_));
  return file_->sync();
}

// ---- Writing.

void OutcomeLog::applied(Address to, ByteSpan entries) {
  const MutexLock lock(mutex_);
  pending_.range.end = to;
  if (entries.empty()) return;
  append_varint(pending_.payload, entries.size());
  append_bytes(pending_.payload, entries);
}

Result<> OutcomeLog::flush() {
  if (failure_) return tl::unexpected(*failure_);
  Pending pending;
  {
    const MutexLock lock(mutex_);
    if (pending_.range.empty()) return {};
    pending.range = pending_.range;
    pending.payload.swap(pending_.payload);
    pending_.range.first = pending.range.end;
  }
  const auto written = write(pending);
  const MutexLock lock(mutex_);
  if (written) {
    blocks_.push_back({file_name_, file_end_ - kHeaderBytes - pending.payload.size(),
                       static_cast<uint32_t>(pending.payload.size()), pending.range});
    return {};
  }
  if (written.error().code != ErrorCode::kResourceExhausted) failure_ = written.error();
  // As if it had not been tried.
  append_bytes(pending.payload, pending_.payload);
  pending_.payload.swap(pending.payload);
  pending_.range.first = pending.range.first;
  return written;
}

Result<> OutcomeLog::write(const Pending& pending) {
  if (pending.payload.size() > UINT32_MAX)
    return make_error(ErrorCode::kCorruption,
                      fmt::format("{}: {} bytes of outcomes are more than a block holds",
                                  directory_.string(), pending.payload.size()));
  std::vector<std::byte> bytes(kHeaderBytes);
  store(bytes.data(), kBlockMagic);
  store(bytes.data() + 4, static_cast<uint32_t>(pending.payload.size()));
  store(bytes.data() + 8, pending.range.first.value);
  store(bytes.data() + 16, pending.range.end.value);
  store(bytes.data() + 24, sum_of(ByteSpan(bytes).first(kSummedBytes)));
  store(bytes.data() + 32, sum_of(pending.payload));
  append_bytes(bytes, pending.payload);
  const auto stretch = [](Address address) { return address.value / kFileBytes; };
  const bool begins_file = !file_ || stretch(pending.range.first) != stretch(file_name_);
  std::unique_ptr<storage::File> made;
  if (begins_file) {
    TAILRACE_ASSIGN_OR_RETURN(made, file_system_.open(path_of(pending.range.first),
                                                      {storage::OpenMode::kCreateReadWrite}));
  }
  storage::File& file = begins_file ? *made : *file_;
  const uint64_t at = begins_file ? 0 : file_end_;
  TAILRACE_RETURN_IF_ERROR(file.allocate(at + bytes.size()));
  const auto final = [](Result<> result) -> Result<> {
    if (!result && result.error().code == ErrorCode::kResourceExhausted)
      return make_error(ErrorCode::kIo, result.error().message);
    return result;
  };
  TAILRACE_RETURN_IF_ERROR(final(file.write_at(at, bytes)));
  TAILRACE_RETURN_IF_ERROR(final(file.sync()));
  if (begins_file) {
    TAILRACE_RETURN_IF_ERROR(final(file_system_.sync_directory(directory_)));
    file_ = std::move(made);
    file_name_ = pending.range.first;
  }
  file_end_ = at + bytes.size();
  return {};
}

// ---- Reading.

Address OutcomeLog::known_from() const {
  const MutexLock lock(mutex_);
  return known_from_;
}

Result<StretchOutcomes> OutcomeLog::read(AddressRange range) const {
  std::vector<std::pair<Block, AddressRange>> parts;
  Address covered = range.first;
  {
    const MutexLock lock(mutex_);
    for (size_t i = 0; i < blocks_.size() && covered < range.end; ++i) {
      AddressRange own = blocks_[i].range;
      if (i + 1 < blocks_.size()) own.end = std::min(own.end, blocks_[i + 1].range.first);
      if (own.end <= covered || own.first > covered) continue;
      const AddressRange part{covered, std::min(own.end, range.end)};
      parts.emplace_back(blocks_[i], part);
      covered = part.end;
    }
  }
  if (covered < range.end)
    return make_error(
        ErrorCode::kNotFound,
        fmt::format("{}: what became of the transactions at address {} and behind is not known",
                    directory_.string(), covered.value));
  StretchOutcomes outcomes;
  for (const auto& [block, part] : parts)
    TAILRACE_RETURN_IF_ERROR(read_block(block, part, outcomes));
  return outcomes;
}

Result<> OutcomeLog::read_block(const Block& block, AddressRange range,
                                StretchOutcomes& into) const {
  const storage::Path path = path_of(block.file);
  TAILRACE_ASSIGN_OR_RETURN(const auto file,
                            file_system_.open(path, {storage::OpenMode::kReadOnly}));
  std::vector<std::byte> bytes(kHeaderBytes + block.payload_bytes);
  TAILRACE_ASSIGN_OR_RETURN(const size_t got, file->read_at(block.offset, bytes));
  const ByteSpan header = ByteSpan(bytes).first(kHeaderBytes),
                 payload = ByteSpan(bytes).subspan(kHeaderBytes);
  if (got < bytes.size() || load<uint64_t>(header.data() + 32) != sum_of(payload))
    return damaged(path, block.offset);
  PackedReader reader(payload);
  while (reader.is_sound() && !reader.at_end())
    if (!read_chunk(reader.bytes(reader.varint()), range, into))
      reader.damaged("a chunk does not parse");
  if (!reader.is_sound()) return damaged(path, block.offset);
  return {};
}

Result<> OutcomeLog::release(Address below) {
  std::vector<Address> files;
  {
    const MutexLock lock(mutex_);
    // A file goes whole, and the last one stays: it is written to.
    size_t gone = 0;
    for (size_t i = 0; i + 1 < blocks_.size() && blocks_[i].range.end <= below; ++i) {
      if (blocks_[i].file == blocks_[i + 1].file) continue;
      files.push_back(blocks_[i].file);
      gone = i + 1;
    }
    blocks_.erase(blocks_.begin(), blocks_.begin() + static_cast<ptrdiff_t>(gone));
    if (gone > 0) known_from_ = std::max(known_from_, blocks_.front().range.first);
  }
  for (const Address file : files)
    TAILRACE_RETURN_IF_ERROR(file_system_.remove(path_of(file)));
  if (files.empty()) return {};
  return file_system_.sync_directory(directory_);
}

uint64_t OutcomeLog::bytes_on_disk() const {
  const MutexLock lock(mutex_);
  uint64_t bytes = 0;
  for (const Block& block : blocks_)
    bytes += kHeaderBytes + block.payload_bytes;
  return bytes;
}

}  // namespace tailrace::statemachine
