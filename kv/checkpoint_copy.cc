// The receiver's end of a checkpoint's copy.

#include <algorithm>
#include <cstring>

#include "kv/checkpoint/check.h"
#include "kv/checkpoint/copy_layout.h"
#include "kv/checkpoint/loader.h"
#include "kv/checkpoint/manifest_fields.h"
#include "kv/checkpoint_source.h"
#include "kv/log/format.h"
#include "kv/log/segments.h"
#include "storage/aligned_buffer.h"

namespace tailrace::kv {

namespace {

constexpr uint64_t kCheckPieceBytes = 1u << 20;

tl::unexpected<Error> no_copy(const storage::Path& path, const std::string& what) {
  return make_error(ErrorCode::kFailedPrecondition,
                    path.string() + " is no copy of a checkpoint: " + what);
}

/// The only MANIFEST there.
Result<Manifest> find_manifest(const CheckpointDirectory& directory, const storage::Path& path) {
  TAILRACE_ASSIGN_OR_RETURN(const auto tokens, directory.tokens());
  std::optional<Manifest> found;
  for (const uint64_t token : tokens) {
    auto manifest = directory.manifest(token);
    if (!manifest) {
      if (manifest.error().code == ErrorCode::kNotFound) continue;
      return tl::unexpected(std::move(manifest.error()));
    }
    if (found) {
      return no_copy(path, "it has the MANIFESTs of " + std::to_string(found->token()) + " and " +
                               std::to_string(token));
    }
    found = std::move(*manifest);
  }
  if (!found) return make_error(ErrorCode::kNotFound, path.string() + " holds no checkpoint");
  if (found->format == 1) {
    return make_error(ErrorCode::kUnsupported,
                      directory.manifest_path(found->token()).string() +
                          " is of format version 1, of which there are no copies");
  }
  if (found->info.kind == CheckpointKind::kIndexOnly) {
    return no_copy(path, "checkpoint " + std::to_string(found->token()) +
                             " is an index image only, not a state");
  }
  return std::move(*found);
}

class CopyCheck {
 public:
  CopyCheck(storage::FileSystem& file_system, const StoreOptions& options,
            const CheckpointDirectory& directory, const Manifest& manifest)
      : file_system_(file_system),
        root_(options.directory),
        directory_(directory),
        manifest_(manifest),
        layout_(manifest),
        segments_(file_system, log_options(options).directory, options.segment_bytes) {}

  Result<> run() {
    TAILRACE_RETURN_IF_ERROR(check_names());
    for (const CopyLayout::Part& part : layout_.parts())
      TAILRACE_RETURN_IF_ERROR(check_size(part));
    const bool has_log = !layout_.parts().empty() && layout_.parts().front().segment;
    if (has_log) {
      TAILRACE_RETURN_IF_ERROR(segments_.open_existing(manifest_.info.begin, false));
    }
    LogVerifier::Sink sink;
    sink.header = [&](uint64_t page, ByteSpan header) {
      const LogAddress address = page * manifest_.page_bytes;
      if (!odd_header_ && !is_blank(address, header)) odd_header_ = address;
    };
    TAILRACE_RETURN_IF_ERROR(check_contents(directory_, manifest_, segments_, sink));
    if (odd_header_) return left_over(*odd_header_);
    return has_log ? check_zeros() : Result<>{};
  }

 private:
  /// Whatever else opening would look at.
  Result<> check_names() const {
    TAILRACE_ASSIGN_OR_RETURN(const auto tokens, directory_.tokens());
    for (const uint64_t token : tokens) {
      if (!std::binary_search(layout_.tokens().begin(), layout_.tokens().end(), token)) {
        return no_copy(root_, directory_.path_of(token).string() + " does not belong to it");
      }
    }
    const auto names = file_system_.list(root_ / "log");
    if (!names && names.error().code == ErrorCode::kNotFound) return {};
    if (!names) return tl::unexpected(names.error());
    for (const std::string& name : *names) {
      if (!parse_segment_file_name(name)) continue;
      const auto belongs = [&](const CopyLayout::Part& part) { return part.name == "log/" + name; };
      if (std::none_of(layout_.parts().begin(), layout_.parts().end(), belongs)) {
        return no_copy(root_, (root_ / "log" / name).string() + " does not belong to it");
      }
    }
    return {};
  }

  Result<> check_size(const CopyLayout::Part& part) const {
    const storage::Path path = root_ / part.name;
    TAILRACE_ASSIGN_OR_RETURN(const auto file, file_system_.open(path, {}));
    TAILRACE_ASSIGN_OR_RETURN(const auto size, file->size());
    if (size == part.bytes) return {};
    return damaged(
        path, std::min(size, part.bytes),
        "the file has " + std::to_string(size) + " bytes, not " + std::to_string(part.bytes));
  }

  /// What no checksum covers: before the log's first block, and from where it ends.
  Result<> check_zeros() {
    const CopyLayout::Part& first = layout_.parts().front();
    auto last = layout_.parts().begin();
    for (auto part = last; part != layout_.parts().end() && part->segment; ++part)
      last = part;
    TAILRACE_RETURN_IF_ERROR(check_zeros_of(*first.segment, layout_.first_block()));
    return check_zeros_of(layout_.data_until(), *last->segment + last->bytes);
  }

  Result<> check_zeros_of(LogAddress from, LogAddress until) {
    TAILRACE_ASSIGN_OR_RETURN(auto memory, storage::AlignedBuffer::allocate(kCheckPieceBytes));
    while (from < until) {
      const LogAddress segment_end =
          align_down(from, manifest_.segment_bytes) + manifest_.segment_bytes;
      const MutableByteSpan piece =
          memory.span().first(std::min({kCheckPieceBytes, until - from, segment_end - from}));
      TAILRACE_ASSIGN_OR_RETURN(const auto got,
                                segments_.file_of(from)->read_at(segments_.offset_of(from), piece));
      if (got < piece.size() || !is_blank(from, piece)) return left_over(from);
      from += piece.size();
    }
    return {};
  }

  bool is_blank(LogAddress address, ByteSpan bytes) {
    blanked_.assign(bytes.begin(), bytes.end());
    layout_.blank(address, blanked_);
    return std::memcmp(blanked_.data(), bytes.data(), bytes.size()) == 0;
  }

  tl::unexpected<Error> left_over(LogAddress address) const {
    return make_error(ErrorCode::kCorruption,
                      segments_.place_of(address) +
                          ": from there on is something that does not belong to the checkpoint");
  }

  storage::FileSystem& file_system_;
  const storage::Path root_;
  const CheckpointDirectory& directory_;
  const Manifest& manifest_;
  const CopyLayout layout_;
  LogSegments segments_;
  std::vector<std::byte> blanked_;
  std::optional<LogAddress> odd_header_;
};

}  // namespace

Result<> adopt_checkpoint_copy(storage::FileSystem& file_system, const StoreOptions& options,
                               std::string_view from) {
  CheckpointDirectory directory(file_system, options.directory);
  TAILRACE_ASSIGN_OR_RETURN(auto manifest, find_manifest(directory, options.directory));
  if (manifest.owner == options.owner) return {};
  if (manifest.owner != from) {
    return make_error(ErrorCode::kFailedPrecondition,
                      directory.path_of(manifest.token()).string() + " belongs to '" +
                          manifest.owner + "', not to '" + std::string(from) +
                          "' whose copy it should be; nothing was changed");
  }
  manifest.owner = options.owner;
  return directory.publish(manifest);
}

Result<CheckpointInfo> check_checkpoint_copy(storage::FileSystem& file_system,
                                             const StoreOptions& options) {
  const CheckpointDirectory directory(file_system, options.directory);
  TAILRACE_ASSIGN_OR_RETURN(auto manifest, find_manifest(directory, options.directory));
  TAILRACE_RETURN_IF_ERROR(check_settings(directory, manifest, options));
  if (auto checked = CopyCheck(file_system, options, directory, manifest).run(); !checked) {
    // A missing file is damage as much as a changed one.
    if (checked.error().code == ErrorCode::kNotFound) {
      checked.error().code = ErrorCode::kCorruption;
    }
    return tl::unexpected(std::move(checked.error()));
  }
  return std::move(manifest.info);
}

}  // namespace tailrace::kv
