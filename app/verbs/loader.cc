#include "app/verbs/loader.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/clock.h"
#include "statemachine/command/command_table.h"
#include "statemachine/txn/txn.h"

namespace tailrace::app {

namespace {

using statemachine::Operation;
using statemachine::Outcome;

// What is one batch in a dump may be many clients' batches: what became durable together.
constexpr size_t kMostEventBatchBytes = 8u << 20;
constexpr size_t kMostEvents = 1u << 17;
constexpr size_t kMostPutsInFlight = 256;
constexpr uint64_t kMillisecondNs = 1'000'000;

/// How long what expires at that time has still to live; nothing when that is over.
std::optional<std::chrono::milliseconds> left_of(uint64_t expires_at_ns) {
  const uint64_t now_ns = system_clock().unix_time_ns();
  if (expires_at_ns <= now_ns) return std::nullopt;
  return std::chrono::milliseconds((expires_at_ns - now_ns) / kMillisecondNs + 1);
}

/// A session that had ended, or an outcome of a newer version: not what applying came to.
Result<> check_outcome(const statemachine::Answer& answer) {
  if (answer.outcome <= Outcome::kNotAnInteger || answer.outcome == Outcome::kTxnFailed) return {};
  return make_error(ErrorCode::kUnknownOutcome,
                    "the session had ended: the command may or may not have been applied");
}

}  // namespace

Loader::~Loader() {
  MutexLock lock(mutex_);
  changed_.wait(lock, [this]() TAILRACE_REQUIRES(mutex_) { return in_flight_ == 0; });
}

bool Loader::is_wanted(DumpedSessions::Verdict verdict, Address address) {
  if (verdict == DumpedSessions::Verdict::kApplied) return true;
  if (verdict == DumpedSessions::Verdict::kDidNothing) {
    ++totals_.repeats;
    return false;
  }
  if (totals_.unknown++ == 0) totals_.first_unknown = address;
  return apply_unknown_;
}

Result<> Loader::take(DumpedLine line) {
  const DumpedSessions::Verdict verdict = sessions_.take(line);
  {
    const MutexLock lock(mutex_);
    if (!line.operation) {
      ++totals_.own;
      return {};
    }
    if (line.address < from_) {
      ++totals_.before;
      return {};
    }
    if (!is_wanted(verdict, line.address)) return {};
  }
  if (*line.operation == Operation::kEvent) return append(std::move(line));
  TAILRACE_RETURN_IF_ERROR(send_events());
  return send_command(line);
}

/// Of the one that is last: answers may come in another order.
void Loader::note_end(const rpc::CommandAnswer& answer) {
  log_end_ = std::max(log_end_, std::pair(answer.epoch, answer.range.end));
}

Result<> Loader::append(DumpedLine line) {
  if (!events_.empty()) {
    const bool same = events_.back().key == line.key && events_.back().batch == line.batch;
    const bool full =
        events_.size() >= kMostEvents || event_bytes_ + line.value.size() > kMostEventBatchBytes;
    if (same && full && line.batch != Address{}) {
      const MutexLock lock(mutex_);
      ++totals_.divided;
    }
    if (!same || full) TAILRACE_RETURN_IF_ERROR(send_events());
  }
  event_bytes_ += line.value.size();
  events_.push_back(std::move(line));
  return {};
}

Result<> Loader::send_events() {
  if (events_.empty()) return {};
  TAILRACE_RETURN_IF_ERROR(settle(0));
  TAILRACE_RETURN_IF_ERROR(send_events(0, events_.size()));
  events_.clear();
  event_bytes_ = 0;
  return {};
}

Result<> Loader::send_events(size_t first, size_t count) {
  {
    const MutexLock lock(mutex_);
    resume_ = events_[first].address;
  }
  std::vector<ByteSpan> batch;
  for (size_t i = first; i < first + count; ++i)
    batch.push_back(as_bytes(events_[i].value));
  const auto answer = client_.append(events_[first].key, batch);
  if (!answer && answer.error().code == ErrorCode::kInvalidArgument && count > 1) {
    {
      const MutexLock lock(mutex_);
      ++totals_.divided;
    }
    TAILRACE_RETURN_IF_ERROR(send_events(first, count / 2));
    return send_events(first + count / 2, count - count / 2);
  }
  if (!answer) return tl::unexpected(answer.error());
  const MutexLock lock(mutex_);
  totals_.events += count;
  note_end(*answer);
  resume_ = events_[first + count - 1].end;
  return {};
}

Result<> Loader::send_command(const DumpedLine& line) {
  if (*line.operation == Operation::kPut && line.expires_at_ns == 0) {
    TAILRACE_RETURN_IF_ERROR(settle(kMostPutsInFlight - 1));
    flow(line);
    return {};
  }
  TAILRACE_RETURN_IF_ERROR(settle(0));
  {
    const MutexLock lock(mutex_);
    resume_ = line.address;
  }
  TAILRACE_ASSIGN_OR_RETURN(const auto answer, call(line));
  TAILRACE_RETURN_IF_ERROR(check_outcome(answer.answer));
  const MutexLock lock(mutex_);
  ++totals_.commands;
  note_end(answer);
  if (answer.answer.outcome != Outcome::kDone) ++totals_.without_effect;
  resume_ = line.end;
  return {};
}

/// With the times that are left. What has expired meanwhile expires at once; a once key whose time
/// is over is none.
Result<rpc::CommandAnswer> Loader::call_txn(const DumpedLine& line) {
  statemachine::Txn txn;
  TAILRACE_RETURN_IF_ERROR(statemachine::decode(as_bytes(line.value), txn));
  const uint64_t now_ns = system_clock().unix_time_ns();
  const auto left_ns = [now_ns](uint64_t until_ns) {
    return until_ns > now_ns ? until_ns - now_ns : 1;
  };
  txn.time_ns = 0;
  for (auto* list : {&txn.then, &txn.otherwise})
    for (statemachine::TxnEffect& effect : *list)
      if (effect.expires_at_ns != 0) effect.expires_at_ns = left_ns(effect.expires_at_ns);
  if (txn.once && txn.once->until_ns <= now_ns) txn.once.reset();
  if (txn.once)
    txn.once->until_ns = std::min(left_ns(txn.once->until_ns), statemachine::kMaxOnceNs);
  TAILRACE_ASSIGN_OR_RETURN(const auto answer, client_.txn(txn));
  rpc::CommandAnswer told{answer.epoch, answer.range, answer.range.first, {}};
  if (!answer.succeeded) told.answer.outcome = Outcome::kTxnFailed;
  return told;
}

/// As the table says what the command has.
Result<rpc::CommandAnswer> Loader::call(const DumpedLine& line) {
  using namespace statemachine;
  const Operation operation = *line.operation;
  if (operation == Operation::kTxn) return call_txn(line);
  rpc::Client::Write write{.operation = operation, .key = as_bytes(line.key)};
  if (has(operation, kHasValue)) write.value = as_bytes(line.value);
  if (has(operation, kHasExpected)) write.expected = as_bytes(line.expected);
  if (has(operation, kHasDelta)) write.delta = line.delta;
  if (has(operation, kHasTime) && line.expires_at_ns != 0) {
    const auto left = left_of(line.expires_at_ns);
    // What has expired meanwhile is gone; unless it took the place of nothing, or of something
    // else, depending on what was there: then it still does, and is gone at once.
    const bool depends =
        info_of(operation).effect == Effect::kModifies && has(operation, kHasValue);
    if (!left && !depends) return client_.erase(write.key);
    write.time_to_live = left.value_or(std::chrono::milliseconds(1));
  }
  return client_.write(write);
}

/// Puts may be in flight together: sent again from the first that failed on, they come to the same.
void Loader::flow(const DumpedLine& line) {
  {
    const MutexLock lock(mutex_);
    if (in_flight_ == 0) resume_ = line.address;
    ++in_flight_;
  }
  const Address address = line.address, end = line.end;
  client_.async_put(as_bytes(line.key), as_bytes(line.value),
                    [this, address, end](const Result<rpc::CommandAnswer>& answer) {
                      const MutexLock lock(mutex_);
                      --in_flight_;
                      Result<> checked =
                          answer ? check_outcome(answer->answer) : tl::unexpected(answer.error());
                      if (!checked && (!failed_ || address < failed_->first))
                        failed_ = {address, std::move(checked).error()};
                      if (answer) {
                        ++totals_.commands;
                        note_end(*answer);
                        if (in_flight_ == 0 && !failed_) resume_ = end;
                      }
                      changed_.notify_all();
                    });
}

Result<> Loader::settle(size_t most_in_flight) {
  MutexLock lock(mutex_);
  changed_.wait(
      lock, [&]() TAILRACE_REQUIRES(mutex_) { return in_flight_ <= most_in_flight || failed_; });
  if (!failed_) return {};
  changed_.wait(lock, [&]() TAILRACE_REQUIRES(mutex_) { return in_flight_ == 0; });
  resume_ = failed_->first;
  return tl::unexpected(failed_->second);
}

Result<> Loader::finish() {
  TAILRACE_RETURN_IF_ERROR(send_events());
  return settle(0);
}

}  // namespace tailrace::app
