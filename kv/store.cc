#include "kv/store.h"

#include <future>

#include "kv/background_reader.h"
#include "kv/checkpoint_source.h"
#include "kv/compactor.h"
#include "kv/session_impl.h"
#include "kv/store_impl.h"

namespace tailrace::kv {

using Outcome = Engine::Outcome;

std::string_view name_of(CheckpointKind kind) {
  switch (kind) {
    case CheckpointKind::kFoldOver:
      return "fold-over";
    case CheckpointKind::kSnapshot:
      return "snapshot";
    case CheckpointKind::kIncremental:
      return "incremental";
    case CheckpointKind::kIndexOnly:
      return "index-only";
  }
  return "unknown";
}

// --- the public face ---

Store::Store(std::unique_ptr<StoreImpl> impl) : impl_(std::move(impl)) {}
Store::~Store() = default;

Result<std::unique_ptr<Store>> Store::open(storage::FileSystem& file_system, StoreOptions options,
                                           const Clock& clock) {
  auto impl = std::make_unique<StoreImpl>(file_system, std::move(options), clock);
  TAILRACE_RETURN_IF_ERROR(impl->recover());
  return std::unique_ptr<Store>(new Store(std::move(impl)));
}

const std::optional<CheckpointInfo>& Store::recovered() const {
  return impl_->recovered_;
}
const std::vector<std::string>& Store::recovery_notes() const {
  return impl_->notes_;
}
Result<std::vector<CheckpointInfo>> Store::checkpoints() const {
  return impl_->checkpoints();
}
Result<> Store::validate_checkpoint(uint64_t token) const {
  return impl_->validate_checkpoint(token);
}
Result<std::unique_ptr<CheckpointSource>> Store::open_checkpoint_source(
    std::optional<uint64_t> token) {
  return impl_->open_checkpoint_source(token);
}
Result<std::unique_ptr<Session>> Store::start_session(SessionId id, SessionOptions options) {
  return impl_->start_session(id, options);
}

Store::ReadOutcome Store::try_read(ByteSpan key, std::string& value) {
  LogAddress cold = 0;
  return impl_->try_read(HashedKey(key), value, cold);
}

Result<> Store::read(ByteSpan key_text, std::string& value) {
  const HashedKey key(key_text);
  LogAddress cold = 0;
  ReadOutcome outcome = impl_->try_read(key, value, cold);
  if (outcome == ReadOutcome::kCold) {
    // The reader may still be in set_value() when this has the answer and returns.
    const auto promise = std::make_shared<std::promise<Result<bool>>>();
    auto answer = promise->get_future();
    impl_->reader_->read(key, cold, [promise, &value](Result<bool> found, std::string read) {
      value = std::move(read);
      promise->set_value(std::move(found));
    });
    TAILRACE_ASSIGN_OR_RETURN(auto found, answer.get());
    outcome = found ? ReadOutcome::kFound : ReadOutcome::kAbsent;
  }
  if (outcome == ReadOutcome::kFound) return {};
  return make_error(ErrorCode::kNotFound, "no such key");
}

void Store::read_async(ByteSpan key_text, ReadDone done) {
  const HashedKey key(key_text);
  std::string value;
  LogAddress cold = 0;
  const ReadOutcome outcome = impl_->try_read(key, value, cold);
  if (outcome == ReadOutcome::kCold) {
    impl_->reader_->read(key, cold, std::move(done));
  } else {
    done(outcome == ReadOutcome::kFound, std::move(value));
  }
}

Result<> Store::start_checkpoint(CheckpointRequest request) {
  return impl_->start_checkpoint(std::move(request));
}
CheckpointProgress Store::checkpoint_progress() const {
  return impl_->checkpoint_progress();
}
Result<std::unique_ptr<Scan>> Store::start_scan(ByteSpan prefix, Scan::Filter wanted) {
  return impl_->start_scan(prefix, std::move(wanted));
}
Result<> Store::for_each(const Scan::Visitor& visit) {
  return impl_->for_each(nullptr, visit, nullptr);
}
Result<> Store::for_each(const Scan::Filter& wanted, const Scan::Visitor& visit,
                         const std::function<void(double)>& progress) {
  return impl_->for_each(&wanted, visit, progress);
}
Result<LogAddress> Store::compact(LogAddress until) {
  return impl_->compactor_->compact(until);
}
std::unique_lock<Mutex> Store::hold_compaction(bool wait) {
  return impl_->compactor_->hold(wait);
}
void Store::pause_compaction(bool paused) {
  impl_->compactor_->pause(paused);
}
Result<> Store::grow_index() {
  return impl_->grow_index();
}

uint64_t Store::live_records() const {
  return impl_->engine().live_records();
}
uint64_t Store::live_bytes() const {
  return impl_->engine().live_bytes();
}
uint64_t Store::used_bytes() const {
  return impl_->used_bytes();
}
uint64_t Store::settled_bytes() const {
  return impl_->settled_bytes();
}
bool Store::wants_checkpoint() const {
  return impl_->wants_checkpoint();
}
uint64_t Store::capacity_bytes() const {
  return impl_->capacity_bytes();
}
bool Store::is_limited_by_disk() const {
  return impl_->is_limited_by_disk();
}
void Store::note_refused_write() const {
  impl_->probe().refusals.add();
}
size_t Store::max_record_bytes() const {
  return impl_->engine().max_record_bytes();
}
Store::LogExtent Store::log_extent() const {
  const HybridLog& log = impl_->engine().log();
  // Read from the lowest to the highest: they only grow.
  LogExtent extent;
  extent.begin = log.begin();
  extent.head = log.head();
  extent.read_only = log.read_only();
  extent.tail = log.tail();
  return extent;
}
uint64_t Store::index_buckets() const {
  return impl_->engine().index().bucket_count();
}
std::optional<Error> Store::failure() const {
  return impl_->engine().log().failure();
}
void Store::register_metrics(observability::MetricRegistry& registry) {
  impl_->register_metrics(registry);
}

// --- the inside ---

StoreImpl::StoreImpl(storage::FileSystem& file_system, StoreOptions options, const Clock& clock)
    : file_system_(file_system),
      options_(std::move(options)),
      clock_(clock),
      directory_(file_system, options_.directory) {}

// Each uses what is let go after it. A checkpoint that waits for a session that will never call
// again, and a compaction that waits for that checkpoint, are told first.
StoreImpl::~StoreImpl() {
  coordinator_.cancel();
  if (compactor_) compactor_->stop();
  checkpoints_.reset();
  reader_.reset();
}

Result<std::unique_ptr<Session>> StoreImpl::start_session(SessionId id, SessionOptions options) {
  auto core = std::make_unique<SessionCore>(*this, *engine_, coordinator_, id, options);
  TAILRACE_RETURN_IF_ERROR(core->open());
  return std::unique_ptr<Session>(new Session(std::move(core)));
}

Store::ReadOutcome StoreImpl::try_read(const HashedKey& key, std::string& value, LogAddress& cold) {
  ColdFound nothing;
  Engine::Waiting waiting;
  const storage::EpochProtection::Guard guard(protection_);
  switch (engine_->read(key, value, nothing, waiting)) {
    case Outcome::kDone:
      return Store::ReadOutcome::kFound;
    case Outcome::kCold:
      cold = waiting.address;
      return Store::ReadOutcome::kCold;
    case Outcome::kAbsent:
    case Outcome::kKept:
    case Outcome::kShifted:
    case Outcome::kNeedsRoom:
    case Outcome::kColdBeneath:
    case Outcome::kUnsafe:
    case Outcome::kNoIndexRoom:
    case Outcome::kTooLarge:
      break;  // a read comes to none but the first of these
  }
  return Store::ReadOutcome::kAbsent;
}

// --- the disk budget ---
//
// All that decides about room does it by these:
//
//   settled_bytes()   what the live records take however often they are compacted; the rest of the
//                     log is garbage
//   has_garbage()     whether compaction is worth while: an eighth of the log at least, so that a
//                     byte of room costs at most seven moved ones. Also when the estimate does not
//                     say so, but as many records were written blindly: each may have left more
//                     behind than was thought, and going once round the log sets the estimate right
//   capacity_bytes()  what live records may take of the budget: as long as used_bytes(), which is
//                     settled_bytes() then, is below it a write either finds room or has_garbage()
//                     holds. The rest is for the garbage that is not worth while yet, and for what
//                     compaction needs to move before it can give space back.
//
// Live bytes and how well pages are filled are estimates, and checkpoints and scans hold back
// garbage, so that is no promise for the next moment. A session that may not fail goes
// beyond the budget then (SessionOptions), and used_bytes() exceeds the capacity until compaction
// has made up for it.

uint64_t StoreImpl::settled_bytes() const {
  const HybridLog& log = engine_->log();
  return std::min(log.packed_bytes(engine_->live_bytes()), log.tail() - log.begin());
}

uint64_t StoreImpl::garbage_bytes() const {
  const HybridLog& log = engine_->log();
  const uint64_t bytes = log.tail() - log.begin();
  const uint64_t settled = settled_bytes();
  return bytes > settled ? bytes - settled : 0;
}

bool StoreImpl::has_garbage() const {
  const HybridLog& log = engine_->log();
  const uint64_t bytes = log.tail() - log.begin();
  if (garbage_bytes() >= std::max(bytes / 8, log.page_bytes())) return true;
  const uint64_t blind = engine_->blind_writes();
  return blind > 0 && blind >= engine_->live_records() / 8 && bytes >= 8 * log.page_bytes();
}

uint64_t StoreImpl::capacity_bytes() const {
  const HybridLog& log = engine_->log();
  const uint64_t budget = budget_bytes_.load(std::memory_order_relaxed);
  const uint64_t set_aside = log.reserve() + 2 * log.page_bytes();
  return budget > set_aside ? (budget - set_aside) / 8 * 7 : 0;
}

uint64_t StoreImpl::used_bytes() const {
  const HybridLog& log = engine_->log();
  const uint64_t budget = budget_bytes_.load(std::memory_order_relaxed);
  // Nothing but refusing keeps the reserve free where the disk itself is the budget.
  const uint64_t kept = options_.disk_bytes == 0 ? log.reserve() : 0;
  const uint64_t on_disk = log.disk_bytes() + kept;
  return on_disk > budget ? std::max(settled_bytes(), capacity_bytes() + on_disk - budget)
                          : settled_bytes();
}

void StoreImpl::measure_budget() {
  const uint64_t bytes = engine_->log().disk_capacity_bytes();
  budget_bytes_.store(bytes, std::memory_order_relaxed);
  engine_->log().set_reserve(options_.compaction.automatic
                                 ? std::min(options_.segment_bytes + options_.page_bytes, bytes / 8)
                                 : 0);
}

bool StoreImpl::wants_checkpoint() const {
  const HybridLog& log = engine_->log();
  return align_down(log.begin(), options_.segment_bytes) > log.disk_begin() &&
         log.disk_bytes() > budget_bytes() / 4 * 3 && pins_.least() > log.begin();
}

// At the disk budget what can be compacted is compacted first: once round the log at most, should
// the estimates promise what is not there.
Result<> StoreImpl::wait_for_room(uint64_t bytes) {
  const HybridLog& log = engine_->log();
  const LogAddress last = log.tail() + log.disk_bytes();
  for (;;) {
    auto room = engine_->log().wait_for_room(bytes);
    if (room || room.error().code != ErrorCode::kResourceExhausted) return room;
    if (log.tail() > last || !compactor_ || !compactor_->request_room()) return room;
  }
}

Result<> StoreImpl::grow_index() {
  const MutexLock lock(grow_mutex_);
  return engine_->index().grow();
}

// Seven entries a bucket: at five the overflow buckets begin to cost a cache miss here and there.
void StoreImpl::maintain_index() {
  constexpr uint64_t kMostEntriesPerBucket = 5;
  constexpr unsigned kMostDoublings = 10;  // hash_index.h says why
  const HashIndex& index = engine_->index();
  const uint64_t most_buckets = 1ull << (index.tag_shift() + kMostDoublings);
  while (options_.index_grows && index.bucket_count() < most_buckets &&
         index.entry_count() >= index.bucket_count() * kMostEntriesPerBucket) {
    // Without memory for it the old one serves on.
    if (!grow_index()) return;
  }
}

}  // namespace tailrace::kv
