#pragma once
// The clients of one thread of a runtime, and the load that they make. Their callbacks start the
// next requests: no other thread takes part.

#include <atomic>
#include <chrono>
#include <deque>
#include <exception>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "app/bench/service/event_load.h"
#include "app/bench/service/service_load.h"
#include "core/clock.h"
#include "core/random.h"
#include "rpc/client/runtime.h"

namespace tailrace::app {

class LoadThread {
 public:
  /// Of thread number `thread`. `options` outlive it; it outlives the runtime, whose timers it has.
  LoadThread(rpc::Runtime& runtime, uint32_t thread, const LoadOptions& options);
  /// Before start().
  void add(std::unique_ptr<rpc::Client> client);
  /// The deadline is the load's, not a request's.
  void start(SteadyTime began, SteadyTime deadline);
  /// Until every request is answered, or the load has failed, or for so long.
  bool wait_until(SteadyTime when) const {
    return ends_.wait_until(when) == std::future_status::ready;
  }
  void wait() const { ends_.wait(); }
  /// Ends the load, if it goes on, and the clients, whose requests fail. Not on the runtime's
  /// thread.
  void stop();
  /// After the wait: what was thrown, and ended it.
  std::exception_ptr failure() const { return failure_; }

  /// Any thread, any time.
  uint64_t operations() const { return operations_.load(std::memory_order_relaxed); }
  /// After wait(): what came of it. Returns when the last answer came.
  SteadyTime add_to(LoadResult& result) const;

 private:
  /// One request after the other.
  struct Slot {
    LoadThread* load;
    rpc::Client* client;
    uint32_t number;   // among the slots
    SteadyTime began;  // or, with a rate, due
    std::string key;   // of an own write that is to be read
    rpc::CommandAnswer written;
  };

  /// All work of the runtime's thread: what it throws ends the load.
  template <typename Work>
  void guarded(const Work& work) noexcept;
  void end_now(std::exception_ptr failure);
  void begin();
  void issue(Slot& slot);
  void read_own(Slot& slot);
  void answered(Slot& slot, const Error* error);
  void take_answer(Slot& slot, const Error* error);
  void events_answered(uint32_t slot, uint64_t records, const Error* error);
  /// Begins what is due.
  void pace(SteadyTime now);
  void pace_at(SteadyTime when);
  SteadyTime due(uint64_t number) const;
  /// How many operations from number `first` on are due before the deadline.
  uint64_t due_from(uint64_t first) const;
  void end_one();
  ByteSpan draw_key();

  rpc::Runtime& runtime_;
  const uint32_t thread_;
  const LoadOptions& options_;
  std::atomic<uint64_t> operations_{0};
  std::promise<void> over_;
  const std::shared_future<void> ends_ = over_.get_future().share();

  // Of the runtime's thread while the load runs.
  std::vector<std::unique_ptr<rpc::Client>> clients_;
  std::deque<Slot> slots_;
  std::deque<Slot*> free_;  // with a rate
  SteadyTime began_, deadline_, last_answer_;
  uint64_t next_ = 0;  // number of the next operation of the schedule
  bool timer_set_ = false, schedule_over_ = false, ended_ = false;
  std::exception_ptr failure_;
  uint64_t running_ = 0;  // slots with a request, timers, and the schedule
  Random random_{random_seed()};
  std::string key_, value_;
  std::vector<ByteSpan> events_;
  std::optional<EventRequests> event_requests_;
  uint64_t records_ = 0, errors_ = 0, not_started_ = 0;
  std::optional<Error> first_error_;
  Histogram latency_ns_;
};

}  // namespace tailrace::app
