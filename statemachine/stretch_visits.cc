#include "statemachine/stretch_visits.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "core/clock.h"

namespace tailrace::statemachine {
namespace {

// A stretch takes longer than that, so whoever looks takes at most half of the applier's time.
constexpr std::chrono::microseconds kMostTime{500};

}  // namespace

StretchVisits::Id StretchVisits::add(Visit visit) {
  std::optional<Error> closed;
  Id id = 0;
  {
    const MutexLock lock(mutex_);
    id = ++last_;
    closed = closed_;
    if (!closed) {
      visits_.emplace_back(id, std::move(visit));
      waiting_.store(visits_.size(), std::memory_order_release);
    }
  }
  if (closed) visit(tl::unexpected(*closed));
  return id;
}

void StretchVisits::forget(Id id) {
  Visit forgotten;  // what it holds goes without the lock
  const MutexLock lock(mutex_);
  const auto found =
      std::ranges::find_if(visits_, [id](const auto& one) { return one.first == id; });
  if (found == visits_.end()) return;
  forgotten = std::move(found->second);
  visits_.erase(found);
  waiting_.store(visits_.size(), std::memory_order_release);
}

void StretchVisits::run_some(LogPoint at) {
  const SteadyTime until = std::chrono::steady_clock::now() + kMostTime;
  do {
    Visit next;
    {
      const MutexLock lock(mutex_);
      if (visits_.empty()) return;
      next = std::move(visits_.front().second);
      visits_.pop_front();
      waiting_.store(visits_.size(), std::memory_order_release);
    }
    next(at);
  } while (std::chrono::steady_clock::now() < until);
}

void StretchVisits::close(const Error& error) {
  std::deque<std::pair<Id, Visit>> left;
  {
    const MutexLock lock(mutex_);
    closed_ = error;
    left.swap(visits_);
    waiting_.store(0, std::memory_order_release);
  }
  for (const auto& [id, visit] : left)
    visit(tl::unexpected(error));
}

}  // namespace tailrace::statemachine
