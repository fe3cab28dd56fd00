#pragma once
// One thread of a runtime: an io_context, and the deadlines of all clients on it. Internal.

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>

#include "core/clock.h"
#include "core/mutex.h"
#include "rpc/wire/framed_socket.h"

namespace tailrace::rpc {

/// Deadlines that one timer serves, however many there are. On the loop's thread.
class DeadlineList {
 public:
  /// Belongs to one list; disarmed before its end.
  class Entry {
   public:
    virtual ~Entry() = default;
    /// The deadline has passed; it is armed no more. It may arm and disarm any entry.
    virtual void on_deadline() = 0;

   private:
    friend class DeadlineList;
    static constexpr size_t kNowhere = SIZE_MAX;
    SteadyTime at_ = SteadyTime::max();
    size_t armed_ = kNowhere, due_ = kNowhere;  // its place in the list's vectors
  };

  explicit DeadlineList(asio::io_context& io) : timer_(io) {}

  /// `at` takes the place of an earlier call's.
  void arm(Entry& entry, SteadyTime at);
  void disarm(Entry& entry);
  bool armed(const Entry& entry) const { return entry.armed_ != Entry::kNowhere; }

 private:
  void remove(Entry& entry);
  void set_timer(SteadyTime at);
  void passed();

  asio::steady_timer timer_;
  SteadyTime set_ = SteadyTime::max();  // when the timer ends; max: it does not run
  std::vector<Entry*> armed_;           // in no order
  std::vector<Entry*> due_;             // those that are told now; null: told, or disarmed
};

class ClientConnection;
class RequestQueue;

/// What queues of clients that share connections have in common, if they look for the same servers
/// in the same way. On the loop's thread.
struct SharedSearch {
  std::weak_ptr<ClientConnection> found;
  const RequestQueue* searcher = nullptr;              // looks for a server, for all
  std::vector<std::weak_ptr<RequestQueue>> waiting{};  // for what it finds
};

class Loop {
 public:
  /// With its thread; `owner` is only compared.
  static std::shared_ptr<Loop> start(const void* owner, uint32_t number);
  /// Ends the loop, and waits for its thread unless this is it.
  void stop();

  asio::io_context& io() { return io_; }
  /// Runs `work` on the loop's thread, after what was posted before; at the latest when the loop
  /// ends. What is only posted to io() is dropped then. For what parts objects that hold each
  /// other. Any thread.
  void run_surely(std::function<void()> work);
  DeadlineList& deadlines() { return deadlines_; }
  /// The same one for the same `key`, while anyone holds it. On the loop's thread.
  std::shared_ptr<SharedSearch> shared_search(const std::string& key);
  /// Of all its connections.
  Traffic& traffic() { return traffic_; }
  bool on_thread() const { return current() == this; }
  /// The loop of the calling thread, or null.
  static Loop* current();
  const void* owner() const { return owner_; }
  uint32_t number() const { return number_; }

 private:
  Loop(const void* owner, uint32_t number)
      : owner_(owner), number_(number), work_(asio::make_work_guard(io_)) {}
  bool run_duty();

  const void* const owner_;
  const uint32_t number_;
  Traffic traffic_;  // what the loop still holds at its end may count there
  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  DeadlineList deadlines_{io_};
  std::map<std::string, std::weak_ptr<SharedSearch>> shared_searches_;
  Mutex duties_mutex_;
  std::deque<std::function<void()>> duties_ TAILRACE_GUARDED_BY(duties_mutex_);  // run_surely()
  std::thread thread_;
};

}  // namespace tailrace::rpc
