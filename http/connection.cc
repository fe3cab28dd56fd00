#include "http/connection.h"

#include <utility>

#include <asio/buffer.hpp>
#include <asio/write.hpp>

#include "core/clock.h"

namespace tailrace::http {
namespace {

constexpr std::chrono::milliseconds kLongestLinger{1000};
/// Otherwise the system keeps up to 4 MiB of responses for a connection that reads none.
constexpr int kSendBufferBytes = 64 << 10;

int64_t unix_time_s() {
  return static_cast<int64_t>(system_clock().unix_time_ns() / 1'000'000'000);
}

}  // namespace

Connection::Connection(asio::ip::tcp::socket socket, Owner& owner)
    : owner_(owner),
      socket_(std::move(socket)),
      timer_(socket_.get_executor()),
      accepted_(system_clock().now()),
      parser_(owner.options.limits) {}

void Connection::begin() {
  std::error_code ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  socket_.set_option(asio::socket_base::send_buffer_size(kSendBufferBytes), ignored);
  expect_within(owner_.options.request_timeout);
  read();
}

void Connection::close() {
  if (std::exchange(stage_, Stage::kClosed) == Stage::kClosed) return;
  timer_.cancel();
  std::error_code ignored;
  socket_.close(ignored);
  owner_.forget(*this);
}

void Connection::read() {
  socket_.async_read_some(asio::buffer(buffer_),
                          [self = shared_from_this()](const std::error_code& error, size_t size) {
                            if (self->stage_ == Stage::kClosed) return;
                            if (error) return self->close();
                            self->unparsed_ = std::string_view(self->buffer_.data(), size);
                            self->parse();
                          });
}

void Connection::parse() {
  const bool begun = parser_.begun();
  unparsed_.remove_prefix(parser_.feed(unparsed_));
  switch (parser_.state()) {
    case RequestParser::State::kIncomplete:
      if (!begun && parser_.begun()) expect_within(owner_.options.request_timeout);
      return read();
    case RequestParser::State::kRefused:
      return send(text_response(parser_.status(), parser_.reason() + "\n"), false);
    case RequestParser::State::kComplete:
      break;
  }
  stage_ = Stage::kAnswering;
  timer_.cancel();
  auto answer = [weak = weak_from_this(), request = answered_](Response response) {
    const auto self = weak.lock();
    if (!self || self->stage_ != Stage::kAnswering || self->answered_ != request) return;
    self->send(std::move(response), self->parser_.request().keep_alive);
  };
  owner_.handler(parser_.request(), std::move(answer));
}

void Connection::send(Response response, bool keep_alive) {
  stage_ = Stage::kWriting;
  ++answered_;
  owner_.probe.count_response(response.status);
  const Request& request = parser_.request();
  head_ = response_head(response, request.minor_version, keep_alive, unix_time_s());
  body_ = request.method == "HEAD" ? nullptr : std::move(response.body);
  expect_within(owner_.options.response_timeout);
  const std::array<asio::const_buffer, 2> pieces{
      asio::buffer(head_), body_ ? asio::buffer(*body_) : asio::const_buffer()};
  asio::async_write(socket_, pieces,
                    [self = shared_from_this(), keep_alive](const std::error_code& error, size_t) {
                      if (self->stage_ == Stage::kClosed) return;
                      if (error) return self->close();
                      self->sent(keep_alive);
                    });
}

void Connection::sent(bool keep_alive) {
  body_.reset();
  if (!keep_alive) return linger();
  stage_ = Stage::kReading;
  parser_.next();
  owner_.refresh(*this);
  expect_within(owner_.options.idle_timeout);
  if (unparsed_.empty()) return read();
  parse();
}

void Connection::linger() {
  stage_ = Stage::kLingering;
  std::error_code error;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, error);
  if (error) return close();
  expect_within(kLongestLinger);
  drop();
}

void Connection::drop() {
  socket_.async_read_some(asio::buffer(buffer_),
                          [self = shared_from_this()](const std::error_code& error, size_t) {
                            if (self->stage_ == Stage::kClosed) return;
                            if (error) return self->close();
                            self->drop();
                          });
}

void Connection::expect_within(std::chrono::milliseconds most) {
  timer_.expires_after(most);
  timer_.async_wait([self = shared_from_this()](const std::error_code& error) {
    // It may have been on its way here when the deadline was moved.
    if (error || self->timer_.expiry() > asio::steady_timer::clock_type::now()) return;
    self->deadline_passed();
  });
}

void Connection::deadline_passed() {
  switch (stage_) {
    case Stage::kReading: {
      if (!parser_.begun()) {
        owner_.probe.count_closed(answered_ == 0 ? Closed::kRequestTimeout : Closed::kIdleTimeout);
        return close();
      }
      owner_.probe.count_closed(Closed::kRequestTimeout);
      owner_.probe.count_response(408);
      // As much as the socket takes at once: a read is on its way, and nobody waits for another.
      const Response response = text_response(408, "the request did not come whole in time\n");
      head_ = response_head(response, 1, false, unix_time_s()) + *response.body;
      std::error_code ignored;
      socket_.non_blocking(true, ignored);
      socket_.write_some(asio::buffer(head_), ignored);
      return close();
    }
    case Stage::kWriting:
      owner_.probe.count_closed(Closed::kResponseTimeout);
      return close();
    case Stage::kLingering:
      return close();
    case Stage::kAnswering:
    case Stage::kClosed:
      return;
  }
}

}  // namespace tailrace::http
