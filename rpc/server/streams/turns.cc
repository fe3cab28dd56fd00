#include "rpc/server/streams/turns.h"

#include <utility>

#include "core/thread.h"

namespace tailrace::rpc {

Turns::Turns(size_t threads, const char* name) {
  for (size_t i = 0; i < threads; ++i)
    threads_.emplace_back([this, name] {
      name_thread(name);
      run();
    });
}

Turns::~Turns() {
  stop();
}

void Turns::add(Asker asker, Work work) {
  {
    const MutexLock lock(mutex_);
    if (stopping_) return;
    Line& line = lines_[asker];
    line.waiting.push_back(std::move(work));
    if (line.running || line.waiting.size() > 1) return;
    next_.push_back(asker);
  }
  changed_.notify_one();
}

void Turns::drop(Asker asker) {
  std::deque<Work> dropped;  // what it holds goes without the lock
  const MutexLock lock(mutex_);
  const auto found = lines_.find(asker);
  if (found == lines_.end()) return;
  dropped.swap(found->second.waiting);
  if (found->second.running) return;
  lines_.erase(found);
  std::erase(next_, asker);
}

void Turns::stop() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_)
    if (thread.joinable()) thread.join();
  std::unordered_map<Asker, Line> dropped;
  const MutexLock lock(mutex_);
  dropped.swap(lines_);
  next_.clear();
}

void Turns::run() {
  MutexLock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this]() TAILRACE_REQUIRES(mutex_) { return stopping_ || !next_.empty(); });
    if (stopping_) return;
    Asker asker = 0;
    Work work = take(asker);
    lock.unlock();
    work();
    work = nullptr;  // with all that it holds
    lock.lock();
    ended(asker);
  }
}

Turns::Work Turns::take(Asker& asker) {
  asker = next_.front();
  next_.pop_front();
  Line& line = lines_[asker];
  Work work = std::move(line.waiting.front());
  line.waiting.pop_front();
  line.running = true;
  return work;
}

void Turns::ended(Asker asker) {
  const auto found = lines_.find(asker);
  found->second.running = false;
  if (found->second.waiting.empty())
    lines_.erase(found);
  else
    next_.push_back(asker);  // this thread or another takes it
}

}  // namespace tailrace::rpc
