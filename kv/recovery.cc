// Opening: the newest checkpoint that validates is loaded whole; nothing on disk changes.

#include <algorithm>
#include <bit>

#include "kv/store_impl.h"

namespace tailrace::kv {

namespace {

Result<> validate(const StoreOptions& options) {
  const auto refuse = [](const std::string& what) {
    return make_error(ErrorCode::kInvalidArgument, "store options: " + what);
  };
  if (options.directory.empty()) return refuse("directory is empty");
  if (!std::has_single_bit(options.page_bytes) || options.page_bytes < 4096 ||
      options.page_bytes > (1u << 30)) {
    return refuse("page_bytes is " + std::to_string(options.page_bytes) +
                  "; a power of two from 4 KiB to 1 GiB is wanted");
  }
  if (options.memory_bytes < 4ull * options.page_bytes) {
    return refuse("memory_bytes is " + std::to_string(options.memory_bytes) +
                  ", less than four pages of " + std::to_string(options.page_bytes) + " bytes");
  }
  if (!std::has_single_bit(options.index_buckets) || options.index_buckets > (1ull << 32)) {
    return refuse("index_buckets is " + std::to_string(options.index_buckets) +
                  "; a power of two up to 2^32 is wanted");
  }
  if (!(options.mutable_fraction > 0 && options.mutable_fraction <= 1)) {
    return refuse("mutable_fraction is " + std::to_string(options.mutable_fraction) +
                  "; above 0 and at most 1 is wanted");
  }
  if (options.checkpoints_kept < 1) return refuse("checkpoints_kept is 0; at least 1 is wanted");
  return {};
}

}  // namespace

Result<std::unique_ptr<Store>> Store::open(storage::FileSystem& file_system, StoreOptions options,
                                           const Clock& clock) {
  TAILRACE_RETURN_IF_ERROR(validate(options));
  auto store = std::make_unique<StoreImpl>(file_system, std::move(options), clock);
  TAILRACE_RETURN_IF_ERROR(store->recover());
  return store;
}

Result<> StoreImpl::fresh_engine() {
  Engine::Options options;
  options.log = {options_.memory_bytes, options_.page_bytes, options_.mutable_fraction,
                 options_.huge_pages};
  options.index_buckets = options_.index_buckets;
  engine_.reset();
  auto engine = Engine::create(options, protection_);
  if (!engine) return tl::unexpected(std::move(engine.error()));
  engine_ = std::move(*engine);
  return {};
}

Result<> StoreImpl::recover() {
  TAILRACE_RETURN_IF_ERROR(file_system_.make_directory(options_.directory));
  auto lock = file_system_.lock(options_.directory);
  if (!lock) return tl::unexpected(std::move(lock.error()));
  lock_ = std::move(*lock);
  TAILRACE_RETURN_IF_ERROR(fresh_engine());

  const auto tokens = directory_.tokens();
  if (!tokens) return tl::unexpected(tokens.error());
  if (!tokens->empty()) next_token_ = tokens->back() + 1;

  std::vector<Manifest> readable;  // ascending
  for (const uint64_t token : *tokens) {
    auto manifest = directory_.manifest(token);
    if (!manifest) {
      const ErrorCode code = manifest.error().code;
      if (code == ErrorCode::kNotFound) continue;  // never published
      if (code != ErrorCode::kCorruption) return tl::unexpected(std::move(manifest.error()));
      notes_.push_back("checkpoint " + std::to_string(token) +
                       " is not used: " + manifest.error().message);
      continue;
    }
    if (manifest->owner != options_.owner) {
      return make_error(ErrorCode::kFailedPrecondition,
                        directory_.path_of(token).string() + " belongs to '" + manifest->owner +
                            "', not to '" + options_.owner + "'; nothing was changed");
    }
    readable.push_back(std::move(*manifest));
  }

  while (!readable.empty()) {
    const Manifest& newest = readable.back();
    const auto loaded = load(newest);
    if (loaded) {
      recovered_ = newest.info;
      coordinator_.recovered(static_cast<uint32_t>(newest.info.version) + 1, newest.info.points);
      for (const Manifest& good : readable)
        good_tokens_.push_back(good.info.token);
      break;
    }
    if (loaded.error().code != ErrorCode::kCorruption) return loaded;
    notes_.push_back("checkpoint " + std::to_string(newest.info.token) +
                     " is not used: " + loaded.error().message);
    TAILRACE_RETURN_IF_ERROR(fresh_engine());
    readable.pop_back();
  }
  if (!recovered_ && !notes_.empty()) {
    std::string message = "no checkpoint of the store is intact";
    for (const std::string& note : notes_)
      message += "; " + note;
    return make_error(ErrorCode::kCorruption, message);
  }
  thread_ = std::thread([this] { checkpoint_loop(); });
  return {};
}

Result<> StoreImpl::load(const Manifest& manifest) {
  Engine::Version version;
  version.version = static_cast<uint32_t>(manifest.info.version);
  return read_snapshot(directory_, manifest, [&](ByteSpan key, ByteSpan value) -> Result<> {
    const HashedKey hashed(key);
    for (int attempts = 0; attempts < 2; ++attempts) {
      {
        const storage::EpochProtection::Guard guard(protection_);
        if (key.size() + value.size() <= engine_->max_record_bytes() &&
            engine_->try_write(hashed, &value, version, {}) == Engine::Outcome::kDone) {
          return {};
        }
      }
      if (!engine_->make_space(Record::bytes_for(key.size(), value.size()), false)) break;
    }
    return make_error(
        ErrorCode::kResourceExhausted,
        "checkpoint " + std::to_string(manifest.info.token) + " holds " +
            std::to_string(manifest.info.live_records) + " records in " +
            std::to_string(manifest.info.bytes) +
            " bytes, more than memory_bytes = " + std::to_string(options_.memory_bytes) +
            " and page_bytes = " + std::to_string(options_.page_bytes) + " can hold; raise them");
  });
}

}  // namespace tailrace::kv
