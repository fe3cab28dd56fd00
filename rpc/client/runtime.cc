#include "rpc/client/runtime.h"

#include <algorithm>
#include <utility>

#include <asio/post.hpp>
#include <fmt/format.h>

#include "core/check.h"
#include "core/thread.h"
#include "rpc/client/loop.h"

namespace tailrace::rpc {
namespace {

thread_local Loop* current_loop = nullptr;

}  // namespace

// ---- Deadlines.

void DeadlineList::arm(Entry& entry, SteadyTime at) {
  entry.at_ = at;
  if (!armed(entry)) {
    entry.armed_ = armed_.size();
    armed_.push_back(&entry);
  }
  if (at < set_) set_timer(at);
}

void DeadlineList::disarm(Entry& entry) {
  if (armed(entry)) remove(entry);
  if (entry.due_ != Entry::kNowhere) due_[std::exchange(entry.due_, Entry::kNowhere)] = nullptr;
}

void DeadlineList::remove(Entry& entry) {
  armed_.back()->armed_ = entry.armed_;
  std::swap(armed_[entry.armed_], armed_.back());
  armed_.pop_back();
  entry.armed_ = Entry::kNowhere;
}

void DeadlineList::set_timer(SteadyTime at) {
  set_ = at;
  timer_.expires_at(at);
  timer_.async_wait([this](const std::error_code& error) {
    if (!error) passed();
  });
}

void DeadlineList::passed() {
  const SteadyTime now = std::chrono::steady_clock::now();
  if (set_ > now) return;  // it was set anew meanwhile
  set_ = SteadyTime::max();
  for (size_t i = 0; i < armed_.size();) {
    Entry& entry = *armed_[i];
    if (entry.at_ > now) {
      ++i;
      continue;
    }
    remove(entry);
    entry.due_ = due_.size();
    due_.push_back(&entry);
  }
  for (size_t i = 0; i < due_.size(); ++i) {
    Entry* const entry = std::exchange(due_[i], nullptr);
    if (entry == nullptr) continue;
    entry->due_ = Entry::kNowhere;
    entry->on_deadline();
  }
  due_.clear();
  SteadyTime next = SteadyTime::max();
  for (const Entry* entry : armed_)
    next = std::min(next, entry->at_);
  if (next < set_) set_timer(next);
}

// ---- One thread.

std::shared_ptr<Loop> Loop::start(const void* owner, uint32_t number) {
  std::shared_ptr<Loop> loop(new Loop(owner, number));
  // The thread keeps its loop: the last client may end on it.
  loop->thread_ = named_thread("client", [loop]() mutable {
    current_loop = loop.get();
    loop->io_.run();
    while (loop->run_duty()) {
    }
    loop.reset();
    current_loop = nullptr;
  });
  return loop;
}

void Loop::run_surely(std::function<void()> work) {
  {
    const MutexLock lock(duties_mutex_);
    duties_.push_back(std::move(work));
  }
  asio::post(io_, [this] { run_duty(); });
}

/// The oldest one: as many are posted as there are, so each comes after all that was posted before
/// it was handed over. False: there is none.
bool Loop::run_duty() {
  std::function<void()> duty;
  {
    const MutexLock lock(duties_mutex_);
    if (duties_.empty()) return false;
    duty = std::move(duties_.front());
    duties_.pop_front();
  }
  duty();
  return true;
}

void Loop::stop() {
  work_.reset();
  io_.stop();
  if (on_thread())
    thread_.detach();
  else
    thread_.join();
}

std::shared_ptr<SharedSearch> Loop::shared_search(const std::string& key) {
  std::erase_if(shared_searches_, [](const auto& one) { return one.second.expired(); });
  auto search = shared_searches_[key].lock();
  if (!search) shared_searches_[key] = search = std::make_shared<SharedSearch>();
  return search;
}

Loop* Loop::current() {
  return current_loop;
}

// ---- All of them.

Result<std::shared_ptr<Runtime>> Runtime::create(RuntimeOptions options) {
  if (options.threads == 0 || options.threads > kMostThreads)
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("a client runtime of {} threads: it has 1 to {}", options.threads,
                                  kMostThreads));
  return std::shared_ptr<Runtime>(new Runtime(options.threads));
}

Runtime::Runtime(uint32_t threads) {
  for (uint32_t i = 0; i < threads; ++i)
    loops_.push_back(Loop::start(this, i));
}

Runtime::~Runtime() {
  for (const std::shared_ptr<Loop>& loop : loops_)
    loop->stop();
}

std::optional<uint32_t> Runtime::own_thread() const {
  const Loop* const loop = Loop::current();
  if (loop == nullptr || loop->owner() != this) return std::nullopt;
  return loop->number();
}

void Runtime::post(uint32_t thread, std::function<void()> work) {
  TAILRACE_CHECK(thread < loops_.size(), "the runtime has no such thread");
  asio::post(loops_[thread]->io(), std::move(work));
}

void Runtime::post_at(uint32_t thread, SteadyTime when, std::function<void()> work) {
  TAILRACE_CHECK(thread < loops_.size(), "the runtime has no such thread");
  auto timer = std::make_unique<asio::steady_timer>(loops_[thread]->io(), when);
  asio::steady_timer& waits = *timer;
  waits.async_wait(
      [timer = std::move(timer), work = std::move(work)](const std::error_code& error) {
        if (!error) work();
      });
}

const std::shared_ptr<Loop>& Runtime::loop_of(std::optional<uint32_t> thread) {
  const uint32_t number = thread ? *thread : next_.fetch_add(1, std::memory_order_relaxed);
  return loops_[number % loops_.size()];
}

}  // namespace tailrace::rpc
