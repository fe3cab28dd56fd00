#pragma once
// One node's coordinator with an executor of its own, and all that it was told.

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "rpc/etcd/coordinator.h"

namespace tailrace::rpc::testing {

class ThreadExecutor : public replication::Executor {
 public:
  ThreadExecutor() : thread_([this] { run(); }) {}
  ~ThreadExecutor() override {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }
  void post(std::function<void()> function) override {
    {
      const std::lock_guard lock(mutex_);
      queue_.push_back(std::move(function));
    }
    wake_.notify_one();
  }
  /// Waits until it is done.
  void run_here(const std::function<void()>& function) {
    std::mutex mutex;
    std::condition_variable done;
    bool is_done = false;
    post([&] {
      function();
      const std::lock_guard lock(mutex);
      is_done = true;
      done.notify_one();
    });
    std::unique_lock lock(mutex);
    done.wait(lock, [&] { return is_done; });
  }
  bool is_here() const { return std::this_thread::get_id() == thread_.get_id(); }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return over_ || !queue_.empty(); });
      if (queue_.empty()) return;
      const auto function = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      function();
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;
  bool over_ = false;
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
        const std::lock_guard lock(mutex);
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
    const std::lock_guard lock(mutex);
    return told.empty() ? replication::Grant{} : told.back();
  }
  size_t times_told() {
    const std::lock_guard lock(mutex);
    return told.size();
  }
  /// The grant of this node above `epoch`, once there is one; nothing when it takes too long.
  std::optional<Epoch> wins(Epoch above = {}, std::chrono::milliseconds most = kPatience) {
    std::unique_lock lock(mutex);
    const auto has = [&] {
      return !told.empty() && told.back().leader == self && told.back().epoch > above;
    };
    if (!changed.wait_for(lock, most, has)) return std::nullopt;
    return told.back().epoch;
  }
  bool hears_of(replication::Grant grant, std::chrono::milliseconds most = kPatience) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, most, [&] { return !told.empty() && told.back() == grant; });
  }

  static constexpr std::chrono::milliseconds kPatience{20000};

  const NodeId self;
  ThreadExecutor executor;
  std::unique_ptr<replication::Coordinator> coordinator;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<replication::Grant> told;  // guarded by mutex
  bool on_executor = true;               // guarded by mutex
};

}  // namespace tailrace::rpc::testing
