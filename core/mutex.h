#pragma once
// Locks that clang can check. The std::mutex of g++'s library carries no annotations, so clang
// cannot know when it is held. Mutex, MutexLock and Condition are std::mutex, std::unique_lock and
// std::condition_variable with annotations, at the same cost.
//
//   Mutex mutex_;
//   uint64_t count_ TAILRACE_GUARDED_BY(mutex_) = 0;    // only with mutex_ held
//   void trim() TAILRACE_REQUIRES(mutex_);              // the caller holds mutex_
//   changed_.wait(lock, [this]() TAILRACE_REQUIRES(mutex_) { return count_ > 0; });
//
// With -Wthread-safety clang refuses an access without the lock. It looks at each function by
// itself, also at a lambda: so that says, too, what its caller holds. Other compilers see no
// annotation.

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

#ifdef __clang__
#define TAILRACE_THREAD_ATTRIBUTE(attribute) __attribute__((attribute))
#else
#define TAILRACE_THREAD_ATTRIBUTE(attribute)
#endif

/// Data: what is read or written only with the mutex held.
#define TAILRACE_GUARDED_BY(mutex) TAILRACE_THREAD_ATTRIBUTE(guarded_by(mutex))
/// A function: the caller holds these, before and after.
#define TAILRACE_REQUIRES(...) TAILRACE_THREAD_ATTRIBUTE(requires_capability(__VA_ARGS__))
/// A function: the caller must not hold these; it takes them itself.
#define TAILRACE_EXCLUDES(...) TAILRACE_THREAD_ATTRIBUTE(locks_excluded(__VA_ARGS__))
// For lock types.
#define TAILRACE_CAPABILITY(name) TAILRACE_THREAD_ATTRIBUTE(capability(name))
#define TAILRACE_SCOPED_CAPABILITY TAILRACE_THREAD_ATTRIBUTE(scoped_lockable)
#define TAILRACE_ACQUIRE(...) TAILRACE_THREAD_ATTRIBUTE(acquire_capability(__VA_ARGS__))
#define TAILRACE_RELEASE(...) TAILRACE_THREAD_ATTRIBUTE(release_capability(__VA_ARGS__))
#define TAILRACE_TRY_ACQUIRE(...) TAILRACE_THREAD_ATTRIBUTE(try_acquire_capability(__VA_ARGS__))

namespace tailrace {

/// A std::mutex. Any thread. Take it with MutexLock: clang does not follow std::unique_lock<Mutex>,
/// which is for a lock that is handed on.
class TAILRACE_CAPABILITY("mutex") Mutex {
 public:
  void lock() TAILRACE_ACQUIRE() { mutex_.lock(); }
  void unlock() TAILRACE_RELEASE() { mutex_.unlock(); }
  bool try_lock() TAILRACE_TRY_ACQUIRE(true) { return mutex_.try_lock(); }

 private:
  friend class MutexLock;
  std::mutex mutex_;
};

/// Holds a mutex until the end of the scope. It may be let go and taken again meanwhile. Of the
/// thread that made it.
class TAILRACE_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) TAILRACE_ACQUIRE(mutex) : lock_(mutex.mutex_) {}
  ~MutexLock() TAILRACE_RELEASE() = default;
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

  void lock() TAILRACE_ACQUIRE() { lock_.lock(); }
  void unlock() TAILRACE_RELEASE() { lock_.unlock(); }

 private:
  friend class Condition;
  std::unique_lock<std::mutex> lock_;
};

/// A std::condition_variable; the waits are its own. The lock is held when a wait begins, when it
/// asks the predicate, and when it returns. Any thread. A wait that a std::stop_token ends takes a
/// std::condition_variable_any, which accepts a MutexLock too.
class Condition {
 public:
  void notify_one() noexcept { condition_.notify_one(); }
  void notify_all() noexcept { condition_.notify_all(); }

  void wait(MutexLock& lock) { condition_.wait(lock.lock_); }
  template <class Predicate>
  void wait(MutexLock& lock, Predicate there) {
    condition_.wait(lock.lock_, std::move(there));
  }
  template <class Rep, class Period>
  std::cv_status wait_for(MutexLock& lock, const std::chrono::duration<Rep, Period>& most) {
    return condition_.wait_for(lock.lock_, most);
  }
  template <class Rep, class Period, class Predicate>
  bool wait_for(MutexLock& lock, const std::chrono::duration<Rep, Period>& most, Predicate there) {
    return condition_.wait_for(lock.lock_, most, std::move(there));
  }
  template <class Clock, class Duration>
  std::cv_status wait_until(MutexLock& lock,
                            const std::chrono::time_point<Clock, Duration>& deadline) {
    return condition_.wait_until(lock.lock_, deadline);
  }
  template <class Clock, class Duration, class Predicate>
  bool wait_until(MutexLock& lock, const std::chrono::time_point<Clock, Duration>& deadline,
                  Predicate there) {
    return condition_.wait_until(lock.lock_, deadline, std::move(there));
  }

 private:
  std::condition_variable condition_;
};

}  // namespace tailrace
