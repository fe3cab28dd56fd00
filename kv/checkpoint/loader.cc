#include "kv/checkpoint/loader.h"

#include <algorithm>
#include <array>
#include <limits>
#include <thread>

#include "core/check.h"
#include "kv/checkpoint/legacy.h"
#include "kv/checkpoint/manifest_fields.h"
#include "kv/checkpoint/snapshot_merge.h"
#include "kv/log/segments.h"
#include "kv/log/walker.h"

namespace tailrace::kv {

namespace {

constexpr size_t kToldAtATime = 1024;

// A missing file is damage as much as a changed one.
Error as_damage(Error error) {
  if (error.code == ErrorCode::kNotFound) error.code = ErrorCode::kCorruption;
  return error;
}

tl::unexpected<Error> no_memory_for_index() {
  return make_error(ErrorCode::kResourceExhausted,
                    "the system has no memory for the store's index");
}

/// Sets index entries a few records after their buckets were asked for.
class EntrySetter {
 public:
  EntrySetter(Engine& engine, LogAddress begin) : engine_(engine), begin_(begin) {}

  /// Under protection. False: no memory for the index.
  bool add(uint64_t hash, LogAddress address) {
    engine_.prefetch_bucket(hash);
    Waiting& place = waiting_[next_++ % waiting_.size()];
    const Waiting due = place;
    place = {hash, address};
    return due.address == 0 || set(due);
  }
  bool finish() {
    for (size_t i = 0; i < waiting_.size(); ++i) {
      const Waiting due = waiting_[next_++ % waiting_.size()];
      if (due.address != 0 && !set(due)) return false;
    }
    waiting_ = {};
    return true;
  }

 private:
  struct Waiting {
    uint64_t hash = 0;
    LogAddress address = 0;
  };
  bool set(const Waiting& due) {
    for (;;) {
      const HashIndex::Found found = engine_.index().find_or_create(due.hash, begin_);
      if (found.slot == nullptr) return false;
      // The image, or another thread, may know a newer one.
      if (HashIndex::address_of(found.entry) >= due.address) return true;
      if (HashIndex::replace(found, due.address)) return true;
    }
  }

  Engine& engine_;
  const LogAddress begin_;
  std::array<Waiting, 16> waiting_{};
  size_t next_ = 0;
};

}  // namespace

HybridLog::Options log_options(const StoreOptions& options) {
  HybridLog::Options log;
  log.directory = options.directory / "log";
  log.memory_bytes = options.memory_bytes;
  log.page_bytes = options.page_bytes;
  log.segment_bytes = options.segment_bytes;
  log.disk_bytes = options.disk_bytes;
  log.mutable_fraction = options.mutable_fraction;
  log.huge_pages = options.huge_pages;
  return log;
}

unsigned CheckpointLoader::threads() const {
  if (options_.recovery_threads != 0) return options_.recovery_threads;
  // More than four outrun what a disk delivers.
  return std::clamp(std::thread::hardware_concurrency(), 1u, 4u);
}

void CheckpointLoader::tell(std::string_view stage, uint64_t done, uint64_t total) const {
  if (options_.on_recovery_progress) options_.on_recovery_progress(stage, done, total);
}

Result<std::unique_ptr<Engine>> CheckpointLoader::load(const Manifest& manifest) {
  if (manifest.index && !manifest.snapshots.empty()) {
    // A log whose end is not on disk yet asks for disk space as soon as it is there.
    const ChunkFile& file = manifest.index->file;
    TAILRACE_RETURN_IF_ERROR(
        check_chunks(file_system_, directory_.index_path(file.token), kIndexChunk, file));
  }
  auto log = load_log(manifest);
  if (!log) return tl::unexpected(as_damage(std::move(log.error())));
  auto engine = std::make_unique<Engine>(std::move(*log), protection_, engine_probe_);
  mark(*engine, manifest);
  if (auto index = load_index(*engine, manifest); !index) {
    return tl::unexpected(as_damage(std::move(index.error())));
  }
  engine->set_live(manifest.info.live_records, manifest.live_bytes);
  return engine;
}

// --- the log ---

Result<std::unique_ptr<HybridLog>> CheckpointLoader::load_log(const Manifest& manifest) {
  const CheckpointInfo& info = manifest.info;
  TAILRACE_ASSIGN_OR_RETURN(auto snapshots, SnapshotMerge::create(directory_, manifest));
  HybridLog::Start start;
  start.begin = info.begin;
  start.flushed = manifest.flushed;
  start.tail = info.end;
  HybridLog::Loading loading;
  loading.check_all = options_.check_log_at_open;
  loading.threads = threads();
  if (!manifest.snapshots.empty()) {
    loading.fill = [&](LogAddress address, MutableByteSpan into) {
      return snapshots->fill(address, into);
    };
  }
  loading.progress = [&](uint64_t done, uint64_t total) { tell("log", done, total); };
  TAILRACE_ASSIGN_OR_RETURN(auto log, HybridLog::recover(file_system_, log_options(options_),
                                                         protection_, log_probe_, start, loading));
  TAILRACE_RETURN_IF_ERROR(snapshots->finish());
  return log;
}

void CheckpointLoader::mark(Engine& engine, const Manifest& manifest) {
  const CheckpointInfo& info = manifest.info;
  HybridLog& log = engine.log();
  const auto version = static_cast<uint32_t>(info.version);
  const UndoneRanges before(manifest.undone);
  const PointInLog point{version, manifest.boundary, info.end};

  LogAddress at = std::min(manifest.boundary, manifest.flushed);
  for (const UndoneRange& range : manifest.undone)
    at = std::min(at, range.from);
  at = std::max(at, log.head());
  // Each record of a page is seen, for a walk can only begin at a record.
  const LogAddress first = std::max(align_down(at, log.page_bytes()), log.head());
  const LogAddress to = std::min(info.end, manifest.flushed);
  // Most often no session has written the next version before the checkpoint's end was taken: then
  // nothing is to be remembered, and nobody has to ask for it at each record again.
  std::atomic<bool> differs = manifest.boundary < first;
  const auto mark_part = [&](unsigned, LogAddress from, LogAddress until) -> Result<> {
    const storage::EpochProtection::Guard guard(protection_);
    bool differs_here = false;
    for (LogAddress next = from; (next = log.next_record(next, until)) < until;) {
      Record& record = *log.record(next);
      const uint64_t state = record.state.load(std::memory_order_relaxed);
      if (next >= manifest.boundary && next < to)
        differs_here |= (state & Record::kSnapshotOnly) != 0 ||
                        record.version_bits() == ((version + 1) & Record::kVersionMask);
      uint64_t marked = state & ~(Record::kLocked | Record::kSealed);
      if (point.counts(next, record, before)) {
        marked &= ~Record::kSnapshotOnly;
      } else {
        marked |= Record::kInvalid;
      }
      if (marked != state) record.state.store(marked, std::memory_order_relaxed);
      next += record.bytes();
    }
    if (differs_here) differs = true;
    return {};
  };
  const auto marked = in_parts(threads(), log.page_bytes(), first, info.end, mark_part);
  TAILRACE_CHECK(marked.has_value(), "marking records asks nobody for anything");
  // What is on disk stays as it is, so the range is remembered. What came from the snapshots will
  // be written with its marks, and may be updated in place with the version that is undone here.
  std::vector<UndoneRange> undone;
  for (const UndoneRange& range : manifest.undone) {
    if (range.to > info.begin) undone.push_back(range);
  }
  if (manifest.boundary < to && differs) undone.push_back({manifest.boundary, to, version + 1});
  engine.undone() = UndoneRanges(std::move(undone));
}

// --- the index ---

Result<> CheckpointLoader::load_index(Engine& engine, const Manifest& manifest) {
  const CheckpointInfo& info = manifest.info;
  // The tags stay those that the records were chained by.
  const unsigned tag_shift = manifest.index_tag_shift;
  const uint64_t most = 1ull << std::min(tag_shift + HashTable::kTagBits, 40u);
  const uint64_t wanted = std::clamp(options_.index_buckets, manifest.index_buckets, most);
  LogAddress from = info.begin;
  if (manifest.index) {
    from = std::max(from, manifest.index->from);
    TAILRACE_RETURN_IF_ERROR(
        engine.create_index({manifest.index->buckets, tag_shift}, options_.huge_pages));
    TAILRACE_RETURN_IF_ERROR(load_image(engine, *manifest.index));
    while (engine.index().bucket_count() < wanted)
      TAILRACE_RETURN_IF_ERROR(engine.index().grow());
  } else {
    TAILRACE_RETURN_IF_ERROR(engine.create_index({wanted, tag_shift}, options_.huge_pages));
  }
  return scan(engine, from, info.end);
}

Result<> CheckpointLoader::load_image(Engine& engine, const IndexImage& image) {
  const storage::Path path = directory_.index_path(image.file.token);
  TAILRACE_ASSIGN_OR_RETURN(auto reader,
                            ChunkReader::create(file_system_, path, kIndexChunk, image.file));
  const uint64_t total = (image.buckets + image.overflow_buckets) * HashTable::kBucketBytes;
  uint64_t done = 0;
  ByteSpan rest;  // of the present chunk
  const auto next_chunk = [&]() -> Result<bool> {
    TAILRACE_ASSIGN_OR_RETURN(auto chunk, reader->next());
    if (!chunk) return false;
    rest = chunk->payload.first(chunk->items * HashTable::kBucketBytes);
    return true;
  };
  TAILRACE_RETURN_IF_ERROR(
      engine.index().load_image(image.overflow_buckets, [&](MutableByteSpan into) -> Result<> {
        while (!into.empty()) {
          if (rest.empty()) {
            TAILRACE_ASSIGN_OR_RETURN(const auto more, next_chunk());
            if (!more) return damaged(path, image.file.bytes, "buckets are missing");
          }
          const size_t now = std::min(into.size(), rest.size());
          std::memcpy(into.data(), rest.data(), now);
          into = into.subspan(now);
          rest = rest.subspan(now);
          done += now;
        }
        tell("index", done, total);
        return {};
      }));
  TAILRACE_ASSIGN_OR_RETURN(const auto more, next_chunk());
  if (more || !rest.empty()) return damaged(path, image.file.bytes, "buckets are left over");
  return {};
}

Result<> CheckpointLoader::scan(Engine& engine, LogAddress from, LogAddress until) {
  HybridLog& log = engine.log();
  const LogAddress in_memory = std::clamp(log.head(), from, until);
  SharedProgress progress(until - from,
                          [&](uint64_t done, uint64_t total) { tell("records", done, total); });
  const auto on_disk = [&](unsigned worker, LogAddress part_from, LogAddress part_until) {
    return scan_disk(engine, part_from, part_until, worker, progress);
  };
  const auto of_memory = [&](unsigned worker, LogAddress part_from, LogAddress part_until) {
    auto scanned = scan_memory(engine, part_from, part_until);
    if (scanned) progress.add(worker, part_until - part_from);
    return scanned;
  };
  TAILRACE_RETURN_IF_ERROR(in_parts(threads(), log.page_bytes(), from, in_memory, on_disk));
  TAILRACE_RETURN_IF_ERROR(in_parts(threads(), log.page_bytes(), in_memory, until, of_memory));
  progress.end();
  return {};
}

Result<> CheckpointLoader::scan_disk(Engine& engine, LogAddress from, LogAddress until,
                                     unsigned worker, SharedProgress& progress) {
  EntrySetter entries(engine, engine.log().begin());
  TAILRACE_ASSIGN_OR_RETURN(auto walker,
                            LogWalker::create(file_system_, engine.log(), from, until));
  LogAddress told = from;
  for (uint64_t count = 1;; ++count) {
    TAILRACE_ASSIGN_OR_RETURN(auto item, walker->next());
    if (!item) break;
    const LogAddress address = item->address;
    const Record& record = *item->record;
    if (count % kToldAtATime == 0) {
      progress.add(worker, address - std::exchange(told, address));
    }
    if (!engine.undone().counts(address, record)) continue;
    const storage::EpochProtection::Guard guard(protection_);
    if (!entries.add(HashedKey(record.key()).hash, address)) return no_memory_for_index();
  }
  const storage::EpochProtection::Guard guard(protection_);
  if (!entries.finish()) return no_memory_for_index();
  progress.add(worker, until - told);
  return {};
}

Result<> CheckpointLoader::scan_memory(Engine& engine, LogAddress from, LogAddress until) {
  const HybridLog& log = engine.log();
  EntrySetter entries(engine, log.begin());
  const storage::EpochProtection::Guard guard(protection_);
  const LogAddress page_mask = log.page_bytes() - 1;
  for (LogAddress at = from; (at = log.next_record(at, until)) < until;) {
    const Record& record = *log.record(at);
    if (record.bytes() > log.page_bytes() - (at & page_mask)) {
      return make_error(ErrorCode::kCorruption, engine.log().segments().place_of(at) +
                                                    ": the record there goes beyond its page");
    }
    if (engine.undone().counts(at, record) && !entries.add(HashedKey(record.key()).hash, at)) {
      return no_memory_for_index();
    }
    at += record.bytes();
  }
  if (!entries.finish()) return no_memory_for_index();
  return {};
}

// --- without a log ---

Result<std::unique_ptr<Engine>> CheckpointLoader::empty() {
  TAILRACE_ASSIGN_OR_RETURN(
      auto log, HybridLog::create(file_system_, log_options(options_), protection_, log_probe_));
  auto engine = std::make_unique<Engine>(std::move(log), protection_, engine_probe_);
  TAILRACE_RETURN_IF_ERROR(
      engine->create_index(HashIndex::new_shape(options_.index_buckets), options_.huge_pages));
  return engine;
}

Result<> CheckpointLoader::check_pairs(const Manifest& manifest) {
  return read_legacy_pairs(directory_, manifest, [](ByteSpan, ByteSpan) { return Result<>{}; });
}

Result<std::unique_ptr<Engine>> CheckpointLoader::load_pairs(const Manifest& manifest) {
  TAILRACE_ASSIGN_OR_RETURN(auto engine, empty());
  WriteVersion version;
  version.version = static_cast<uint32_t>(manifest.info.version);
  ColdFound cold;
  Engine::Waiting waiting;
  const auto write = [&](ByteSpan key, ByteSpan value) -> Result<> {
    if (key.size() + value.size() > engine->max_record_bytes()) {
      return make_error(ErrorCode::kResourceExhausted,
                        "checkpoint " + std::to_string(manifest.token()) + " holds a pair of " +
                            std::to_string(key.size() + value.size()) +
                            " bytes, more than page_bytes = " +
                            std::to_string(options_.page_bytes) + " can hold; raise it");
    }
    Engine::Change change;
    change.value = value;
    for (;;) {
      Engine::Outcome outcome;
      {
        const storage::EpochProtection::Guard guard(protection_);
        outcome = engine->write(HashedKey(key), change, {version, cold, waiting});
      }
      if (outcome == Engine::Outcome::kDone) return {};
      if (outcome != Engine::Outcome::kNeedsRoom) {
        return make_error(ErrorCode::kResourceExhausted,
                          "the system has no memory for the store's index");
      }
      TAILRACE_RETURN_IF_ERROR(engine->log().wait_for_room(waiting.bytes));
    }
  };
  TAILRACE_RETURN_IF_ERROR(read_legacy_pairs(directory_, manifest, write));
  return engine;
}

}  // namespace tailrace::kv
