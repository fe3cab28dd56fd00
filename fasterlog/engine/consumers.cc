#include "fasterlog/engine/consumers.h"

#include <algorithm>

#include "fasterlog/format/record.h"
#include "storage/atomic_file.h"

namespace tailrace::fasterlog {

namespace {

constexpr storage::AtomicFileFormat kFormat{storage::four_letters("FCON"), 1};
constexpr size_t kHeaderBytesOfFile = 8;
constexpr size_t kEntryBytes = 24;
constexpr size_t kMostNameBytes = 255;

template <typename T>
void append(std::vector<std::byte>& to, T value) {
  to.resize(to.size() + sizeof value);
  store(to.data() + to.size() - sizeof value, value);
}

}  // namespace

Result<> ConsumerTable::load() {
  const storage::Path path = directory_ / kConsumersName;
  auto content = storage::read_atomic_file(file_system_, path, kFormat);
  if (!content && content.error().code == ErrorCode::kNotFound) return {};
  if (!content) return tl::unexpected(std::move(content).error());
  const auto wrong = [&](const std::string& what) {
    return make_error(ErrorCode::kCorruption,
                      path.string() + ": " + what +
                          "; remove the file to forget all consumers, or restore it from a copy");
  };
  const std::vector<std::byte>& bytes = content->bytes;
  if (bytes.size() < kHeaderBytesOfFile) return wrong("shorter than its header");
  // As unknown flags: whoever set it meant something.
  if (tailrace::load<uint32_t>(bytes.data() + 4) != 0)
    return wrong("its bytes 4 to 7 are not zero");
  Entries entries;
  size_t at = kHeaderBytesOfFile;
  for (auto left = tailrace::load<uint32_t>(bytes.data()); left > 0; --left) {
    if (bytes.size() - at < kEntryBytes) return wrong("it ends in the middle of an entry");
    Entry entry;
    entry.position = Address{tailrace::load<uint64_t>(bytes.data() + at)};
    entry.most_pinned_bytes = tailrace::load<uint64_t>(bytes.data() + at + 8);
    const uint32_t name_bytes = tailrace::load<uint32_t>(bytes.data() + at + 16);
    if (tailrace::load<uint32_t>(bytes.data() + at + 20) != 0)
      return wrong("bytes of an entry that have to be zero are not");
    at += kEntryBytes;
    if (name_bytes == 0 || name_bytes > kMostNameBytes || bytes.size() - at < name_bytes)
      return wrong("impossible length of a name");
    if (entry.position < kFirstAddress || entry.position.value % kRecordAlignment != 0)
      return wrong("impossible position");
    std::string name = to_string(ByteSpan(bytes).subspan(at, name_bytes));
    if (!entries.empty() && name <= entries.rbegin()->first) return wrong("names out of order");
    entries.emplace(std::move(name), entry);
    at += name_bytes;
  }
  if (at != bytes.size()) return wrong("bytes behind its last entry");
  const MutexLock lock(mutex_);
  entries_ = std::move(entries);
  return {};
}

Result<> ConsumerTable::replace(Entries next) {
  std::vector<std::byte> bytes;
  append<uint32_t>(bytes, static_cast<uint32_t>(next.size()));
  append<uint32_t>(bytes, 0);
  for (const auto& [name, entry] : next) {
    append<uint64_t>(bytes, entry.position.value);
    append<uint64_t>(bytes, entry.most_pinned_bytes);
    append<uint32_t>(bytes, static_cast<uint32_t>(name.size()));
    append<uint32_t>(bytes, 0);
    const ByteSpan text = as_bytes(name);
    bytes.insert(bytes.end(), text.begin(), text.end());
  }
  // The file may be the new one although the last step failed.
  unsure_ = true;
  TAILRACE_RETURN_IF_ERROR(
      storage::replace_reserved_file(file_system_, directory_ / kConsumersName, kFormat, bytes));
  unsure_ = false;
  entries_ = std::move(next);
  return {};
}

Result<> ConsumerTable::reserve() const {
  const MutexLock lock(mutex_);
  if (entries_.empty()) return {};
  size_t bytes = kHeaderBytesOfFile;
  for (const auto& [name, entry] : entries_)
    bytes += kEntryBytes + name.size();
  TAILRACE_RETURN_IF_ERROR(
      storage::reserve_atomic_file(file_system_, directory_ / kConsumersName, bytes));
  return {};
}

Result<Address> ConsumerTable::open(const std::string& name, Address fresh_position,
                                    uint64_t most_pinned_bytes) {
  if (name.empty() || name.size() > kMostNameBytes)
    return make_error(ErrorCode::kInvalidArgument, "a consumer's name has 1 to 255 bytes");
  const MutexLock lock(mutex_);
  Entries next = entries_;
  auto [found, fresh] = next.try_emplace(name, Entry{fresh_position, most_pinned_bytes, false});
  if (found->second.open)
    return make_error(ErrorCode::kAlreadyExists, "consumer '" + name + "' is open already");
  found->second.open = true;
  const Address position = found->second.position;
  // One that a failed remove() may have taken from the file is put there again.
  if (fresh || unsure_) {
    TAILRACE_RETURN_IF_ERROR(replace(std::move(next)));
  } else {
    entries_ = std::move(next);
  }
  return position;
}

void ConsumerTable::close(const std::string& name) {
  const MutexLock lock(mutex_);
  if (const auto found = entries_.find(name); found != entries_.end()) found->second.open = false;
}

Result<> ConsumerTable::acknowledge(const std::string& name, Address position,
                                    const std::function<Result<>()>& allowed) {
  const MutexLock lock(mutex_);
  TAILRACE_RETURN_IF_ERROR(allowed());
  Entries next = entries_;
  if (position <= next[name].position) return {};
  next[name].position = position;
  return replace(std::move(next));
}

Address ConsumerTable::position(const std::string& name) const {
  const MutexLock lock(mutex_);
  const auto found = entries_.find(name);
  return found == entries_.end() ? Address{} : found->second.position;
}

Result<> ConsumerTable::remove(const std::string& name) {
  const MutexLock lock(mutex_);
  Entries next = entries_;
  const auto found = next.find(name);
  if (found == next.end())
    return make_error(ErrorCode::kNotFound, "no consumer is named '" + name + "'");
  if (found->second.open)
    return make_error(ErrorCode::kFailedPrecondition,
                      "consumer '" + name + "' is open; close it first");
  next.erase(found);
  return replace(std::move(next));
}

Result<> ConsumerTable::cut_at(Address end) {
  const MutexLock lock(mutex_);
  Entries next = entries_;
  bool changed = false;
  for (auto& [name, entry] : next) {
    changed = changed || entry.position > end;
    entry.position = std::min(entry.position, end);
  }
  return changed ? replace(std::move(next)) : Result<>();
}

Address ConsumerTable::limit(Address durable) const {
  const MutexLock lock(mutex_);
  Address least = Address::max();
  for (const auto& [name, entry] : entries_) {
    if (entry.pins(durable)) least = std::min(least, entry.position);
  }
  return least;
}

std::vector<ConsumerStatus> ConsumerTable::all(Address durable) const {
  const MutexLock lock(mutex_);
  std::vector<ConsumerStatus> result;
  for (const auto& [name, entry] : entries_)
    result.push_back({name, entry.position, entry.most_pinned_bytes, entry.pins(durable)});
  return result;
}

}  // namespace tailrace::fasterlog
