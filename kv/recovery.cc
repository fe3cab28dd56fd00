// Opening: the newest checkpoint that validates is loaded. Before it has been, nothing on disk
// changes.

#include <algorithm>
#include <bit>

#include "kv/background_reader.h"
#include "kv/checkpoint/check.h"
#include "kv/checkpoint/loader.h"
#include "kv/compactor.h"
#include "kv/log/format.h"
#include "kv/store_impl.h"

namespace tailrace::kv {

namespace {

// Each has a slot of epoch protection and 8 MiB of buffers.
constexpr uint32_t kMostRecoveryThreads = 64;

Result<> validate(const StoreOptions& options) {
  const auto refuse = [](const std::string& what) {
    return make_error(ErrorCode::kInvalidArgument, "store options: " + what);
  };
  if (options.directory.empty()) return refuse("directory is empty");
  if (!std::has_single_bit(options.page_bytes) || options.page_bytes < kLeastPageBytes ||
      options.page_bytes > (1u << 30)) {
    return refuse("page_bytes is " + std::to_string(options.page_bytes) +
                  "; a power of two from 32 KiB to 1 GiB is wanted");
  }
  if (options.memory_bytes < 4ull * options.page_bytes) {
    return refuse("memory_bytes is " + std::to_string(options.memory_bytes) +
                  ", less than four pages of " + std::to_string(options.page_bytes) + " bytes");
  }
  if (!std::has_single_bit(options.segment_bytes) || options.segment_bytes < options.page_bytes) {
    return refuse("segment_bytes is " + std::to_string(options.segment_bytes) +
                  "; a power of two that is at least a page is wanted");
  }
  if (options.disk_bytes != 0 && options.disk_bytes < 4 * options.segment_bytes) {
    return refuse("disk_bytes is " + std::to_string(options.disk_bytes) +
                  ", less than four segments of " + std::to_string(options.segment_bytes) +
                  " bytes: compaction could give nothing back");
  }
  if (!std::has_single_bit(options.index_buckets) || options.index_buckets > (1ull << 32)) {
    return refuse("index_buckets is " + std::to_string(options.index_buckets) +
                  "; a power of two up to 2^32 is wanted");
  }
  if (!(options.mutable_fraction > 0 && options.mutable_fraction <= 1)) {
    return refuse("mutable_fraction is " + std::to_string(options.mutable_fraction) +
                  "; above 0 and at most 1 is wanted");
  }
  if (options.recovery_threads > kMostRecoveryThreads) {
    return refuse("recovery_threads is " + std::to_string(options.recovery_threads) +
                  ", more than " + std::to_string(kMostRecoveryThreads));
  }
  if (options.checkpoints_kept < 1) return refuse("checkpoints_kept is 0; at least 1 is wanted");
  return {};
}

std::string checkpoint_is_not_used(uint64_t token, const Error& error) {
  return "checkpoint " + std::to_string(token) + " is not used: " + error.message;
}

/// Chooses and loads.
class Recovery {
 public:
  Recovery(const StoreOptions& options, CheckpointDirectory& directory, CheckpointLoader& loader,
           std::vector<std::string>& notes)
      : options_(options), directory_(directory), loader_(loader), notes_(notes) {}

  Result<std::unique_ptr<Engine>> run() {
    TAILRACE_RETURN_IF_ERROR(read_manifests());
    TAILRACE_ASSIGN_OR_RETURN(auto engine, load_newest());
    TAILRACE_RETURN_IF_ERROR(give_up_later_ones());
    // An opening that the embedder refused afterwards is tried again: it hears the reason again.
    const uint64_t chosen = manifests_.empty() ? 0 : manifests_.back().token();
    for (const uint64_t token : set_aside_) {
      if (token < chosen) continue;
      notes_.push_back("checkpoint " + std::to_string(token) +
                       " was found damaged by an earlier opening and is not used: " +
                       directory_.path_of(token).string());
    }
    if (engine) return engine;
    return manifests_.empty() ? loader_.empty() : loader_.load_pairs(manifests_.back());
  }

  /// After run(): the one that was loaded is the last.
  const std::vector<Manifest>& manifests() const { return manifests_; }
  const std::vector<uint64_t>& damaged() const { return damaged_; }
  uint64_t next_token() const { return tokens_.empty() ? 1 : tokens_.back() + 1; }

 private:
  struct Unusable {
    uint64_t token;
    size_t note;  // of notes_, that says why
  };

  Result<> read_manifests() {
    TAILRACE_ASSIGN_OR_RETURN(tokens_, directory_.tokens());
    for (const uint64_t token : tokens_) {
      auto manifest = directory_.manifest(token);
      if (!manifest) {
        const ErrorCode code = manifest.error().code;
        if (code == ErrorCode::kNotFound) {  // never published, or set aside
          if (directory_.is_set_aside(token)) {
            damaged_.push_back(token);
            set_aside_.push_back(token);
          }
          continue;
        }
        if (code != ErrorCode::kCorruption) return tl::unexpected(std::move(manifest.error()));
        reject(token, manifest.error());
        continue;
      }
      TAILRACE_RETURN_IF_ERROR(check_settings(directory_, *manifest, options_));
      manifests_.push_back(std::move(*manifest));
    }
    return {};
  }

  void reject(uint64_t token, const Error& error) {
    unusable_.push_back({token, notes_.size()});
    notes_.push_back(checkpoint_is_not_used(token, error));
    damaged_.push_back(token);
  }

  /// Null when there is no checkpoint, or one of pairs, which is validated but not loaded yet.
  Result<std::unique_ptr<Engine>> load_newest() {
    if (options_.recover_token) TAILRACE_RETURN_IF_ERROR(choose(*options_.recover_token));
    while (!manifests_.empty()) {
      const Manifest& newest = manifests_.back();
      if (newest.info.kind == CheckpointKind::kIndexOnly) {
        later_images_.push_back(newest.token());
        manifests_.pop_back();
        continue;
      }
      Result<std::unique_ptr<Engine>> engine;
      if (newest.format > 1) {
        engine = loader_.load(newest);
      } else if (const auto checked = loader_.check_pairs(newest); !checked) {
        engine = tl::unexpected(checked.error());
      }
      if (engine || engine.error().code != ErrorCode::kCorruption || options_.recover_token) {
        return engine;
      }
      reject(newest.token(), engine.error());
      manifests_.pop_back();
    }
    if (unusable_.empty()) return std::unique_ptr<Engine>();
    std::string message = "no checkpoint of the store is intact";
    for (const std::string& note : notes_)
      message += "; " + note;
    return make_error(ErrorCode::kCorruption, message);
  }

  Result<> choose(uint64_t token) {
    while (!manifests_.empty() && manifests_.back().token() > token) {
      later_.push_back(manifests_.back().token());
      manifests_.pop_back();
    }
    if (!manifests_.empty() && manifests_.back().token() == token &&
        manifests_.back().info.kind != CheckpointKind::kIndexOnly) {
      std::erase_if(unusable_, [&](const Unusable& other) {
        if (other.token > token) later_.push_back(other.token);
        return other.token > token;
      });
      std::sort(later_.rbegin(), later_.rend());
      return {};
    }
    std::string message = "checkpoint " + std::to_string(token) + " is not there to recover";
    for (const std::string& note : notes_)
      message += "; " + note;
    return make_error(ErrorCode::kNotFound, message);
  }

  // The log from where the chosen one ends is about to be written again: those after it are over,
  // and must not be taken for whole by a later opening. Those that need others come first.
  Result<> give_up_later_ones() {
    const uint64_t chosen = manifests_.empty() ? 0 : manifests_.back().token();
    for (const uint64_t token : later_)
      TAILRACE_RETURN_IF_ERROR(directory_.remove(token));
    for (auto one = unusable_.rbegin(); one != unusable_.rend(); ++one) {
      if (one->token < chosen) continue;
      TAILRACE_RETURN_IF_ERROR(directory_.set_aside_damaged(one->token));
      notes_[one->note]
          .append("; its MANIFEST is kept as ")
          .append(directory_.damaged_manifest_path(one->token).string());
    }
    for (const uint64_t token : later_images_)
      TAILRACE_RETURN_IF_ERROR(directory_.remove(token));
    return {};
  }

  const StoreOptions& options_;
  CheckpointDirectory& directory_;
  CheckpointLoader& loader_;
  std::vector<std::string>& notes_;
  std::vector<uint64_t> tokens_;
  std::vector<Manifest> manifests_;     // ascending
  std::vector<uint64_t> damaged_;       // now or by an earlier opening
  std::vector<Unusable> unusable_;      // now
  std::vector<uint64_t> set_aside_;     // by an earlier opening
  std::vector<uint64_t> later_;         // than the one that was asked for
  std::vector<uint64_t> later_images_;  // than the one that was loaded
};

}  // namespace

Result<> StoreImpl::recover() {
  TAILRACE_RETURN_IF_ERROR(validate(options_));
  TAILRACE_RETURN_IF_ERROR(file_system_.make_directory(options_.directory));
  TAILRACE_ASSIGN_OR_RETURN(lock_, file_system_.lock(options_.directory));

  CheckpointLoader loader(file_system_, options_, directory_, protection_, log_probe_,
                          engine_probe_);
  Recovery recovery(options_, directory_, loader, notes_);
  TAILRACE_ASSIGN_OR_RETURN(engine_, recovery.run());
  HybridLog& log = engine_->log();
  coordinator_.set_tail_source([&log] { return log.tail(); });

  CheckpointThread::Start start{
      recovery.next_token(), KeptCheckpoints(options_.checkpoints_kept), {}};
  for (const uint64_t token : recovery.damaged())
    start.kept.add_damaged(token);
  for (const Manifest& manifest : recovery.manifests())
    start.kept.add(manifest);
  if (!recovery.manifests().empty()) {
    const Manifest& loaded = recovery.manifests().back();
    // It may have been published by a process that ended before it had synced the name: sessions go
    // on from its points now, so a power cut must not take it any more.
    TAILRACE_RETURN_IF_ERROR(file_system_.sync_directory(directory_.path_of(loaded.token())));
    recovered_ = loaded.info;
    start.image = loaded.index;
    coordinator_.recovered(static_cast<uint32_t>(loaded.info.version) + 1, loaded.info.points,
                           log.tail());
  }
  reader_ = std::make_unique<BackgroundReader>(file_system_, *engine_);
  checkpoints_ = std::make_unique<CheckpointThread>(
      CheckpointThread::Context{file_system_, options_, clock_, *engine_, coordinator_, directory_,
                                pins_, grow_mutex_, checkpoint_probe_},
      std::move(start));
  compactor_ = std::make_unique<Compactor>(*this);
  compactor_->start();
  return {};
}

}  // namespace tailrace::kv
