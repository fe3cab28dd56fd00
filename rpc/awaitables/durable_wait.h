#pragma once
// Waiting for a log's durability in Asio coroutines. The log knows nothing of Asio; this adapter
// hears of each move of durable once and wakes what waits, each on its own executor.
//
//   rpc::DurableWait durable(log);
//   auto range = log.try_enqueue(RecordKind::kData, bytes);
//   Result<> done = co_await durable.reached(range->end);
//
// A header of Asio: include it in .cc files.

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/awaitable.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

#include "core/mutex.h"
#include "fasterlog/log.h"

namespace tailrace::rpc {

class DurableWait {
 public:
  explicit DurableWait(fasterlog::Log& log) : state_(std::make_shared<State>(log)) {
    listener_ = log.add_durable_listener(
        [state = state_](Address, const Error* failure) { state->moved(failure); });
    // A failure before the listener was there.
    if (const auto failure = log.failure()) state_->moved(&*failure);
  }
  /// What still waits gets kClosed. Destroy it before the log, and before the executors of those
  /// that waited: the log's thread may be posting to one at this moment, which is waited for here.
  ~DurableWait() {
    listener_.reset();
    const Error closed{ErrorCode::kClosed, "the wait for durability was given up"};
    state_->moved(&closed);
  }
  DurableWait(const DurableWait&) = delete;
  DurableWait& operator=(const DurableWait&) = delete;

  /// As Log::wait_durable(): completes with nothing once durable >= address, or with kTimedOut
  /// after the deadline, kCancelled when the handler's cancellation slot is emitted (any type),
  /// kClosed, or the log's failure; one of them comes. Whatever the policy, the log commits what
  /// lies below `address` once all of it is enqueued. Any thread; the completion comes on the
  /// handler's own executor, never within this call.
  template <typename Token>
  auto async_reached(Address address, SteadyTime deadline, Token&& token) {
    return asio::async_initiate<Token, void(Result<>)>(
        [state = state_, address, deadline](auto handler) {
          using Handler = decltype(handler);
          const auto wait = std::make_shared<WaitOf<Handler>>(std::move(handler));
          const Key key{address, state->next_number.fetch_add(1)};
          // Before the wait is known to others: they may complete it at once, on another thread.
          if (wait->slot.is_connected()) {
            wait->slot.assign([state, key](asio::cancellation_type) {
              state->give_up(key, {ErrorCode::kCancelled, "the wait was cancelled"});
            });
          }
          state->add(key, deadline, wait);
        },
        token);
  }
  template <typename Token>
  auto async_reached(Address address, Token&& token) {
    return async_reached(address, SteadyTime::max(), std::forward<Token>(token));
  }
  asio::awaitable<Result<>> reached(Address address, SteadyTime deadline = SteadyTime::max()) {
    // Named first: g++ 12 destroys a temporary inside co_await twice.
    auto waiting = async_reached(address, deadline, asio::use_awaitable);
    co_return co_await std::move(waiting);
  }

 private:
  using Key = std::pair<Address, uint64_t>;  // waits for one address are told apart by a number

  class Wait {
   public:
    virtual ~Wait() = default;
    /// Calls `passed` on the wait's executor after the deadline, unless complete() came before.
    virtual void set_deadline(SteadyTime deadline, std::function<void()> passed) = 0;
    /// Once, on any thread.
    virtual void complete(Result<> result) = 0;
  };

  template <typename Handler>
  class WaitOf final : public Wait, public std::enable_shared_from_this<WaitOf<Handler>> {
   public:
    explicit WaitOf(Handler handler)
        : slot(asio::get_associated_cancellation_slot(handler)),
          executor_(asio::get_associated_executor(handler)),
          work_(executor_),
          handler_(std::move(handler)) {}

    void set_deadline(SteadyTime deadline, std::function<void()> passed) override {
      timer_.emplace(executor_, deadline);
      timer_->async_wait([passed = std::move(passed)](std::error_code error) {
        if (!error) passed();
      });
    }
    void complete(Result<> result) override {
      asio::post(executor_,
                 [self = this->shared_from_this(), result = std::move(result)]() mutable {
                   // Both belong to this executor.
                   if (self->slot.is_connected()) self->slot.clear();
                   self->timer_.reset();
                   Handler handler = std::move(self->handler_);
                   self.reset();
                   handler(std::move(result));
                 });
    }

    asio::associated_cancellation_slot_t<Handler> slot;

   private:
    asio::associated_executor_t<Handler> executor_;
    asio::executor_work_guard<asio::associated_executor_t<Handler>> work_;
    std::optional<asio::steady_timer> timer_;
    Handler handler_;
  };

  /// The log's durable is read under the mutex whenever it is compared, and never kept: a move that
  /// is told late, or was never told because the listener came after it, can mislead nobody.
  struct State : std::enable_shared_from_this<State> {
    struct Waiting {
      std::shared_ptr<Wait> wait;
      fasterlog::Log::DurableInterest interest;
    };

    explicit State(fasterlog::Log& the_log) : log(the_log) {}

    fasterlog::Log& log;
    std::atomic<uint64_t> next_number{0};
    Mutex mutex;
    std::optional<Error> over TAILRACE_GUARDED_BY(mutex);  // a failure, or the end
    /// Once it is over, when the log may be gone.
    Address last_durable TAILRACE_GUARDED_BY(mutex);
    std::map<Key, Waiting> waiting TAILRACE_GUARDED_BY(mutex);

    Address durable() const TAILRACE_REQUIRES(mutex) { return over ? last_durable : log.durable(); }

    void add(Key key, SteadyTime deadline, const std::shared_ptr<Wait>& wait) {
      Result<> answer;
      {
        const MutexLock lock(mutex);
        if (key.first > durable()) {
          if (!over) {
            waiting.emplace(key, Waiting{wait, log.want_durable(key.first)});
            // Within the mutex: who completes the wait finds its timer.
            if (deadline != SteadyTime::max()) wait->set_deadline(deadline, past_deadline(key));
            return;
          }
          answer = tl::unexpected(*over);
        }
      }
      wait->complete(std::move(answer));
    }

    std::function<void()> past_deadline(Key key) {
      return [state = this->shared_from_this(), key] {
        state->give_up(key, {ErrorCode::kTimedOut, "address " + std::to_string(key.first.value) +
                                                       " is not durable in time"});
      };
    }

    void give_up(Key key, Error error) {
      Waiting gone;
      {
        const MutexLock lock(mutex);
        const auto found = waiting.find(key);
        if (found == waiting.end()) return;
        gone = std::move(found->second);
        waiting.erase(found);
      }
      gone.wait->complete(tl::unexpected(std::move(error)));
    }

    void moved(const Error* failed) {
      std::vector<std::pair<Waiting, Result<>>> ready;
      {
        const MutexLock lock(mutex);
        const Address now = durable();
        if (failed != nullptr && !over) {
          last_durable = now;
          over = *failed;
        }
        const auto end = over ? waiting.end() : waiting.upper_bound({now, UINT64_MAX});
        for (auto it = waiting.begin(); it != end; ++it) {
          Result<> answer;
          if (it->first.first > now) answer = tl::unexpected(*over);
          ready.emplace_back(std::move(it->second), std::move(answer));
        }
        waiting.erase(waiting.begin(), end);
      }
      for (auto& [one, answer] : ready)
        one.wait->complete(std::move(answer));
    }
  };

  const std::shared_ptr<State> state_;
  fasterlog::Log::ListenerHandle listener_;
};

}  // namespace tailrace::rpc
