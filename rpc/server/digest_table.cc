#include "rpc/server/digest_table.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/thread.h"

namespace tailrace::rpc {
namespace {

constexpr size_t kAnswersKept = 8;
constexpr std::chrono::milliseconds kLookAgain{10};

}  // namespace

DigestTable::DigestTable(fasterlog::Log& log, const statemachine::StateMachine& machine)
    : log_(log), machine_(machine), thread_(named_thread("verify", [this] { run(); })) {}

DigestTable::~DigestTable() {
  stop();
}

void DigestTable::stop() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void DigestTable::ask(Question question, Asker asker) {
  MutexLock lock(mutex_);
  if (stopping_) return;
  if (askers_ >= kMostAskers) drop_all_gone();
  if (askers_ >= kMostAskers) {
    lock.unlock();
    return asker.done(make_error(ErrorCode::kResourceExhausted,
                                 "too many digests are asked for at a time; try again"));
  }
  auto found = std::find_if(waiting_.begin(), waiting_.end(),
                            [&](const Waiting& one) { return one.question == question; });
  if (found == waiting_.end())
    found =
        waiting_.insert(waiting_.end(), Waiting{question, {}, std::chrono::steady_clock::now()});
  found->askers.push_back(std::move(asker));
  ++askers_;
  changed_.notify_all();
}

/// The one in front is being worked on.
void DigestTable::drop_all_gone() {
  for (Waiting& one : waiting_)
    drop_gone(one.askers);
  const auto behind = waiting_.empty() ? waiting_.end() : std::next(waiting_.begin());
  waiting_.erase(
      std::remove_if(behind, waiting_.end(), [](const Waiting& one) { return one.askers.empty(); }),
      waiting_.end());
}

void DigestTable::choose_next() {
  newest_first_ = !newest_first_;
  if (!newest_first_) return;
  const auto newest = std::ranges::max_element(waiting_, {}, &Waiting::asked);
  Waiting next = std::move(*newest);
  waiting_.erase(newest);
  waiting_.push_front(std::move(next));
}

void DigestTable::run() {
  MutexLock lock(mutex_);
  for (;;) {
    changed_.wait(lock,
                  [this]() TAILRACE_REQUIRES(mutex_) { return stopping_ || !waiting_.empty(); });
    if (stopping_) return;
    // In turn: one whose state is still being read does not hold up the others.
    choose_next();
    const Question question = waiting_.front().question;
    drop_gone(waiting_.front().askers);
    if (waiting_.front().askers.empty()) {
      waiting_.pop_front();
      continue;
    }
    lock.unlock();
    const Result<Answer> result = answer(question);
    // Given up: whoever has come since waits for another reading.
    if (!result && result.error().code == ErrorCode::kCancelled) {
      lock.lock();
      continue;
    }
    const bool computed = result || result.error().code != ErrorCode::kWouldBlock;
    for (const Asker& asker : take_askers(question, computed))
      asker.done(result);
    lock.lock();
    if (!computed)
      changed_.wait_for(lock, kLookAgain, [this]() TAILRACE_REQUIRES(mutex_) { return stopping_; });
  }
}

std::vector<DigestTable::Asker> DigestTable::take_askers(const Question& question, bool all) {
  const MutexLock lock(mutex_);
  Waiting& front = waiting_.front();
  const auto now = std::chrono::steady_clock::now();
  const auto stays =
      std::stable_partition(front.askers.begin(), front.askers.end(),
                            [&](const Asker& asker) { return !all && asker.deadline > now; });
  std::vector<Asker> taken(std::make_move_iterator(stays),
                           std::make_move_iterator(front.askers.end()));
  front.askers.erase(stays, front.askers.end());
  askers_ -= taken.size();
  Waiting rest{question, std::move(front.askers), front.asked};
  waiting_.pop_front();
  if (!rest.askers.empty()) waiting_.push_back(std::move(rest));
  return taken;
}

void DigestTable::drop_gone(std::vector<Asker>& askers) {
  askers_ -= std::erase_if(askers, [](const Asker& asker) { return asker.wanted.expired(); });
}

bool DigestTable::anyone_waits(const Question& question) {
  const MutexLock lock(mutex_);
  if (stopping_) return false;
  for (const Waiting& one : waiting_)
    if (one.question == question)
      return std::any_of(one.askers.begin(), one.askers.end(),
                         [](const Asker& asker) { return !asker.wanted.expired(); });
  return false;
}

Result<DigestTable::Answer> DigestTable::answer(const Question& question) {
  TAILRACE_ASSIGN_OR_RETURN(const auto state, machine_.digest_at(question.address));
  const auto kept = std::find_if(kept_.begin(), kept_.end(),
                                 [&](const auto& one) { return one.first == question; });
  // What is truncated meanwhile cannot be compared any more.
  if (kept != kept_.end() && kept->second.begin == log_.begin()) return kept->second;
  TAILRACE_ASSIGN_OR_RETURN(auto found, with_log(question, state));
  kept_.emplace_back(question, found);
  if (kept_.size() > kAnswersKept) kept_.pop_front();
  return found;
}

Result<DigestTable::Answer> DigestTable::with_log(const Question& question,
                                                  const statemachine::StateDigest& state) {
  Answer answer{log_.begin(), state, {}};
  const Address from = question.log_from == Address{} ? answer.begin : question.log_from;
  // The digest command stands inside a batch: the log is compared up to the batch before.
  TAILRACE_ASSIGN_OR_RETURN(const auto end, log_.mark_end_at(question.address));
  if (from < answer.begin)
    return make_error(ErrorCode::kTruncated, fmt::format("the log begins at address {}, above {}",
                                                         answer.begin.value, from.value));
  if (from < end) {
    const auto wanted = [&] { return anyone_waits(question); };
    TAILRACE_ASSIGN_OR_RETURN(answer.log, machine_.log_digest(AddressRange{from, end}, wanted));
  }
  return answer;
}

}  // namespace tailrace::rpc
