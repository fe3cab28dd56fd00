#include "statemachine/applier.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "core/check.h"
#include "observability/logging.h"
#include "statemachine/digest.h"

namespace tailrace::statemachine {
namespace {

constexpr size_t kStretchRecords = 4096;
constexpr uint64_t kStretchBytes = 4u << 20;
constexpr size_t kDigestsKept = 64;
constexpr std::string_view kLogTimeKey = "mlog_time";

std::optional<int64_t> parse_integer(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

Applier::Applier(fasterlog::Log& log, kv::Store& store, Watermarks& watermarks,
                 const StateMachineOptions& options, Probe& probe)
    : log_(log),
      store_(store),
      watermarks_(watermarks),
      probe_(probe),
      sessions_(static_cast<uint64_t>(Nanoseconds(options.session_ttl).count()),
                options.session_answers) {}

Applier::~Applier() {
  stop();
}

Result<> Applier::recover(Address from) {
  Result<> result;
  store_.for_each([&](ByteSpan key, ByteSpan value) {
    if (!result || key.empty()) return;
    if (as_text(key) == kLogTimeKey && value.size() == 8) {
      log_time_ns_ = load<uint64_t>(value.data());
    } else if (as_text(key).front() == 's') {
      result = sessions_.load_pair(key, value);
    }
  });
  TAILRACE_RETURN_IF_ERROR(result);
  auto session = store_.start_session(kApplierSession);
  if (!session) return tl::unexpected(session.error());
  session_ = std::move(*session);
  session_->refresh(from.value);
  return {};
}

void Applier::start() {
  thread_ = std::thread([this] { run(); });
}

void Applier::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  progress_.notify_all();
  if (thread_.joinable()) thread_.join();
  session_.reset();
}

void Applier::wake() {
  {
    std::lock_guard lock(mutex_);
    woken_ = true;
  }
  work_.notify_one();
}

std::optional<Error> Applier::failure() const {
  std::lock_guard lock(mutex_);
  return failure_;
}

Result<> Applier::wait_applied(Address address, SteadyTime deadline) {
  std::unique_lock lock(mutex_);
  const auto over = [&] {
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

Result<StateDigest> Applier::digest_at(Address address) const {
  std::lock_guard lock(mutex_);
  for (const StateDigest& digest : digests_)
    if (digest.address == address) return digest;
  return make_error(ErrorCode::kNotFound,
                    "no digest is kept for address " + std::to_string(address.value));
}

void Applier::run() {
  for (;;) {
    while (apply_stretch()) {
      std::lock_guard lock(mutex_);
      if (stopping_) return;
    }
    std::unique_lock lock(mutex_);
    if (stopping_) return;
    if (failure_) {
      lock.unlock();
      // Half of a command may be in the store. Ending the session lets a checkpoint that runs come
      // to its end, where the checkpointer refuses to publish it.
      session_.reset();
      return;
    }
    // A running checkpoint needs the session to adopt its phases, also while nothing is applied.
    const bool checkpointing = store_.checkpoint_progress().phase != kv::CheckpointPhase::kRest;
    work_.wait_for(lock, std::chrono::milliseconds(checkpointing ? 1 : 100),
                   [&] { return woken_ || stopping_; });
    woken_ = false;
  }
}

bool Applier::apply_stretch() {
  const Address limit = watermarks_.applicable();
  const Address first = watermarks_.applied();
  if (!scanner_) scanner_ = log_.scan(first, {.with_commit_marks = true});
  auto batch = std::make_shared<AppliedBatch>();
  Address end = first;
  size_t records = 0;
  std::optional<Error> failed;
  while (records < kStretchRecords && end - first < kStretchBytes) {
    auto record = scanner_->next(limit);
    if (!record) {
      failed = with_context("apply: read the log", record.error());
      break;
    }
    if (!record->has_value()) break;
    TAILRACE_CHECK((*record)->end <= limit, "the log handed out a record that is not committed");
    if (auto applied = apply_record(**record, *batch); !applied) {
      failed = with_context("apply the record at " + std::to_string((*record)->address.value),
                            applied.error());
      break;
    }
    end = (*record)->end;
    ++records;
  }
  // After a failure the session's serial must not move: the failed record is not in the state.
  if (!failed) session_->refresh(end.value);
  if (end > first) {
    batch->range = {first, end};
    {
      std::lock_guard lock(mutex_);  // so that no waiter misses it
      watermarks_.advance_applied(end);
    }
    probe_.applied_records.add(records);
    probe_.applied_bytes.add(end - first);
    if (listener_) listener_(std::move(batch));
    progress_.notify_all();
  }
  if (failed) fail(std::move(*failed));
  return !failed && records > 0;
}

Result<> Applier::apply_record(const fasterlog::Record& record, AppliedBatch& batch) {
  if (record.kind == fasterlog::RecordKind::kCommitMark) return apply_mark(record);
  if (record.kind != kCommandRecord) return {};
  auto command = decode(record.payload);
  if (!command) return tl::unexpected(command.error());
  const kv::Serial at = record.end.value;
  Answer answer;
  std::optional<Answer> known;
  if (command->session) known = sessions_.check(*command->session);
  if (known) {
    probe_.replays.add();
    answer = std::move(*known);
  } else {
    if (command->operation != Operation::kDigest) {
      auto applied = apply_command(*command, at);
      if (!applied) return tl::unexpected(applied.error());
      answer = std::move(*applied);
    }
    if (command->session) {
      TAILRACE_RETURN_IF_ERROR(
          sessions_.remember(*session_, *command->session, answer, log_time_ns_, at));
    }
  }
  if (command->operation == Operation::kDigest) {
    const StateDigest digest = digest_of(store_, record.end);
    std::lock_guard lock(mutex_);
    digests_.push_back(digest);
    if (digests_.size() > kDigestsKept) digests_.pop_front();
  }
  if (answer.outcome != Outcome::kDone || answer.has_value)
    batch.answers.emplace_back(record.address, std::move(answer));
  return {};
}

Result<Answer> Applier::apply_command(const Command& command, kv::Serial at) {
  Answer answer;
  if (command.operation == Operation::kEvent) return answer;
  key_.assign(1, 'u');
  key_.append(as_text(command.key));
  const ByteSpan key = as_bytes(key_);
  if (command.operation == Operation::kPut) {
    TAILRACE_RETURN_IF_ERROR(session_->upsert(key, command.value, at));
    return answer;
  }
  if (command.operation == Operation::kDelete) {
    auto erased = session_->erase(key, at);
    if (!erased) return tl::unexpected(erased.error());
    if (!*erased) answer.outcome = Outcome::kAbsent;
    return answer;
  }
  const auto found = session_->read(key, present_);
  if (!found && found.error().code != ErrorCode::kNotFound) return tl::unexpected(found.error());
  if (command.operation == Operation::kCas) {
    if (found && present_ == as_text(command.expected)) {
      TAILRACE_RETURN_IF_ERROR(session_->upsert(key, command.value, at));
      return answer;
    }
    answer.outcome = Outcome::kCasMismatch;
    answer.has_value = found.has_value();
    if (found) answer.value = present_;
    return answer;
  }
  const std::optional<int64_t> before = found ? parse_integer(present_) : int64_t{0};
  int64_t sum = 0;
  if (!before || __builtin_add_overflow(*before, command.delta, &sum)) {
    answer.outcome = Outcome::kNotAnInteger;
    return answer;
  }
  answer.has_value = true;
  answer.value = std::to_string(sum);
  TAILRACE_RETURN_IF_ERROR(session_->upsert(key, as_bytes(answer.value), at));
  return answer;
}

Result<> Applier::apply_mark(const fasterlog::Record& record) {
  auto mark = fasterlog::parse_commit_mark(record);
  if (!mark) return tl::unexpected(mark.error());
  if (mark->unix_time_ns <= log_time_ns_) return {};  // log time never goes back
  const uint64_t before_ns = std::exchange(log_time_ns_, mark->unix_time_ns);
  std::byte time[8];
  tailrace::store(time, log_time_ns_);
  // Written at every mark: a node that recovers must see the same log time as one that never
  // stopped.
  TAILRACE_RETURN_IF_ERROR(session_->upsert(as_bytes(kLogTimeKey), time, record.end.value));
  return sessions_.log_time_moved(*session_, before_ns, log_time_ns_, record.end.value);
}

void Applier::fail(Error error) {
  observability::log_error("applying stopped: {}", error.message);
  {
    std::lock_guard lock(mutex_);
    failure_ = std::move(error);
  }
  progress_.notify_all();
}

}  // namespace tailrace::statemachine
