// Connections that others dial, as long as nobody knows who they are.

#include <fmt/format.h>

#include "net/descriptors.h"
#include "observability/logging.h"
#include "rpc/peer/transport_impl.h"

namespace tailrace::rpc {

namespace {
constexpr std::chrono::milliseconds kAcceptRetry{50};
// Beyond that the one that came first makes room, and the next is let in a moment later: a member
// says hello sooner.
constexpr size_t kMostStrangers = 64;
constexpr std::chrono::milliseconds kAcceptPause{2};
// Strangers fill no log: what happens meanwhile is counted.
constexpr std::chrono::seconds kStrangersLine{10};
}  // namespace

void PeerTransportImpl::accept() {
  accepting_ = true;
  auto accepted = [this](const std::error_code& error, asio::ip::tcp::socket socket) {
    if (stopping_ || error == asio::error::operation_aborted) return;
    // Other nodes may have half of what clients leave.
    const bool scarce = !error && net::leaves_too_few(socket.native_handle(), true);
    if (error || scarce) {
      observability::log_warning("accept on {}: {}", options_.listen,
                                 scarce ? net::kTooFewLeft : error.message());
      accept_timer_.expires_after(kAcceptRetry);
      return accept_timer_.async_wait([this](const std::error_code& stopped) {
        if (!stopped) accept();
      });
    }
    const bool full = came_.size() >= kMostStrangers;
    if (full) make_room_for_stranger();
    if (handler_ != nullptr) introduce(std::move(socket), NodeId{});
    if (!full) return accept();
    accept_timer_.expires_after(kAcceptPause);
    accept_timer_.async_wait([this](const std::error_code& stopped) {
      if (!stopped) accept();
    });
  };
  acceptor_->async_accept(std::move(accepted));
}

void PeerTransportImpl::make_room_for_stranger() {
  const auto first = came_.front().lock();
  came_.pop_front();
  if (first) first->close("others need its place, and it has said no hello yet");
}

void PeerTransportImpl::warn_of_stranger(const std::string& remote, const std::string& reason) {
  const auto now = std::chrono::steady_clock::now();
  ++strangers_unsaid_;
  if (now - stranger_said_ < kStrangersLine) return;
  stranger_said_ = now;
  const uint64_t others = std::exchange(strangers_unsaid_, 0) - 1;
  observability::log_warning(
      "peer connection from {}: {}{}", remote, reason,
      others == 0 ? "" : fmt::format(" ({} more failed since the last such line)", others));
}

}  // namespace tailrace::rpc
