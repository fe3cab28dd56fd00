#pragma once
// A timer for those who shall not see Asio.

#include <chrono>
#include <functional>
#include <memory>

namespace asio {
class io_context;
}

namespace tailrace::rpc {

/// Before a call that failed is made again.
inline constexpr std::chrono::milliseconds kEtcdRetryPause{250};

/// On the io thread only. What is replaced, cancelled or destroyed never runs, not even when its
/// time had come before.
class EtcdTimer {
 public:
  explicit EtcdTimer(asio::io_context& io);
  ~EtcdTimer();
  EtcdTimer(const EtcdTimer&) = delete;
  EtcdTimer& operator=(const EtcdTimer&) = delete;

  void after(std::chrono::milliseconds delay, std::function<void()> then);
  void cancel();
  bool armed() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace tailrace::rpc
