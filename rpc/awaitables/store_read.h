#pragma once
// Reading a store in Asio coroutines without holding their thread up: what is in memory is there at
// once, the rest comes from the disk. The store knows nothing of Asio.
//
//   Result<std::optional<std::string>> value = co_await rpc::read(store, as_bytes("key"));
//
// A header of Asio: include it in .cc files. The executors of those that wait outlive the store.

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/awaitable.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>
#include <asio/use_awaitable.hpp>

#include "kv/store.h"

namespace tailrace::rpc {

/// Completes with the value, nothing when the key is absent, or the error; on the handler's own
/// executor. Any thread. `key` is needed during the call only.
template <typename Token>
auto async_read(kv::Store& store, ByteSpan key, Token&& token) {
  using Answer = Result<std::optional<std::string>>;
  return asio::async_initiate<Token, void(Answer)>(
      [&store, key](auto handler) {
        // The guard keeps an io_context running that has nothing else to do.
        auto work = asio::make_work_guard(handler);
        auto shared = std::make_shared<decltype(handler)>(std::move(handler));
        store.read_async(key, [work, shared](Result<bool> found, std::string value) mutable {
          Answer answer;
          if (!found) {
            answer = tl::unexpected(std::move(found.error()));
          } else if (*found) {
            answer = std::optional<std::string>(std::move(value));
          }
          asio::post(work.get_executor(), [shared, answer = std::move(answer)]() mutable {
            (*shared)(std::move(answer));
          });
          work.reset();
        });
      },
      token);
}

inline asio::awaitable<Result<std::optional<std::string>>> read(kv::Store& store, ByteSpan key) {
  // Named first: g++ 12 destroys a temporary inside co_await twice.
  auto waiting = async_read(store, key, asio::use_awaitable);
  co_return co_await std::move(waiting);
}

}  // namespace tailrace::rpc
