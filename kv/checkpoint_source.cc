#include "kv/checkpoint_source.h"

#include <algorithm>
#include <cstring>
#include <memory>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "kv/checkpoint/copy_layout.h"
#include "kv/log/segments.h"
#include "kv/store_impl.h"
#include "storage/aligned_buffer.h"

namespace tailrace::kv {

namespace {

constexpr uint64_t kReadPieceBytes = 8u << 20;

Result<std::vector<std::byte>> whole_file(storage::FileSystem& file_system,
                                          const storage::Path& path) {
  TAILRACE_ASSIGN_OR_RETURN(const auto file, file_system.open(path, {}));
  TAILRACE_ASSIGN_OR_RETURN(const auto size, file->size());
  std::vector<std::byte> bytes(size);
  TAILRACE_ASSIGN_OR_RETURN(const auto got, file->read_at(0, bytes));
  bytes.resize(got);
  return bytes;
}

class SourceImpl final : public CheckpointSource {
 public:
  /// Its end calls `done`.
  SourceImpl(const Manifest& manifest, std::function<void()> done)
      : info_(manifest.info), layout_(manifest), done_(std::move(done)) {}
  ~SourceImpl() override { done_(); }

  Result<> open(storage::FileSystem& file_system, const CheckpointDirectory& directory,
                const storage::Path& store_directory, const LogSegments& segments) {
    // Read here, so that the files are those of the MANIFEST whose bytes are given.
    TAILRACE_ASSIGN_OR_RETURN(manifest_,
                              whole_file(file_system, directory.manifest_path(info_.token)));
    TAILRACE_RETURN_IF_ERROR(directory.manifest(info_.token));
    for (const CopyLayout::Part& part : layout_.parts()) {
      std::shared_ptr<storage::File> file;
      if (part.segment) {
        file = segments.file_of(*part.segment);
        if (file == nullptr) {
          return make_error(ErrorCode::kCorruption,
                            segments.path_of(*part.segment).string() + " is missing");
        }
      } else {
        TAILRACE_ASSIGN_OR_RETURN(file,
                                  file_system.open(store_directory / part.name, {.direct = true}));
      }
      handles_.push_back(std::move(file));
      add(part.name, part.bytes);
    }
    add(layout_.manifest_name(), manifest_.size());
    std::string text;
    for (const File& file : files_)
      text.append(file.name).append(1, '\0').append(std::to_string(file.bytes)).append(1, '\0');
    text.append(reinterpret_cast<const char*>(manifest_.data()), manifest_.size());
    fingerprint_ = XXH3_64bits(text.data(), text.size());
    return {};
  }

  const CheckpointInfo& info() const override { return info_; }
  const std::vector<File>& files() const override { return files_; }
  uint64_t bytes() const override { return bytes_; }
  uint64_t fingerprint() const override { return fingerprint_; }

  Result<> read(uint64_t offset, std::span<std::byte> into) const override {
    if (offset > bytes_ || into.size() > bytes_ - offset) {
      return make_error(ErrorCode::kInvalidArgument,
                        std::to_string(into.size()) + " bytes from " + std::to_string(offset) +
                            " on are wanted of a checkpoint's copy of " + std::to_string(bytes_));
    }
    auto next = std::upper_bound(starts_.begin(), starts_.end(), offset) - starts_.begin();
    for (auto file = static_cast<size_t>(next) - 1; !into.empty(); ++file) {
      const uint64_t at = offset - starts_[file];
      const size_t here = std::min<uint64_t>(into.size(), files_[file].bytes - at);
      TAILRACE_RETURN_IF_ERROR(read_file(file, at, into.first(here)));
      offset += here;
      into = into.subspan(here);
    }
    return {};
  }

 private:
  void add(const std::string& name, uint64_t bytes) {
    files_.push_back({name, bytes});
    starts_.push_back(bytes_);
    bytes_ += bytes;
  }

  Result<> read_file(size_t file, uint64_t at, MutableByteSpan into) const {
    if (file == handles_.size()) {
      std::copy_n(manifest_.begin() + static_cast<ptrdiff_t>(at), into.size(), into.begin());
      return {};
    }
    // The files are read past the page cache, which wants whole blocks.
    if (at % storage::kBlockBytes == 0 &&
        reinterpret_cast<uintptr_t>(into.data()) % storage::kBlockBytes == 0) {
      const size_t whole = align_down(into.size(), storage::kBlockBytes);
      if (whole > 0) TAILRACE_RETURN_IF_ERROR(read_blocks(file, at, into.first(whole)));
      at += whole;
      into = into.subspan(whole);
    }
    if (into.empty()) return {};
    const uint64_t end = align_up(at + into.size(), storage::kBlockBytes);
    const uint64_t first = align_down(at, storage::kBlockBytes);
    TAILRACE_ASSIGN_OR_RETURN(
        auto memory, storage::AlignedBuffer::allocate(std::min(end - first, kReadPieceBytes)));
    for (uint64_t from = first; from < end;) {
      const MutableByteSpan piece =
          memory.span().first(std::min<uint64_t>(end - from, memory.size()));
      TAILRACE_RETURN_IF_ERROR(read_blocks(file, from, piece));
      const uint64_t skipped = from < at ? at - from : 0;
      const size_t here = std::min<uint64_t>(piece.size() - skipped, into.size());
      std::memcpy(into.data(), piece.data() + skipped, here);
      into = into.subspan(here);
      from += piece.size();
    }
    return {};
  }

  Result<> read_blocks(size_t number, uint64_t at, MutableByteSpan blocks) const {
    const auto& segment = layout_.parts()[number].segment;
    if (!segment) return read_disk(number, at, blocks);
    // A file of the log: only what counts of it is read.
    const LogAddress address = *segment + at;
    const LogAddress end = address + blocks.size();
    const LogAddress from = std::clamp(layout_.data_from(), address, end);
    const LogAddress until = std::clamp(layout_.data_until(), from, end);
    if (from < until) {
      TAILRACE_RETURN_IF_ERROR(
          read_disk(number, from - *segment, blocks.subspan(from - address, until - from)));
    }
    layout_.blank(address, blocks);
    return {};
  }

  Result<> read_disk(size_t number, uint64_t at, MutableByteSpan blocks) const {
    TAILRACE_ASSIGN_OR_RETURN(const auto got, handles_[number]->read_at(at, blocks));
    if (got == blocks.size()) return {};
    return make_error(ErrorCode::kCorruption, handles_[number]->path().string() + ", offset " +
                                                  std::to_string(at + got) +
                                                  ": the file ends where the checkpoint goes on");
  }

  const CheckpointInfo info_;
  const CopyLayout layout_;
  const std::function<void()> done_;
  std::vector<std::byte> manifest_;
  std::vector<std::shared_ptr<storage::File>> handles_;  // of all files but the MANIFEST
  std::vector<File> files_;
  std::vector<uint64_t> starts_;  // of each file in the whole
  uint64_t bytes_ = 0;
  uint64_t fingerprint_ = 0;
};

}  // namespace

Result<std::unique_ptr<CheckpointSource>> StoreImpl::open_checkpoint_source(
    std::optional<uint64_t> token) {
  TAILRACE_ASSIGN_OR_RETURN(auto manifest, checkpoints_->start_reading(token));
  const auto done = [this, reading = manifest.token()] { checkpoints_->done_reading(reading); };
  const bool is_index = manifest.info.kind == CheckpointKind::kIndexOnly;
  if (is_index || manifest.format == 1) {
    done();
    const std::string name = "checkpoint " + std::to_string(manifest.token());
    if (is_index) {
      return make_error(ErrorCode::kNotFound, name + " is an index image only, not a state");
    }
    return make_error(ErrorCode::kUnsupported,
                      name + " is of format version 1, which cannot be copied; take a new one");
  }
  auto source = std::make_unique<SourceImpl>(manifest, done);
  if (auto opened =
          source->open(file_system_, directory_, options_.directory, engine_->log().segments());
      !opened) {
    // It was there a moment ago, and nothing of it may go.
    if (opened.error().code == ErrorCode::kNotFound) opened.error().code = ErrorCode::kCorruption;
    return tl::unexpected(std::move(opened.error()));
  }
  return source;
}

}  // namespace tailrace::kv
