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
    : readiness_(net::Readiness::of(socket.get_executor())),
      max_frame_bytes_(max_frame_bytes),
      decoder_(std::min(max_frame_bytes, kMostHelloBytes)),
      traffic_(traffic),
      close_timer_(socket.get_executor()) {
  std::error_code error;
  const auto remote = socket.remote_endpoint(error);
  if (!error) remote_ = fmt::format("{}:{}", remote.address().to_string(), remote.port());
  // Or Asio's own epoll set would wake for each packet, too.
  const int released = socket.release(error);
  if (!error) socket_ = net::Descriptor(released);
  set_option(IPPROTO_TCP, TCP_NODELAY, 1);
  notice_when_it_is_gone(30, 10);
}

void FramedSocket::set_option(int level, int option, int value) {
  (void)::setsockopt(socket_.number(), level, option, &value, sizeof value);
}

void FramedSocket::notice_when_it_is_gone(int idle_s, int interval_s) {
  set_option(SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(IPPROTO_TCP, TCP_KEEPIDLE, idle_s);
  set_option(IPPROTO_TCP, TCP_KEEPINTVL, interval_s);
  set_option(IPPROTO_TCP, TCP_KEEPCNT, 3);
}

bool FramedSocket::unconfirmed() {
  int bytes = 0;
  return !closed_ && ::ioctl(socket_.number(), SIOCOUTQ, &bytes) == 0 && bytes > 0;
}

void FramedSocket::start() {
  watch();
}

void FramedSocket::watch() {
  if (closed_ || watched_ != net::Readiness::kNone) return;
  const auto watched = readiness_.add(socket_.number(), shared_from_this());
  if (watched) {
    watched_ = *watched;
    return;
  }
  auto end = [self = shared_from_this(), reason = watched.error().message] { self->close(reason); };
  asio::post(executor(), std::move(end));
}

void FramedSocket::on_ready(net::Readiness::Ready ready) {
  readable_ |= ready.readable;
  until_nothing_comes_ |= ready.until_nothing_comes;
  if (ready.writable && std::exchange(awaits_writing_, false)) write_on();
  read();
}

void FramedSocket::on_turn() {
  turn_asked_ = false;
  read();
}

void FramedSocket::send(capnp::MessageBuilder& message, SharedBytes lent) {
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
    const ssize_t wrote = ::sendmsg(socket_.number(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
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
  awaits_writing_ = true;
  watch();
  // Asked for at the first write that finds no room: most connections never have one. Whatever has
  // become free since is told, too.
  if (watched_ == net::Readiness::kNone || std::exchange(watches_writing_, true)) return;
  const auto watches = readiness_.watch_writing(watched_, socket_.number());
  if (watches) return;
  awaits_writing_ = false;
  write_error_ = watches.error().message;
  post_written();
}

void FramedSocket::write_on() {
  const bool all = write_now();
  on_sent();
  if (!all) return write_when_possible();
  written();
}

void FramedSocket::post_written() {
  auto then = [self = shared_from_this()] {
    if (!self->closed_) self->written();
  };
  asio::post(executor(), std::move(then));
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
  if (!reads()) return close(reason);
  write_failed_ = true;
  gathered_.clear();
  readable_ = until_nothing_comes_ = true;
  read_on();
}

void FramedSocket::resume() {
  if (closed_ || taking_) return;
  held_ = no_room_ = false;
  take_frames();
}

bool FramedSocket::other_side_closed() {
  if (closed_) return true;
  pollfd watched{socket_.number(), POLLRDHUP, 0};
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
  read_on();
}

bool FramedSocket::reads() const {
  if (closed_ || watched_ == net::Readiness::kNone) return false;
  return awaiting_close_ || !(closing_ || stopped_reading_ || held_ || no_room_);
}

void FramedSocket::read_on() {
  if (readable_ && reads() && !std::exchange(turn_asked_, true)) readiness_.ask_turn(watched_);
}

void FramedSocket::read() {
  if (!readable_ || !reads()) return;
  const size_t capacity = decoder_.capacity_with_room();
  if (capacity > decoder_.capacity() && !awaiting_close_ && !may_buffer(capacity)) {
    no_room_ = true;
    return;
  }
  const MutableByteSpan room = decoder_.room();
  const ssize_t got = ::recv(socket_.number(), room.data(), room.size(), MSG_DONTWAIT);
  if (got > 0) {
    // What comes after a read that was not filled is told (epoll(7)).
    readable_ = until_nothing_comes_ || static_cast<size_t>(got) == room.size();
    return came(static_cast<size_t>(got));
  }
  if (got == 0) return close("the other side closed the connection");
  if (errno == EINTR) return read_on();
  if (errno != EAGAIN && errno != EWOULDBLOCK)
    return close(fmt::format("read: {}", std::generic_category().message(errno)));
  readable_ = false;
}

void FramedSocket::came(size_t bytes) {
  traffic_.bytes_in.add(bytes);
  if (awaiting_close_) return read_on();
  heard_ = std::chrono::steady_clock::now();
  if (!decoder_.has_part()) part_since_ = heard_;
  decoder_.filled(bytes);
  take_frames();
}

void FramedSocket::close(const std::string& reason) {
  if (closed_) return;
  closed_ = true;
  // Whoever calls this may still be at work in it: it lasts until a later turn.
  if (watched_ != net::Readiness::kNone) asio::post(executor(), [self = shared_from_this()] {});
  (void)::shutdown(socket_.number(), SHUT_RDWR);
  readiness_.remove(watched_);
  socket_.close();
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
  (void)::shutdown(socket_.number(), SHUT_WR);
  close_timer_.expires_after(kLongestAwaitedClose);
  auto late = [weak = weak_from_this()](const std::error_code& error) {
    const auto self = weak.lock();
    if (!error && self) self->close(self->closing_reason_);
  };
  close_timer_.async_wait(std::move(late));
  read_on();
}

}  // namespace tailrace::rpc
