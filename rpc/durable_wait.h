#pragma once
// Waiting for a log's durability in Asio coroutines. The log knows nothing of Asio; this adapter
// hears of each move of durable once and wakes what waits, each on its own executor.
//
//   rpc::DurableWait durable(log);
//   auto range = log.try_enqueue(RecordKind::kData, bytes);
//   Result<> done = co_await durable.reached(range->end);
//
// A header of Asio: include it in .cc files.

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/awaitable.hpp>
#include <asio/post.hpp>
#include <asio/use_awaitable.hpp>

#include "fasterlog/log.h"

namespace tailrace::rpc {

class DurableWait {
 public:
  explicit DurableWait(fasterlog::Log& log) : log_(log), state_(std::make_shared<State>()) {
    state_->durable = log.durable();
    listener_ = log.add_durable_listener([state = state_](Address durable, const Error* failure) {
      state->moved(durable, failure);
    });
    // A failure before the listener was there.
    if (const auto failure = log.failure()) state_->moved(log.durable(), &*failure);
  }
  /// What still waits gets kClosed. Destroy it before the log, and before the executors of those
  /// that waited: the log's thread may be posting to one at this moment, which is waited for here.
  ~DurableWait() {
    listener_.reset();
    const Error closed{ErrorCode::kClosed, "the wait for durability was given up"};
    state_->moved(Address{}, &closed);
  }
  DurableWait(const DurableWait&) = delete;
  DurableWait& operator=(const DurableWait&) = delete;

  /// Completes with nothing once durable >= address, or with the log's failure. Any thread; the
  /// completion comes on the handler's own executor. Asks the log to commit, whatever its policy.
  template <typename Token>
  auto async_reached(Address address, Token&& token) {
    return asio::async_initiate<Token, void(Result<>)>(
        [this, address](auto handler) {
          auto executor = asio::get_associated_executor(handler);
          auto shared = std::make_shared<decltype(handler)>(std::move(handler));
          state_->add(address, [executor, shared](Result<> result) {
            asio::post(executor, [shared, result = std::move(result)]() mutable {
              (*shared)(std::move(result));
            });
          });
          log_.request_commit();
        },
        token);
  }
  asio::awaitable<Result<>> reached(Address address) {
    // Named first: g++ 12 destroys a temporary inside co_await twice.
    auto waiting = async_reached(address, asio::use_awaitable);
    co_return co_await std::move(waiting);
  }

 private:
  using Wake = std::function<void(Result<>)>;

  struct State {
    std::mutex mutex;
    Address durable;                       // guarded by mutex
    std::optional<Error> failure;          // guarded by mutex
    std::multimap<Address, Wake> waiting;  // guarded by mutex

    void add(Address address, Wake wake) {
      Result<> answer;
      {
        const std::lock_guard lock(mutex);
        if (address > durable && !failure) {
          waiting.emplace(address, std::move(wake));
          return;
        }
        if (address > durable) answer = tl::unexpected(*failure);
      }
      wake(std::move(answer));
    }

    void moved(Address now, const Error* failed) {
      std::vector<std::pair<Wake, Result<>>> ready;
      {
        const std::lock_guard lock(mutex);
        if (failed != nullptr) {
          if (!failure) failure = *failed;
        } else {
          durable = now;
        }
        const auto end = failure ? waiting.end() : waiting.upper_bound(durable);
        for (auto it = waiting.begin(); it != end; ++it) {
          Result<> answer;
          if (it->first > durable) answer = tl::unexpected(*failure);
          ready.emplace_back(std::move(it->second), std::move(answer));
        }
        waiting.erase(waiting.begin(), end);
      }
      for (auto& [wake, answer] : ready)
        wake(std::move(answer));
    }
  };

  fasterlog::Log& log_;
  const std::shared_ptr<State> state_;
  fasterlog::Log::ListenerHandle listener_;
};

}  // namespace tailrace::rpc
