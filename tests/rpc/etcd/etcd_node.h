#pragma once
// One node's coordinator with an executor of its own, and all that it was told.

#include <deque>
#include <optional>
#include <thread>
#include <vector>

#include "core/mutex.h"
#include "rpc/etcd/coordinator.h"

namespace tailrace::rpc::testing {

class ThreadExecutor : public replication::Executor {
 public:
  ThreadExecutor() : thread_([this] { run(); }) {}
  ~ThreadExecutor() override {
    {
      const MutexLock lock(mutex_);
      over_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }
  void post(std::function<void()> function) override {
    {
      const MutexLock lock(mutex_);
      queue_.push_back(std::move(function));
    }
    wake_.notify_one();
  }
  /// Waits until it is done.
  void run_here(const std::function<void()>& function) {
    Mutex mutex;
    Condition done;
    bool is_done = false;
    post([&] {
      function();
      const MutexLock lock(mutex);
      is_done = true;
      done.notify_one();
    });
    MutexLock lock(mutex);
    done.wait(lock, [&]() TAILRACE_REQUIRES(mutex) { return is_done; });
  }
  bool is_here() const { return std::this_thread::get_id() == thread_.get_id(); }

 private:
  void run() {
    MutexLock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this]() TAILRACE_REQUIRES(mutex_) { return over_ || !queue_.empty(); });
      if (queue_.empty()) return;
      const auto function = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      function();
      lock.lock();
    }
  }

  Mutex mutex_;
  Condition wake_;
  std::deque<std::function<void()>> queue_ TAILRACE_GUARDED_BY(mutex_);
  bool over_ TAILRACE_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last: it uses the others
};

class EtcdNode {
 public:
  EtcdNode(EtcdCoordinatorOptions options) : self(options.self) {
    coordinator = make_etcd_coordinator(std::move(options), executor).value();
  }
  ~EtcdNode() {
    executor.run_here([this] { coordinator.reset(); });
  }

  void start(replication::Candidacy candidacy, Epoch known = {}) {
    executor.run_here([&] {
      coordinator->start(known, [this](replication::Grant grant) {
        const MutexLock lock(mutex);
        on_executor = on_executor && executor.is_here();
        told.push_back(grant);
        changed.notify_all();
      });
      coordinator->set_candidacy(candidacy);
    });
  }
  void set_candidacy(replication::Candidacy candidacy) {
    executor.run_here([&] { coordinator->set_candidacy(candidacy); });
  }
  void resign(Epoch epoch, uint32_t successor = 0) {
    executor.run_here([&] { coordinator->resign(epoch, NodeId{successor}); });
  }
  void raise(Epoch known) {
    executor.run_here([&] { coordinator->raise(known); });
  }
  void stop() {
    executor.run_here([&] { coordinator->stop(); });
  }

  /// What was told last; leader 0 before anything was.
  replication::Grant now() {
    const MutexLock lock(mutex);
    return told.empty() ? replication::Grant{} : told.back();
  }
  size_t times_told() {
    const MutexLock lock(mutex);
    return told.size();
  }
  /// The grant of this node above `epoch`, once there is one; nothing when it takes too long.
  std::optional<Epoch> wins(Epoch above = {}, std::chrono::milliseconds most = kPatience) {
    MutexLock lock(mutex);
    const auto has = [&]() TAILRACE_REQUIRES(mutex) {
      return !told.empty() && told.back().leader == self && told.back().epoch > above;
    };
    if (!changed.wait_for(lock, most, has)) return std::nullopt;
    return told.back().epoch;
  }
  bool hears_of(replication::Grant grant, std::chrono::milliseconds most = kPatience) {
    MutexLock lock(mutex);
    return changed.wait_for(lock, most, [&]() TAILRACE_REQUIRES(mutex) {
      return !told.empty() && told.back() == grant;
    });
  }

  static constexpr std::chrono::milliseconds kPatience{20000};

  const NodeId self;
  ThreadExecutor executor;
  std::unique_ptr<replication::Coordinator> coordinator;
  Mutex mutex;
  Condition changed;
  std::vector<replication::Grant> told TAILRACE_GUARDED_BY(mutex);
  bool on_executor TAILRACE_GUARDED_BY(mutex) = true;
};

}  // namespace tailrace::rpc::testing
