#include "statemachine/applier.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "core/check.h"
#include "core/thread.h"
#include "observability/logging.h"
#include "statemachine/command/command_table.h"
#include "statemachine/digest.h"

namespace tailrace::statemachine {
namespace {

constexpr size_t kStretchRecords = 4096;
constexpr uint64_t kStretchBytes = 4u << 20;
// Whoever listens has all answers of a stretch in memory until they are sent.
constexpr size_t kStretchAnswerBytes = 1u << 20;
constexpr size_t kDigestsKept = 64;
constexpr std::chrono::minutes kTellEvery{1};
/// A store's log of so many bytes is summed up in a few milliseconds: at once.
constexpr uint64_t kSmallStateBytes = 4u << 20;
constexpr size_t kMarksKept = 65536;
constexpr std::string_view kLogTimeKey = "mlog_time", kFormatKey = "mformat", kRulesKey = "mrules";

Rules rules_of(const StateMachineOptions& options) {
  Rules rules;
  rules.session_ttl_ns = static_cast<uint64_t>(Nanoseconds(options.session_ttl).count());
  rules.session_answers = options.session_answers;
  rules.limits = options.session_limits;
  rules.positions = true;
  return rules;
}

/// As long as the log has none.
Rules own_rules(const StateMachineOptions& options) {
  Rules rules = rules_of(options);
  rules.limits.reset();
  rules.positions = false;
  return rules;
}

uint32_t format_of(const Rules& rules) {
  if (rules.positions) return kStateFormat;
  return rules.limits ? kStateFormatBeforePositions : kStateFormatBeforeLimits;
}

}  // namespace

Applier::Applier(fasterlog::Log& log, kv::Store& store, Watermarks& watermarks,
                 const StateMachineOptions& options, Probe& probe)
    : log_(log),
      store_(store),
      watermarks_(watermarks),
      probe_(probe),
      outcomes_(options.outcomes),
      waits_(options.waits_for_disk),
      sessions_(own_rules(options), probe),
      txns_(store, expiries_) {
  rules_.in_force = own_rules(options);
  rules_.wanted = rules_of(options);
}

Applier::~Applier() {
  stop();
}

Result<> Applier::recover(Address from, const std::function<void(double)>& progress) {
  const auto number = [this](std::string_view key) -> Result<uint64_t> {
    std::string value;
    if (auto read = store_.read(as_bytes(key), value);
        !read && read.error().code != ErrorCode::kNotFound)
      return tl::unexpected(std::move(read).error());
    std::array<std::byte, 8> bytes{};  // little-endian: the rest of a shorter one is zeros
    std::memcpy(bytes.data(), value.data(), std::min(value.size(), bytes.size()));
    return load<uint64_t>(bytes.data());
  };
  TAILRACE_ASSIGN_OR_RETURN(const auto noted, number(kFormatKey));
  // Format 1 did not note itself.
  const uint64_t format = format_ = noted == 0 && store_.recovered() ? 1 : noted;
  if (format > kStateFormat)
    return make_error(ErrorCode::kUnsupported,
                      "the state in the checkpoint is of format " + std::to_string(format) +
                          ", this version knows " + std::to_string(kStateFormat) +
                          "; upgrade this node");
  TAILRACE_ASSIGN_OR_RETURN(const auto log_time, number(kLogTimeKey));
  log_time_ns_.store(log_time, std::memory_order_release);
  if (format > kStateFormatBeforeRules) {
    std::string value;
    TAILRACE_RETURN_IF_ERROR(store_.read(as_bytes(kRulesKey), value));
    TAILRACE_ASSIGN_OR_RETURN(const auto rules, decode_rules(as_bytes(value)));
    sessions_.take_rules(rules);
    positions_ = rules.positions;
    {
      const MutexLock lock(mutex_);
      rules_.in_force = rules;
      rules_.in_log = true;
    }
    auto evicted = store_.read(as_bytes(kEvictedKey), value);
    if (!evicted && evicted.error().code != ErrorCode::kNotFound) return evicted;
    if (evicted) TAILRACE_RETURN_IF_ERROR(sessions_.load_evicted(as_bytes(value)));
  }
  TAILRACE_RETURN_IF_ERROR(load_scavenge_point());
  TAILRACE_RETURN_IF_ERROR(load_state(format, progress));
  {
    const MutexLock lock(mutex_);
    marks_.emplace_back(from, log_time_ns());
  }
  // What is committed must be applied: the budget is the leader's to keep (StateMachine::admit).
  kv::SessionOptions options;
  options.beyond_disk_budget = true;
  if (waits_) options.waits_for_disk = [this] { return waits_for_disk(); };
  TAILRACE_ASSIGN_OR_RETURN(session_, store_.start_session(kApplierSession, options));
  TAILRACE_RETURN_IF_ERROR(txns_.open(*session_, outcomes_ ? &recorder_ : nullptr));
  if (format >= kStateFormatBeforeRules) {
    session_->refresh(from.value);
    return {};
  }
  // No checkpoint can come in between: none is taken before start(). The serial is one that no
  // record has, for the recovered session may have done `from` before; point_of() knows.
  const kv::Serial at = std::max(from.value, session_->last_serial()) + 1;
  TAILRACE_RETURN_IF_ERROR(upgrade(at));
  session_->refresh(at);
  return {};
}

Result<> Applier::load_state(uint64_t format, const std::function<void(double)>& progress) {
  Result<> result;
  // What users have stored is most of it, and of that no more is wanted than when something may
  // expire: not whether a record is still its key's, for which many would be looked up on the disk
  // (half a minute for 4 GB).
  const auto wanted = [&](ByteSpan key, ByteSpan value) {
    if (key.empty() || !result) return false;
    const char kind = as_text(key).front();
    if (kind != kUserKey) return kind == kSessionKey || kind == kAnswerKey || kind == kOnceKey;
    if (format == 1) return false;
    const auto stored = decode_state_value(value);
    // Of format 1, and overwritten by the upgrade, or damaged: that is to be found out.
    if (!stored) return true;
    if (stored->expires_at_ns != 0) expiries_.note(stored->expires_at_ns);
    return false;
  };
  const auto take = [&](ByteSpan key, ByteSpan value) {
    if (!result) return;
    const char kind = as_text(key).front();
    if (kind == kOnceKey)
      result = txns_.load_once(key, value);
    else if (kind == kUserKey)
      result = make_error(ErrorCode::kCorruption, "a value in the checkpoint does not parse");
    else
      result = format == 1 ? sessions_.load_pair_of_format_1(key, value)
                           : sessions_.load_pair(key, value);
  };
  // There is no session yet that compaction would wait for.
  const auto quiet = store_.hold_compaction(true);
  TAILRACE_RETURN_IF_ERROR(store_.for_each(wanted, take, progress));
  TAILRACE_RETURN_IF_ERROR(result);
  TAILRACE_RETURN_IF_ERROR(sessions_.finish_loading());
  expiries_.passed(log_time_ns());
  return {};
}

Result<> Applier::upgrade(kv::Serial at) {
  // State of format 1 was held in memory whole, so its keys are no more than that.
  std::vector<std::string> keys;
  {
    // One that is under way may wait for this thread's session.
    auto quiet = store_.hold_compaction(false);
    for (; !quiet.owns_lock(); quiet = store_.hold_compaction(false)) {
      session_->refresh(session_->last_serial());
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    TAILRACE_RETURN_IF_ERROR(store_.for_each([&](ByteSpan key, ByteSpan) {
      if (!key.empty() && as_text(key).front() == kUserKey) keys.push_back(to_string(key));
    }));
  }
  for (const std::string& key : keys) {
    const auto wrap = [](const ByteSpan* present, std::string& next) {
      if (present == nullptr) return kv::Modification::kKeep;
      encode_state_value({*present}, next);
      return kv::Modification::kWrite;
    };
    TAILRACE_RETURN_IF_ERROR(session_->rmw(as_bytes(key), wrap, at));
  }
  TAILRACE_RETURN_IF_ERROR(sessions_.write_all(*session_, at));
  return note_format(kStateFormatBeforeRules, at);
}

Result<> Applier::note_format(uint32_t format, kv::Serial at) {
  std::byte bytes[4];
  tailrace::store(bytes, format);
  format_ = format;
  return session_->upsert(as_bytes(kFormatKey), bytes, at);
}

void Applier::start() {
  thread_ = named_thread("apply", [this] { run(); });
}

void Applier::stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  progress_.notify_all();
  if (thread_.joinable()) thread_.join();
  end_session();
  visits_.close(Error{ErrorCode::kClosed, "the state machine is stopping"});
}

void Applier::end_session() {
  txns_.close();
  session_.reset();
}

void Applier::wake() {
  {
    MutexLock lock(mutex_);
    woken_ = true;
  }
  work_.notify_one();
}

std::optional<Error> Applier::failure() const {
  MutexLock lock(mutex_);
  return failure_;
}

Result<> Applier::wait_applied(Address address, SteadyTime deadline) {
  MutexLock lock(mutex_);
  const auto over = [&]() TAILRACE_REQUIRES(mutex_) {
    return watermarks_.applied() >= address || failure_.has_value() || stopping_;
  };
  if (deadline == SteadyTime::max()) {
    progress_.wait(lock, over);
  } else {
    progress_.wait_until(lock, deadline, over);
  }
  if (watermarks_.applied() >= address) return {};
  if (failure_) return tl::unexpected(*failure_);
  if (stopping_) return make_error(ErrorCode::kClosed, "the state machine is stopping");
  return make_error(ErrorCode::kTimedOut,
                    "address " + std::to_string(address.value) + " is not applied yet");
}

void Applier::keep(const StateDigest& digest) {
  const MutexLock lock(mutex_);
  digests_.push_back(digest);
  if (digests_.size() > kDigestsKept) digests_.pop_front();
}

Result<StateDigest> Applier::digest_at(Address address) const {
  // Asked first: the background keeps a digest before it says that it has ended.
  if (const auto done = background_ ? background_->runs_at(address) : std::nullopt)
    return make_error(ErrorCode::kWouldBlock,
                      "the digest at " + std::to_string(address.value) +
                          " is being computed: " + std::to_string(static_cast<int>(*done * 100)) +
                          " % of the state is read");
  MutexLock lock(mutex_);
  for (const StateDigest& digest : digests_)
    if (digest.address == address) return digest;
  return make_error(
      ErrorCode::kNotFound,
      "no digest is kept for address " + std::to_string(address.value) +
          ": no digest command ends there, or this node skipped it because a checkpoint or "
          "another digest ran; ask for another one");
}

void Applier::run() {
  for (;;) {
    while (apply_stretch()) {
      visits_.run(watermarks_);
      MutexLock lock(mutex_);
      if (stopping_) return;
    }
    // Half of a command may be in the store after a failure.
    if (const auto failed = failure())
      visits_.close(*failed);
    else
      visits_.run(watermarks_);
    MutexLock lock(mutex_);
    if (stopping_) return;
    if (failure_) {
      lock.unlock();
      // Half of a command may be in the store. Ending the session lets a checkpoint that runs come
      // to its end, where the checkpointer refuses to publish it.
      end_session();
      return;
    }
    // A running checkpoint needs the session to adopt its phases, also while nothing is applied.
    const bool checkpointing =
        hurries_.load() > 0 || store_.checkpoint_progress().phase != kv::CheckpointPhase::kRest;
    work_.wait_for(lock, std::chrono::milliseconds(checkpointing ? 1 : 100),
                   [&]()
                       TAILRACE_REQUIRES(mutex_) { return woken_ || stopping_ || visits_.any(); });
    woken_ = false;
  }
}

bool Applier::apply_stretch() {
  const Address limit = watermarks_.applicable();
  const Address first = watermarks_.applied();
  if (!scanner_) scanner_ = log_.scan(first, {.with_commit_marks = true});
  std::shared_ptr<AppliedBatch> batch;  // of one epoch
  Address end = first;
  size_t records = 0, told = 0;
  std::optional<Error> failed;
  while (!failed && records < kStretchRecords && end - first < kStretchBytes) {
    ahead_.read(*scanner_, limit, kStretchRecords - records, kStretchBytes - (end - first),
                *session_, txns_.streams());
    for (const RecordsAhead::Item& item : ahead_.items()) {
      const fasterlog::Record& record = item.record;
      TAILRACE_CHECK(record.end <= limit, "the log handed out a record that is not committed");
      if (batch && (batch->epoch != record.epoch || batch->answer_bytes > kStretchAnswerBytes)) {
        session_->refresh(end.value);
        stretch_applied(std::move(batch), records - std::exchange(told, records));
      }
      if (!batch)
        batch = std::make_shared<AppliedBatch>(AppliedBatch{record.epoch, {end, end}, {}, 0});
      if (auto applied = apply_record(item, *batch); !applied) {
        failed = with_context("apply the record at " + std::to_string(record.address.value),
                              applied.error());
        break;
      }
      batch->range.end = end = record.end;
      ++records;
    }
    if (!failed && ahead_.error()) failed = with_context("apply: read the log", *ahead_.error());
    if (ahead_.items().empty()) break;
  }
  // After a failure the session's serial must not move: the failed record is not in the state.
  if (!failed) session_->refresh(end.value);
  if (batch && !batch->range.empty()) stretch_applied(std::move(batch), records - told);
  if (failed) fail(std::move(*failed));
  return !failed && records > 0;
}

void Applier::stretch_applied(std::shared_ptr<AppliedBatch> batch, size_t records) {
  const AddressRange range = batch->range;
  if (outcomes_) outcomes_->applied(range.end, recorder_.take());
  {
    MutexLock lock(mutex_);  // so that no waiter misses it
    watermarks_.advance_applied(range.end, batch->epoch);
  }
  probe_.applied_records.add(records);
  probe_.applied_bytes.add(range.end - range.first);
  if (listener_) listener_(std::move(batch));
  progress_.notify_all();
}

Result<> Applier::apply_record(const RecordsAhead::Item& item, AppliedBatch& batch) {
  const fasterlog::Record& record = item.record;
  if (item.plain_event) {
    moved_.store(true, std::memory_order_release);
    return {};
  }
  if (record.kind == fasterlog::RecordKind::kCommitMark) return apply_mark(record);
  if (record.kind != kCommandRecord) return {};
  const Result<Command>& command = item.command;
  if (!command) return tl::unexpected(command.error());
  const kv::Serial at = record.end.value;
  Answer answer;
  std::optional<Answer> known;
  if (command->session) known = sessions_.check(*command->session, log_time_ns());
  if (known) {
    probe_.replays.add();
    answer = std::move(*known);
  } else {
    position_ = positions_ ? record.address.value : 0;
    if (command->operation != Operation::kDigest && command->operation != Operation::kCompare) {
      TAILRACE_ASSIGN_OR_RETURN(answer, apply_command(item));
    }
    if (command->session) {
      TAILRACE_RETURN_IF_ERROR(
          sessions_.remember(*session_, *command->session, answer, log_time_ns(), at));
    }
  }
  if (command->operation == Operation::kDigest) TAILRACE_RETURN_IF_ERROR(digest(record.end));
  if (command->operation == Operation::kCompare) {
    compare(record.end);
  } else if (command->operation != Operation::kTime && command->operation != Operation::kDigest) {
    moved_.store(true, std::memory_order_release);
  }
  if (answer.outcome != Outcome::kDone || answer.has_value) {
    batch.answer_bytes += answer.value.size();
    batch.answers.emplace_back(record.address, std::move(answer));
  }
  return {};
}

void Applier::compare(Address at) {
  moved_.store(false, std::memory_order_release);
  begin_background(at, BackgroundDigest::Purpose::kComparison);
}

Result<> Applier::digest(Address at) {
  const kv::Store::LogExtent extent = store_.log_extent();
  const bool small = extent.tail - extent.begin <= kSmallStateBytes;
  const auto quiet = small ? store_.hold_compaction(false) : std::unique_lock<Mutex>();
  if (!quiet.owns_lock()) {
    begin_background(at, BackgroundDigest::Purpose::kRequest);
    return {};
  }
  TAILRACE_ASSIGN_OR_RETURN(const auto sum, digest_of(store_, at, log_time_ns()));
  keep(sum);
  return {};
}

void Applier::begin_background(Address at, BackgroundDigest::Purpose purpose) {
  if (background_ == nullptr) return;
  // All below is done, so whoever freezes the state now gets this address.
  session_->refresh(at.value);
  const bool busy =
      hurries_.load() > 0 || store_.checkpoint_progress().phase != kv::CheckpointPhase::kRest;
  if (busy)
    background_->skip(at, purpose);
  else
    background_->begin(at, log_time_ns(), purpose);
}

Result<Answer> Applier::apply_rules(ByteSpan value, kv::Serial at) {
  TAILRACE_ASSIGN_OR_RETURN(auto rules, decode_rules(value));
  // What a version does not have stays as it is. (Who leads a cluster of a later one writes that.)
  const Rules before = this->rules().in_force;
  if (!rules.limits) rules.limits = before.limits;
  rules.positions |= before.positions;
  std::vector<std::byte> bytes;
  encode(rules, bytes);
  TAILRACE_RETURN_IF_ERROR(session_->upsert(as_bytes(kRulesKey), bytes, at));
  if (format_ < format_of(rules)) TAILRACE_RETURN_IF_ERROR(note_format(format_of(rules), at));
  sessions_.take_rules(rules);
  positions_ = rules.positions;
  const MutexLock lock(mutex_);
  rules_.in_force = rules;
  rules_.in_log = true;
  return Answer{};
}

ScavengePoint Applier::scavenge_point() const {
  const MutexLock lock(mutex_);
  return scavenge_;
}

RulesStatus Applier::rules() const {
  const MutexLock lock(mutex_);
  RulesStatus rules = rules_;
  rules.floor_ns = sessions_.floor_ns();
  return rules;
}

std::optional<uint64_t> Applier::log_time_at(Address address) const {
  const MutexLock lock(mutex_);
  const auto after = std::partition_point(marks_.begin(), marks_.end(),
                                          [&](const auto& mark) { return mark.first <= address; });
  if (after == marks_.begin()) return std::nullopt;
  return std::prev(after)->second;
}

Result<> Applier::apply_mark(const fasterlog::Record& record) {
  TAILRACE_ASSIGN_OR_RETURN(auto mark, fasterlog::parse_commit_mark(record));
  const uint64_t before_ns = log_time_ns(), now_ns = mark.unix_time_ns;
  if (now_ns <= before_ns) return {};  // log time never goes back
  std::byte time[8];
  tailrace::store(time, now_ns);
  // Written at every mark: a node that recovers must see the same log time as one that never
  // stopped.
  TAILRACE_RETURN_IF_ERROR(session_->upsert(as_bytes(kLogTimeKey), time, record.end.value));
  TAILRACE_RETURN_IF_ERROR(
      sessions_.log_time_moved(*session_, before_ns, now_ns, record.end.value));
  TAILRACE_RETURN_IF_ERROR(txns_.log_time_moved(now_ns, record.end.value));
  expiries_.passed(now_ns);
  const MutexLock lock(mutex_);
  marks_.emplace_back(record.end, now_ns);
  if (marks_.size() > kMarksKept) marks_.pop_front();
  log_time_ns_.store(now_ns, std::memory_order_release);
  return {};
}

bool Applier::waits_for_disk() {
  if (gives_up_.load(std::memory_order_acquire)) return false;
  const SteadyTime now = std::chrono::steady_clock::now();
  if (now - told_of_disk_ < kTellEvery) return true;
  told_of_disk_ = now;
  observability::log_error(
      "applying waits: the disk of the store is full; make room on it, and it goes on by itself");
  return true;
}

void Applier::fail(Error error) {
  observability::log_error("applying stopped: {}", error.message);
  {
    MutexLock lock(mutex_);
    failure_ = std::move(error);
  }
  progress_.notify_all();
}

}  // namespace tailrace::statemachine
