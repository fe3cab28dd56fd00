#pragma once
// Enqueueing from coroutines: the thread goes on with others while the log's buffer is full.
//
//     auto adding = rpc::async_enqueue(log, RecordKind::kData, bytes);   // named: see below
//     auto range = co_await std::move(adding);
//     if (range) { auto waiting = durable.reached(range->end); co_await std::move(waiting); }
//
// (durable_wait.h has the second half.) A header of Asio: include it in .cc files.

#include <chrono>
#include <span>
#include <utility>

#include <asio/awaitable.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

#include "fasterlog/log.h"

namespace tailrace::rpc {

/// As Log::enqueue_batch(), but whoever finds no room looks again each millisecond on its own
/// executor: kTimedOut after the deadline, kCancelled when the coroutine is cancelled meanwhile,
/// and then nothing of it is in the log. The payloads stay the caller's until it is done.
inline asio::awaitable<Result<AddressRange>> async_enqueue_batch(
    fasterlog::Log& log, std::span<const fasterlog::RecordView> records,
    SteadyTime deadline = SteadyTime::max()) {
  constexpr std::chrono::milliseconds kLookAgain{1};
  auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor);
  for (;;) {
    auto range = log.try_enqueue_batch(records);
    if (range || range.error().code != ErrorCode::kWouldBlock) co_return range;
    const SteadyTime now = std::chrono::steady_clock::now();
    if (now >= deadline)
      co_return make_error(ErrorCode::kTimedOut, "no room in the log's buffer before the deadline");
    timer.expires_at(std::min(now + kLookAgain, deadline));
    std::error_code cancelled;
    // Named first: g++ 12 destroys a temporary inside co_await twice.
    auto token = asio::redirect_error(asio::use_awaitable, cancelled);
    auto waiting = timer.async_wait(token);
    co_await std::move(waiting);
    if (cancelled)
      co_return make_error(ErrorCode::kCancelled, "waiting for room in the log was cancelled");
  }
}

/// The same for one record, as Log::enqueue().
inline asio::awaitable<Result<AddressRange>> async_enqueue(
    fasterlog::Log& log, fasterlog::RecordKind kind, ByteSpan payload,
    SteadyTime deadline = SteadyTime::max()) {
  const fasterlog::RecordView record{kind, payload};
  auto adding = async_enqueue_batch(log, std::span(&record, 1), deadline);
  co_return co_await std::move(adding);
}

}  // namespace tailrace::rpc
