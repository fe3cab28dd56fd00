#include "rpc/etcd/timer.h"

#include <utility>

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>

namespace tailrace::rpc {

struct EtcdTimer::State {
  explicit State(asio::io_context& io) : timer(io) {}
  asio::steady_timer timer;
  std::function<void()> then;
  uint64_t turn = 0;  // a handler of an earlier turn may be queued already
};

EtcdTimer::EtcdTimer(asio::io_context& io) : state_(std::make_shared<State>(io)) {}

EtcdTimer::~EtcdTimer() {
  cancel();
}

void EtcdTimer::after(std::chrono::milliseconds delay, std::function<void()> then) {
  state_->then = std::move(then);
  const uint64_t turn = ++state_->turn;
  state_->timer.expires_after(delay);
  state_->timer.async_wait([state = state_, turn](const std::error_code&) {
    if (state->turn != turn) return;
    if (const auto function = std::exchange(state->then, nullptr)) function();
  });
}

void EtcdTimer::cancel() {
  ++state_->turn;
  state_->then = nullptr;
  state_->timer.cancel();
}

bool EtcdTimer::armed() const {
  return state_->then != nullptr;
}

}  // namespace tailrace::rpc
