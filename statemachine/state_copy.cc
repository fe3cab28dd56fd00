#include "statemachine/state_copy.h"

#include <algorithm>
#include <limits>

#include <xxhash.h>

#include "kv/checkpoint/manifest_fields.h"
#include "statemachine/checkpointer.h"
#include "storage/atomic_file.h"

namespace tailrace::statemachine {
namespace {

constexpr uint32_t kKind = storage::four_letters("COPY");
// The first, for as long as there is no configuration to tell of: any program reads it.
constexpr uint32_t kWithoutConfigurations = 1;
constexpr uint32_t kVersion = 2;
constexpr const char* kPlanName = "STATE-COPY";
constexpr size_t kMostFiles = 1u << 20;
constexpr uint64_t kMostLogBytes = 1u << 30;
constexpr uint64_t kMostBytes = uint64_t{1} << 50;

struct SavedPlan {
  StateCopyPlan plan;
  uint64_t received = 0;
  bool complete = false;
};

uint32_t version_of(const StateCopyPlan& plan) {
  return plan.configurations.empty() ? kWithoutConfigurations : kVersion;
}

void put(const fasterlog::ConfigurationTable& table, kv::FieldWriter& out) {
  out.put(static_cast<uint32_t>(table.size()));
  for (const fasterlog::ConfigurationRecord& each : table) {
    out.put(each.start.value);
    out.put(each.end.value);
    out.put(each.epoch.value);
    out.put_text(as_text(each.payload));
  }
}

/// The store's own fingerprint where there is none.
uint64_t with_configurations(uint64_t fingerprint, const fasterlog::ConfigurationTable& table) {
  if (table.empty()) return fingerprint;
  kv::FieldWriter out;
  out.put(fingerprint);
  put(table, out);
  return XXH3_64bits(out.bytes().data(), out.bytes().size());
}

std::vector<std::byte> encode(const SavedPlan& saved) {
  kv::FieldWriter out;
  out.put(static_cast<uint8_t>(saved.complete));
  out.put(saved.received);
  out.put(saved.plan.token);
  out.put(saved.plan.fingerprint);
  out.put_text(saved.plan.owner);
  out.put(saved.plan.applied.value);
  out.put(saved.plan.log.first.value);
  out.put(saved.plan.log.end.value);
  out.put(static_cast<uint32_t>(saved.plan.epochs.size()));
  for (const fasterlog::EpochStart& epoch : saved.plan.epochs) {
    out.put(epoch.epoch.value);
    out.put(epoch.start.value);
  }
  out.put(static_cast<uint32_t>(saved.plan.files.size()));
  for (const kv::CheckpointSource::File& file : saved.plan.files) {
    out.put_text(file.name);
    out.put(file.bytes);
  }
  if (version_of(saved.plan) > kWithoutConfigurations) put(saved.plan.configurations, out);
  return {out.bytes().begin(), out.bytes().end()};
}

Result<SavedPlan> read_plan(storage::FileSystem& file_system, const storage::Path& directory) {
  const storage::Path path = directory / kPlanName;
  TAILRACE_ASSIGN_OR_RETURN(auto content,
                            storage::read_atomic_file(file_system, path, {kKind, kVersion}));
  SavedPlan saved;
  kv::FieldReader in(content.bytes);
  saved.complete = in.take<uint8_t>() != 0;
  saved.received = in.take<uint64_t>();
  saved.plan.token = in.take<uint64_t>();
  saved.plan.fingerprint = in.take<uint64_t>();
  saved.plan.owner = in.take_text();
  saved.plan.applied.value = in.take<uint64_t>();
  saved.plan.log.first.value = in.take<uint64_t>();
  saved.plan.log.end.value = in.take<uint64_t>();
  for (uint32_t left = in.take_count(16); left > 0; --left) {
    const Epoch epoch{in.take<uint64_t>()};
    saved.plan.epochs.push_back({epoch, Address{in.take<uint64_t>()}});
  }
  for (uint32_t left = in.take_count(12); left > 0; --left) {
    std::string name = in.take_text();
    saved.plan.files.push_back({std::move(name), in.take<uint64_t>()});
  }
  if (content.version > kWithoutConfigurations) {
    for (uint32_t left = in.take_count(28); left > 0; --left) {
      const Address start{in.take<uint64_t>()}, end{in.take<uint64_t>()};
      const Epoch epoch{in.take<uint64_t>()};
      const std::string payload = in.take_text();
      const ByteSpan bytes = as_bytes(payload);
      saved.plan.configurations.push_back({start, end, epoch, {bytes.begin(), bytes.end()}});
    }
  }
  if (!in.ok() || in.left() != 0 || !check_plan(saved.plan) || saved.received > saved.plan.bytes())
    return kv::damaged(path, 0, "it says what cannot be");
  return saved;
}

tl::unexpected<Error> bad_plan(const std::string& what) {
  return make_error(ErrorCode::kCorruption, "the plan of a state's copy: " + what);
}

bool stays_below(const std::string& name) {
  if (name.empty() || name.front() == '/' || name.size() > 255) return false;
  const storage::Path path(name);
  return std::none_of(path.begin(), path.end(), [](const storage::Path& part) {
    return part == ".." || part == "." || part.empty();
  });
}

Result<> remove_if_there(storage::FileSystem& file_system, const storage::Path& path) {
  TAILRACE_ASSIGN_OR_RETURN(const auto there, file_system.exists(path));
  return there ? file_system.remove_directory(path) : Result<>{};
}

/// Puts `incoming` in the place of `directory`, unless that was done already.
Result<> install(storage::FileSystem& file_system, const storage::Path& incoming,
                 const storage::Path& directory) {
  TAILRACE_ASSIGN_OR_RETURN(const auto there, file_system.exists(incoming));
  const storage::Path parent = directory.parent_path();
  if (!there) {
    TAILRACE_ASSIGN_OR_RETURN(const auto done, file_system.exists(directory));
    if (done) return {};
    return make_error(ErrorCode::kCorruption,
                      "a copied state is to be installed, but neither " + incoming.string() +
                          " nor " + directory.string() +
                          " is there: remove the node's data directory, and it begins anew");
  }
  TAILRACE_RETURN_IF_ERROR(remove_if_there(file_system, directory));
  TAILRACE_RETURN_IF_ERROR(file_system.rename(incoming, directory));
  return file_system.sync_directory(parent);
}

}  // namespace

uint64_t StateCopyPlan::file_bytes() const {
  uint64_t sum = 0;
  for (const kv::CheckpointSource::File& file : files)
    sum += file.bytes;
  return sum;
}

Result<> check_plan(const StateCopyPlan& plan) {
  if (plan.token == 0) return bad_plan("no token");
  if (plan.files.empty() || plan.files.size() > kMostFiles)
    return bad_plan(std::to_string(plan.files.size()) + " files");
  uint64_t sum = 0;
  for (const kv::CheckpointSource::File& file : plan.files) {
    if (!stays_below(file.name)) return bad_plan("a file named '" + file.name + "'");
    if (file.bytes > kMostBytes - sum) return bad_plan("more bytes than can be");
    sum += file.bytes;
  }
  if (plan.log.first < fasterlog::kFirstAddress || plan.log.first > plan.applied ||
      plan.applied > plan.log.end || plan.log.bytes() > kMostLogBytes)
    return bad_plan("addresses that cannot be");
  const fasterlog::EpochStart* before = nullptr;
  for (const fasterlog::EpochStart& epoch : plan.epochs) {
    if (epoch.start >= plan.log.first ||
        (before != nullptr && (epoch.epoch <= before->epoch || epoch.start <= before->start)))
      return bad_plan("epochs that cannot be");
    before = &epoch;
  }
  if (!fasterlog::are_possible(plan.configurations, plan.log.first))
    return bad_plan("configurations that cannot be");
  return {};
}

// ---- The source. -------------------------------------------------------------------------------

Result<std::unique_ptr<StateCopySource>> StateCopySource::open(fasterlog::Log& log,
                                                               kv::Store& store, std::string owner,
                                                               uint64_t token) {
  TAILRACE_ASSIGN_OR_RETURN(
      auto files,
      store.open_checkpoint_source(token == 0 ? std::nullopt : std::optional<uint64_t>(token)));
  TAILRACE_ASSIGN_OR_RETURN(const auto applied, point_of(files->info()));
  auto result = std::make_unique<StateCopySource>();
  StateCopyPlan& plan = result->plan_;
  plan.token = files->info().token;
  plan.fingerprint = files->fingerprint();
  plan.owner = std::move(owner);
  plan.applied = applied;
  plan.files = files->files();
  // A checkpoint's point is a record's end, a log begins and ends with whole batches.
  const auto first = log.mark_end_at(applied);
  if (!first) return tl::unexpected(with_context("copy the state", first.error()));
  if (*first < applied) TAILRACE_RETURN_IF_ERROR(log.read_raw(*first, 1, result->log_bytes_));
  plan.log = {*first, *first + result->log_bytes_.size()};
  for (const fasterlog::EpochStart& epoch : log.epoch_table())
    if (epoch.start < *first) plan.epochs.push_back(epoch);
  const auto configurations = log.configurations();
  for (const fasterlog::ConfigurationRecord& each : *configurations)
    if (each.end <= *first) plan.configurations = {each};
  plan.fingerprint = with_configurations(plan.fingerprint, plan.configurations);
  if (log.begin() > *first || plan.log.end < plan.applied)
    return make_error(ErrorCode::kTruncated, "the log moved on while its state was to be copied");
  result->files_ = std::move(files);
  TAILRACE_RETURN_IF_ERROR(check_plan(plan));
  return result;
}

Result<> StateCopySource::read(uint64_t offset, MutableByteSpan into) const {
  if (offset > plan_.bytes() || into.size() > plan_.bytes() - offset)
    return make_error(ErrorCode::kInvalidArgument, "the copy has no bytes at " +
                                                       std::to_string(offset) + " to " +
                                                       std::to_string(offset + into.size()));
  const uint64_t files = files_->bytes();
  if (offset < files) {
    const size_t part = std::min<uint64_t>(into.size(), files - offset);
    TAILRACE_RETURN_IF_ERROR(files_->read(offset, into.first(part)));
    into = into.subspan(part);
    offset += part;
  }
  if (!into.empty())
    std::copy_n(log_bytes_.begin() + static_cast<ptrdiff_t>(offset - files), into.size(),
                into.begin());
  return {};
}

// ---- The receiver. -----------------------------------------------------------------------------

IncomingState::IncomingState(storage::FileSystem& file_system, StateCopyOptions options)
    : file_system_(file_system), options_(std::move(options)), file_(file_system) {}
IncomingState::~IncomingState() = default;

Result<> IncomingState::load() {
  auto saved = read_plan(file_system_, options_.directory);
  if (!saved && saved.error().code == ErrorCode::kNotFound) return {};
  if (!saved) return tl::unexpected(std::move(saved).error());
  plan_ = std::move(saved->plan);
  // The log's bytes are few, and are in no file until the end. Writing begins at a whole block.
  received_ = std::min(saved->received, plan_.file_bytes());
  uint64_t begin = 0;
  for (const auto& file : plan_.files) {
    if (received_ < begin + file.bytes) {
      received_ -= (received_ - begin) % storage::kBlockBytes;
      break;
    }
    begin += file.bytes;
  }
  return {};
}

Result<> IncomingState::begin(StateCopyPlan plan) {
  TAILRACE_RETURN_IF_ERROR(check_plan(plan));
  TAILRACE_RETURN_IF_ERROR(drop());
  TAILRACE_ASSIGN_OR_RETURN(const auto space, file_system_.space(options_.directory));
  if (plan.bytes() > space.available_bytes)
    return make_error(ErrorCode::kResourceExhausted,
                      "the leader's state takes " + std::to_string(plan.bytes()) +
                          " bytes, and the disk of " + options_.directory.string() + " has " +
                          std::to_string(space.available_bytes) +
                          " to spare: make room, and it begins by itself");
  plan_ = std::move(plan);
  return write_plan(0, false);
}

Result<> IncomingState::write(ByteSpan bytes) {
  if (bytes.size() > plan_.bytes() - received_)
    return make_error(ErrorCode::kInvalidArgument, "more bytes than the copy has");
  const uint64_t files = plan_.file_bytes();
  while (!bytes.empty() && received_ < files) {
    while (file_index_ < plan_.files.size() &&
           received_ >= file_begin_ + plan_.files[file_index_].bytes) {
      TAILRACE_RETURN_IF_ERROR(close_file());
      file_begin_ += plan_.files[file_index_++].bytes;
    }
    TAILRACE_RETURN_IF_ERROR(open_file());
    const uint64_t offset = received_ - file_begin_;
    const size_t part = std::min<uint64_t>(bytes.size(), plan_.files[file_index_].bytes - offset);
    TAILRACE_RETURN_IF_ERROR(file_.write(bytes.first(part)));
    received_ += part;
    bytes = bytes.subspan(part);
  }
  if (received_ >= files) TAILRACE_RETURN_IF_ERROR(close_file());  // the last one
  log_bytes_.insert(log_bytes_.end(), bytes.begin(), bytes.end());
  received_ += bytes.size();
  return {};
}

Result<> IncomingState::open_file() {
  if (file_.is_open()) return {};
  const kv::CheckpointSource::File& file = plan_.files[file_index_];
  const storage::Path path = store_directory() / file.name;
  TAILRACE_RETURN_IF_ERROR(file_system_.make_directory(path.parent_path()));
  return file_.open(path, file.bytes, received_ - file_begin_);
}

Result<> IncomingState::close_file() {
  return file_.is_open() ? file_.close() : Result<>{};
}

Result<> IncomingState::save() {
  if (!file_.is_open()) return write_plan(received_, false);
  TAILRACE_ASSIGN_OR_RETURN(const auto saved, file_.save());
  return write_plan(file_begin_ + saved, false);
}

Result<> IncomingState::write_plan(uint64_t received, bool complete) {
  const SavedPlan saved{plan_, received, complete};
  return storage::replace_reserved_file(file_system_, options_.directory / kPlanName,
                                        {kKind, version_of(plan_)}, encode(saved));
}

Result<> IncomingState::check() {
  if (received_ != plan_.bytes())
    return make_error(ErrorCode::kFailedPrecondition, "the copy is not complete");
  TAILRACE_RETURN_IF_ERROR(close_file());
  file_.abandon();  // its memory
  kv::StoreOptions store = options_.store;
  store.directory = store_directory();
  TAILRACE_RETURN_IF_ERROR(kv::adopt_checkpoint_copy(file_system_, store, plan_.owner));
  TAILRACE_ASSIGN_OR_RETURN(const auto info, kv::check_checkpoint_copy(file_system_, store));
  TAILRACE_ASSIGN_OR_RETURN(const auto applied, point_of(info));
  if (applied != plan_.applied)
    return make_error(ErrorCode::kCorruption, "the copied checkpoint ends at " +
                                                  std::to_string(applied.value) +
                                                  " and not, as its source said, at " +
                                                  std::to_string(plan_.applied.value));
  TAILRACE_RETURN_IF_ERROR(make_log());
  checked_ = true;
  return {};
}

Result<> IncomingState::commit() {
  if (!checked_) return make_error(ErrorCode::kFailedPrecondition, "the copy has not been checked");
  return write_plan(received_, true);
}

Result<> IncomingState::make_log() {
  TAILRACE_RETURN_IF_ERROR(remove_if_there(file_system_, log_directory()));
  fasterlog::LogOptions options = options_.log;
  options.directory = log_directory();
  options.on_recovery_progress = nullptr;
  TAILRACE_RETURN_IF_ERROR(fasterlog::Log::create_at(file_system_, options, plan_.log.first,
                                                     plan_.epochs, plan_.configurations));
  TAILRACE_ASSIGN_OR_RETURN(auto log, fasterlog::Log::open(file_system_, options));
  TAILRACE_RETURN_IF_ERROR(log->become_copy());
  if (!log_bytes_.empty()) {
    TAILRACE_RETURN_IF_ERROR(log->try_append_raw(plan_.log.first, log_bytes_));
    TAILRACE_RETURN_IF_ERROR(log->wait_durable(plan_.log.end));
  }
  TAILRACE_RETURN_IF_ERROR(log->close());
  log.reset();
  return file_system_.sync_directory(options_.directory);
}

Result<> IncomingState::drop() {
  file_.abandon();
  file_index_ = 0;
  file_begin_ = received_ = 0;
  checked_ = false;
  log_bytes_.clear();
  plan_ = {};
  // First the plan: without it, what else is there means nothing.
  TAILRACE_RETURN_IF_ERROR(
      storage::remove_reserved_file(file_system_, options_.directory / kPlanName));
  TAILRACE_RETURN_IF_ERROR(remove_if_there(file_system_, store_directory()));
  return remove_if_there(file_system_, log_directory());
}

Result<bool> install_state_copy(storage::FileSystem& file_system, const StateCopyOptions& options) {
  const auto saved = read_plan(file_system, options.directory);
  if (!saved && saved.error().code == ErrorCode::kNotFound) return false;
  if (!saved)
    return tl::unexpected(with_context(
        "install a copied state; to begin anew, remove the node's data directory", saved.error()));
  if (!saved->complete) return false;
  TAILRACE_RETURN_IF_ERROR(
      install(file_system, options.directory / "store.incoming", options.store.directory));
  TAILRACE_RETURN_IF_ERROR(
      install(file_system, options.directory / "log.incoming", options.log.directory));
  for (const storage::Path& path : options.obsolete) {
    if (auto removed = file_system.remove(path);
        !removed && removed.error().code != ErrorCode::kNotFound)
      return tl::unexpected(removed.error());
    TAILRACE_RETURN_IF_ERROR(file_system.sync_directory(path.parent_path()));
  }
  TAILRACE_RETURN_IF_ERROR(
      storage::remove_reserved_file(file_system, options.directory / kPlanName));
  return true;
}

}  // namespace tailrace::statemachine
