#include "rpc/wire/framed_socket.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#include <asio/post.hpp>
#include <fmt/format.h>
#include <kj/exception.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "rpc/wire/message.h"

namespace tailrace::rpc {
namespace {

constexpr std::chrono::seconds kLongestAwaitedClose{1};
// Whoever sends more at a time than this is told when it was written.
constexpr size_t kMostBytesWithoutATurn = 64u << 10;

}  // namespace

FramedSocket::FramedSocket(asio::ip::tcp::socket socket, size_t max_frame_bytes, Traffic& traffic)
    : socket_(std::move(socket)),
      max_frame_bytes_(max_frame_bytes),
      decoder_(std::min(max_frame_bytes, kMostHelloBytes)),
      traffic_(traffic),
      close_timer_(socket_.get_executor()) {
  std::error_code ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  notice_when_it_is_gone(30, 10);
  const auto remote = socket_.remote_endpoint(ignored);
  if (!ignored) remote_ = fmt::format("{}:{}", remote.address().to_string(), remote.port());
}

void FramedSocket::notice_when_it_is_gone(int idle_s, int interval_s) {
  std::error_code ignored;
  socket_.set_option(asio::socket_base::keep_alive(true), ignored);
  const auto set = [this](int option, int value) {
    (void)::setsockopt(socket_.native_handle(), IPPROTO_TCP, option, &value, sizeof value);
  };
  set(TCP_KEEPIDLE, idle_s);
  set(TCP_KEEPINTVL, interval_s);
  set(TCP_KEEPCNT, 3);
}

bool FramedSocket::unconfirmed() {
  int bytes = 0;
  return !closed_ && ::ioctl(socket_.native_handle(), SIOCOUTQ, &bytes) == 0 && bytes > 0;
}

void FramedSocket::start() {
  read();
}

void FramedSocket::send(capnp::MessageBuilder& message, OutgoingFrames::Bytes lent) {
  if (!closed_ && !closing_ && !write_failed_) gathered_.append(message, std::move(lent));
}

void FramedSocket::flush() {
  if (closed_ || write_in_flight_ || gathered_.empty()) return;
  std::swap(writing_, gathered_);
  written_ = 0;
  const bool large = writing_.bytes() > kMostBytesWithoutATurn;
  write_in_flight_ = true;
  const bool all = write_now();
  on_sent();
  if (!all) return write_when_possible();
  // What callers do after a flush does not expect the end of the connection.
  if (!write_error_.empty()) return post_written();
  write_in_flight_ = false;
  if (large || wants_written()) {
    write_in_flight_ = true;
    post_written();
  }
}

bool FramedSocket::write_now() {
  constexpr size_t kMostPieces = 64;
  std::array<iovec, kMostPieces> pieces;
  while (written_ < writing_.bytes()) {
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = writing_.pieces_from(written_, pieces);
    const ssize_t wrote = ::sendmsg(socket_.native_handle(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return false;
    if (wrote < 0) {
      write_error_ = fmt::format("write: {}", std::generic_category().message(errno));
      return true;
    }
    written_ += static_cast<size_t>(wrote);
    bytes_written_ += static_cast<size_t>(wrote);
    traffic_.bytes_out.add(static_cast<size_t>(wrote));
  }
  writing_.clear();
  written_ = 0;
  return true;
}

void FramedSocket::write_when_possible() {
  auto possible = [self = shared_from_this()](const std::error_code& error) {
    if (self->closed_) return;
    if (error) self->write_error_ = fmt::format("write: {}", error.message());
    const bool all = error || self->write_now();
    self->on_sent();
    if (!all) return self->write_when_possible();
    self->written();
  };
  socket_.async_wait(asio::ip::tcp::socket::wait_write, std::move(possible));
}

void FramedSocket::post_written() {
  auto then = [self = shared_from_this()] {
    if (!self->closed_) self->written();
  };
  asio::post(socket_.get_executor(), std::move(then));
}

void FramedSocket::written() {
  write_in_flight_ = false;
  if (const std::string error = std::exchange(write_error_, {}); !error.empty()) {
    writing_.clear();
    return write_failed(error);
  }
  if (gathered_.empty() && closing_) return await_close();
  flush();
  on_written();
}

void FramedSocket::write_failed(const std::string& reason) {
  if (!read_in_flight_) return close(reason);
  write_failed_ = true;
  gathered_.clear();
}

void FramedSocket::resume() {
  if (closed_ || taking_) return;
  held_ = false;
  take_frames();
}

bool FramedSocket::other_side_closed() {
  if (closed_) return true;
  pollfd watched{socket_.native_handle(), POLLRDHUP, 0};
  return ::poll(&watched, 1, 0) > 0 &&
         (watched.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0;
}

std::optional<SteadyTime> FramedSocket::unfinished_since() const {
  if (held_ || !decoder_.has_part()) return std::nullopt;
  return part_since_;
}

std::optional<uint64_t> FramedSocket::sending_progress() const {
  if (!write_in_flight_) return std::nullopt;
  return bytes_written_;
}

void FramedSocket::take_frames() {
  const auto self = shared_from_this();  // close() may drop the last other owner
  taking_ = true;
  bool taken = false;
  while (!closed_ && !closing_ && !stopped_reading_ && !held_) {
    auto frame = decoder_.peek();
    if (!frame) {
      traffic_.bad_frames.add();
      close(frame.error().message);
      break;
    }
    if (!*frame) break;
    try {
      capnp::FlatArrayMessageReader message(to_words(**frame), reader_options((*frame)->size()));
      held_ = on_frame(message) == Take::kHold;
    } catch (const kj::Exception& exception) {
      traffic_.bad_frames.add();
      close(fmt::format("a frame holds no valid message: {}", exception.getDescription().cStr()));
    }
    if (held_ || closed_) continue;
    decoder_.consume();
    taken = true;
  }
  if (taken) part_since_ = std::chrono::steady_clock::now();
  taking_ = false;
  if (closed_) return;
  on_frames_taken();
  read();
}

void FramedSocket::read() {
  const bool wanted = awaiting_close_ || !(closing_ || stopped_reading_ || held_);
  if (closed_ || read_in_flight_ || !wanted) return;
  const size_t capacity = decoder_.capacity_with_room();
  if (capacity > decoder_.capacity() && !awaiting_close_ && !may_buffer(capacity)) return;
  read_in_flight_ = true;
  const MutableByteSpan room = decoder_.room();
  auto came = [self = shared_from_this()](const std::error_code& error, size_t bytes) {
    self->read_in_flight_ = false;
    if (self->closed_) return;
    if (error) {
      const bool ended = error == asio::error::eof;
      return self->close(ended ? "the other side closed the connection"
                               : fmt::format("read: {}", error.message()));
    }
    self->traffic_.bytes_in.add(bytes);
    if (self->awaiting_close_) return self->read();
    self->heard_ = std::chrono::steady_clock::now();
    if (!self->decoder_.has_part()) self->part_since_ = self->heard_;
    self->decoder_.filled(bytes);
    if (!self->held_) self->take_frames();
  };
  socket_.async_read_some(asio::buffer(room.data(), room.size()), std::move(came));
}

void FramedSocket::close(const std::string& reason) {
  if (closed_) return;
  closed_ = true;
  std::error_code ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
  socket_.close(ignored);
  close_timer_.cancel();
  gathered_.clear();
  on_closed(reason);
}

void FramedSocket::close_after_sending(const std::string& reason) {
  if (closed_ || closing_) return;
  closing_ = true;
  closing_reason_ = reason;
  flush();
  if (!write_in_flight_) await_close();
}

void FramedSocket::await_close() {
  awaiting_close_ = true;
  std::error_code ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  close_timer_.expires_after(kLongestAwaitedClose);
  auto late = [weak = weak_from_this()](const std::error_code& error) {
    const auto self = weak.lock();
    if (!error && self) self->close(self->closing_reason_);
  };
  close_timer_.async_wait(std::move(late));
  if (!taking_) read();  // else the frame being taken still needs the buffer
}

}  // namespace tailrace::rpc
