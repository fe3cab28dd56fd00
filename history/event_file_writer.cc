#include "history/event_file_writer.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "history/format/block.h"
#include "history/format/content_hash.h"
#include "history/format/entries.h"
#include "history/format/file_name.h"
#include "history/format/floors.h"
#include "history/format/index.h"
#include "history/format/layout.h"
#include "storage/aligned_buffer.h"
#include "storage/crc32c.h"

namespace tailrace::history {

namespace {

constexpr size_t kPieceBytes = 1u << 20;
/// What a floor costs in memory beside its name, about.
constexpr uint64_t kFloorBytes = 48;

storage::Path temporary_of(const storage::Path& directory, Address from, uint32_t revision) {
  return directory / fmt::format("{:016x}.{:08x}{}", from.value, revision, kTemporarySuffix);
}

}  // namespace

class EventFileWriter::Impl {
 public:
  Impl(storage::FileSystem& file_system, storage::Path directory, Address from,
       EventFileOptions options);
  ~Impl();

  Result<> open();
  Result<> add(const EventEntry& entry);
  Result<> add_floor(const StreamFloor& floor);
  bool is_full() const;
  uint32_t events() const { return index_.entries(); }
  Result<EventFileInfo> finish(Address to, Epoch epoch);

 private:
  Result<> add_to_blocks(const EventEntry& entry);
  Result<> end_block();
  Result<> write_index();
  Result<> write_floors();
  Result<> write_block_of_floors(std::vector<std::byte>& block);
  Result<> write_directories();
  Result<EventFileInfo> write_all(Address to, Epoch epoch);
  Result<> write_foot(Address to, Epoch epoch);
  Result<> publish(const storage::Path& path);
  /// The block's head.
  Result<BlockHead> write_block(BlockKind kind, ByteSpan raw);
  Result<> write(ByteSpan bytes);
  Result<> flush();
  uint64_t written() const { return piece_at_ + filled_; }
  template <typename Value>
  Result<Value> final(Result<Value> result);

  storage::FileSystem& file_system_;
  const storage::Path directory_, temporary_;
  const EventFileOptions options_;
  FileHead head_;
  FileFoot foot_{};
  std::unique_ptr<storage::File> file_;
  storage::AlignedBuffer piece_;
  uint64_t piece_at_ = 0;  // its place in the file
  size_t filled_ = 0;      // of it
  BlockSealer sealer_;
  ContentHash hash_;
  EntryEncoder block_;
  IndexBuilder index_;
  std::vector<std::pair<std::string, uint64_t>> floors_;
  uint64_t floor_bytes_ = 0;
  std::vector<std::byte> stored_, blocks_directory_, leaves_directory_;
  bool is_durable_ = false;
  std::optional<Error> failure_;
};

EventFileWriter::Impl::Impl(storage::FileSystem& file_system, storage::Path directory, Address from,
                            EventFileOptions options)
    : file_system_(file_system),
      directory_(std::move(directory)),
      temporary_(temporary_of(directory_, from, options.revision)),
      options_(options),
      head_{kHeadMagic,         0,          kEventFileVersion,
            options.revision,   from.value, options.cluster.high,
            options.cluster.low},
      sealer_(options.compression, options.level) {
  foot_.from = from.value;
}

EventFileWriter::Impl::~Impl() {
  if (is_durable_ || !file_) return;
  file_.reset();
  // Only room is at stake: what stays is removed when the catalogue is opened.
  (void)file_system_.remove(temporary_);
}

Result<> EventFileWriter::Impl::open() {
  TAILRACE_ASSIGN_OR_RETURN(piece_, storage::AlignedBuffer::allocate(kPieceBytes));
  TAILRACE_ASSIGN_OR_RETURN(
      file_, file_system_.open(temporary_, {storage::OpenMode::kCreateReadWrite, true}));
  TAILRACE_RETURN_IF_ERROR(file_->truncate(0));
  head_.crc = crc32c(std::as_bytes(std::span(&head_, 1)).subspan(offsetof(FileHead, version)));
  return write(std::as_bytes(std::span(&head_, 1)));
}

template <typename Value>
Result<Value> EventFileWriter::Impl::final(Result<Value> result) {
  if (!result && !failure_) failure_ = result.error();
  return result;
}

bool EventFileWriter::Impl::is_full() const {
  return index_.bytes() + floor_bytes_ >= kMostIndexBytes || index_.entries() >= kMostEntries / 2 ||
         blocks_directory_.size() >= kMostDirectoryBytes / 2;
}

Result<> EventFileWriter::Impl::add(const EventEntry& entry) {
  if (failure_) return tl::unexpected(*failure_);
  return final(add_to_blocks(entry));
}

Result<> EventFileWriter::Impl::add_to_blocks(const EventEntry& entry) {
  TAILRACE_RETURN_IF_ERROR(check_entry(entry));
  const bool is_first = index_.entries() == 0;
  if (entry.record_address.value < foot_.from ||
      (!is_first && entry.position.value <= foot_.last_position))
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("an event at {}, of the record at {}, is not behind {}; the file "
                                  "begins at {}",
                                  entry.position.value, entry.record_address.value,
                                  foot_.last_position, foot_.from));
  if (index_.entries() == kMostEntries)
    return make_error(ErrorCode::kResourceExhausted,
                      fmt::format("an event file has {} events at most", kMostEntries));
  TAILRACE_RETURN_IF_ERROR(index_.add(entry));
  if (!block_.add(entry, kBlockOfEntriesBytes)) {
    TAILRACE_RETURN_IF_ERROR(end_block());
    (void)block_.add(entry, kBlockOfEntriesBytes);
  }
  if (is_first) foot_.first_position = entry.position.value;
  foot_.last_position = entry.position.value;
  foot_.least_time_ns = is_first ? entry.time_ns : std::min(foot_.least_time_ns, entry.time_ns);
  foot_.greatest_time_ns = std::max(foot_.greatest_time_ns, entry.time_ns);
  return {};
}

Result<> EventFileWriter::Impl::add_floor(const StreamFloor& floor) {
  if (failure_) return tl::unexpected(*failure_);
  TAILRACE_RETURN_IF_ERROR(final(check_floor(floor)));
  floors_.emplace_back(floor.stream, floor.version);
  floor_bytes_ += kFloorBytes + floor.stream.size();
  return {};
}

Result<> EventFileWriter::Impl::end_block() {
  if (block_.entries() == 0) return {};
  TAILRACE_ASSIGN_OR_RETURN(const BlockHead head, write_block(BlockKind::kEntries, block_.bytes()));
  hash_.add(block_.bytes());
  const BlockRow row{block_.first_position().value, block_.entries(), head.stored_bytes,
                     head.raw_bytes, 0};
  const ByteSpan bytes = std::as_bytes(std::span(&row, 1));
  blocks_directory_.insert(blocks_directory_.end(), bytes.begin(), bytes.end());
  ++foot_.blocks;
  foot_.entry_bytes += head.raw_bytes;
  block_.clear();
  return {};
}

Result<> EventFileWriter::Impl::write_index() {
  foot_.leaves_at = written();
  return index_.write([this](const IndexKey& first, ByteSpan leaf) -> Result<> {
    TAILRACE_ASSIGN_OR_RETURN(const BlockHead head, write_block(BlockKind::kLeaf, leaf));
    append_leaf_row(first, head, leaves_directory_);
    ++foot_.leaves;
    return {};
  });
}

Result<> EventFileWriter::Impl::write_floors() {
  foot_.floors_at = written();
  std::sort(floors_.begin(), floors_.end());
  std::vector<std::byte> block;
  for (size_t i = 0; i < floors_.size(); ++i) {
    const auto& [stream, version] = floors_[i];
    // The greatest one of a stream comes last.
    if (i + 1 < floors_.size() && floors_[i + 1].first == stream) continue;
    if (!append_floor({stream, version}, kBlockOfFloorsBytes, block)) {
      TAILRACE_RETURN_IF_ERROR(write_block_of_floors(block));
      (void)append_floor({stream, version}, kBlockOfFloorsBytes, block);
    }
    ++foot_.floors;
  }
  return block.empty() ? Result<>{} : write_block_of_floors(block);
}

Result<> EventFileWriter::Impl::write_block_of_floors(std::vector<std::byte>& block) {
  hash_.add(block);
  TAILRACE_RETURN_IF_ERROR(write_block(BlockKind::kFloors, block).map([](auto&&) {}));
  block.clear();
  return {};
}

Result<> EventFileWriter::Impl::write_directories() {
  const size_t longest = std::max(blocks_directory_.size(), leaves_directory_.size());
  if (longest > kMostDirectoryBytes - sizeof(BlockHead))
    return make_error(ErrorCode::kResourceExhausted,
                      fmt::format("{}: a directory of {} bytes is above {}; give the file a "
                                  "shorter range",
                                  temporary_.string(), longest, kMostDirectoryBytes));
  foot_.blocks_directory_at = written();
  TAILRACE_RETURN_IF_ERROR(
      write_block(BlockKind::kBlockRows, blocks_directory_).map([](auto&&) {}));
  foot_.leaves_directory_at = written();
  return write_block(BlockKind::kLeafRows, leaves_directory_).map([](auto&&) {});
}

Result<> EventFileWriter::Impl::write_foot(Address to, Epoch epoch) {
  foot_.magic = kFootMagic;
  foot_.version = kEventFileVersion;
  foot_.revision = options_.revision;
  foot_.to = to.value;
  foot_.epoch = epoch.value;
  foot_.entries = index_.entries();
  const ContentDigest digest = hash_.digest(
      {{Address{foot_.from}, to}, epoch, options_.revision, foot_.entries, foot_.floors});
  foot_.digest_high = digest.high;
  foot_.digest_low = digest.low;
  const ByteSpan foot = std::as_bytes(std::span(&foot_, 1));
  foot_.crc = crc32c(std::as_bytes(std::span(&head_, 1)),
                     crc32c(foot.subspan(offsetof(FileFoot, version))));
  return write(foot);
}

Result<EventFileInfo> EventFileWriter::Impl::write_all(Address to, Epoch epoch) {
  TAILRACE_RETURN_IF_ERROR(end_block());
  TAILRACE_RETURN_IF_ERROR(write_index());
  TAILRACE_RETURN_IF_ERROR(write_floors());
  TAILRACE_RETURN_IF_ERROR(write_directories());
  TAILRACE_RETURN_IF_ERROR(write_foot(to, epoch));
  const EventFileInfo info{{Address{foot_.from}, to},
                           options_.revision,
                           {foot_.digest_high, foot_.digest_low},
                           written()};
  TAILRACE_RETURN_IF_ERROR(flush());
  TAILRACE_RETURN_IF_ERROR(file_->truncate(info.bytes));
  TAILRACE_RETURN_IF_ERROR(file_->sync());
  TAILRACE_RETURN_IF_ERROR(publish(directory_ / name_of(info)));
  return info;
}

Result<EventFileInfo> EventFileWriter::Impl::finish(Address to, Epoch epoch) {
  if (failure_) return tl::unexpected(*failure_);
  const uint64_t behind = index_.entries() > 0 ? foot_.last_position : foot_.from;
  if (to.value <= behind)
    return final(Result<EventFileInfo>(make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("an event file cannot end at {}: it reaches {}", to.value, behind))));
  return final(write_all(to, epoch));
}

Result<> EventFileWriter::Impl::publish(const storage::Path& path) {
  TAILRACE_RETURN_IF_ERROR(file_system_.rename(temporary_, path));
  if (auto synced = file_system_.sync_directory(directory_); !synced) {
    // Nobody knows whether the name is on the device: so it is to be on none.
    (void)file_system_.remove(path);
    return synced;
  }
  is_durable_ = true;
  file_.reset();
  return {};
}

Result<BlockHead> EventFileWriter::Impl::write_block(BlockKind kind, ByteSpan raw) {
  stored_.clear();
  TAILRACE_ASSIGN_OR_RETURN(const BlockHead head, sealer_.seal(kind, raw, stored_));
  TAILRACE_RETURN_IF_ERROR(write(stored_));
  return head;
}

Result<> EventFileWriter::Impl::write(ByteSpan bytes) {
  while (!bytes.empty()) {
    const size_t part = std::min(bytes.size(), kPieceBytes - filled_);
    std::memcpy(piece_.data() + filled_, bytes.data(), part);
    filled_ += part;
    bytes = bytes.subspan(part);
    if (filled_ == kPieceBytes) TAILRACE_RETURN_IF_ERROR(flush());
  }
  return {};
}

/// Whole blocks: the rest of the last one is cut off at the end.
Result<> EventFileWriter::Impl::flush() {
  if (filled_ == 0) return {};
  const size_t whole = align_up(filled_, storage::kBlockBytes);
  std::memset(piece_.data() + filled_, 0, whole - filled_);
  TAILRACE_RETURN_IF_ERROR(file_->write_at(piece_at_, ByteSpan(piece_.span()).first(whole)));
  piece_at_ += filled_;
  filled_ = 0;
  return {};
}

EventFileWriter::EventFileWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
EventFileWriter::~EventFileWriter() = default;

Result<std::unique_ptr<EventFileWriter>> EventFileWriter::create(storage::FileSystem& file_system,
                                                                 const storage::Path& directory,
                                                                 Address from,
                                                                 EventFileOptions options) {
  auto impl = std::make_unique<Impl>(file_system, directory, from, options);
  TAILRACE_RETURN_IF_ERROR(impl->open());
  return std::unique_ptr<EventFileWriter>(new EventFileWriter(std::move(impl)));
}

Result<> EventFileWriter::add(const EventEntry& entry) {
  return impl_->add(entry);
}

Result<> EventFileWriter::add_floor(const StreamFloor& floor) {
  return impl_->add_floor(floor);
}

bool EventFileWriter::is_full() const {
  return impl_->is_full();
}

uint32_t EventFileWriter::events() const {
  return impl_->events();
}

Result<EventFileInfo> EventFileWriter::finish(Address to, Epoch epoch) {
  return impl_->finish(to, epoch);
}

}  // namespace tailrace::history
