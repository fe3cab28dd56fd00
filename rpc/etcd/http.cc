#include "rpc/etcd/http.h"

#include <array>
#include <utility>

#include <asio/connect.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/post.hpp>
#include <asio/ssl.hpp>
#include <asio/steady_timer.hpp>
#include <asio/write.hpp>
#include <fmt/format.h>
#include <http_parser.h>

#include "net/dial.h"
#include "net/listen.h"
#include "rpc/etcd/lookup.h"

namespace tailrace::rpc {
namespace {

using asio::ip::tcp;

/// A TCP stream with or without TLS.
class Wire {
 public:
  using Handler = std::function<void(const std::error_code&, size_t)>;
  virtual ~Wire() = default;
  virtual tcp::socket& socket() = 0;
  virtual void shake_hands(const std::string& host, Handler done) = 0;
  virtual void write(const std::string& bytes, Handler done) = 0;
  virtual void read(asio::mutable_buffer into, Handler done) = 0;
};

class PlainWire : public Wire {
 public:
  explicit PlainWire(asio::io_context& io) : socket_(io) {}
  tcp::socket& socket() override { return socket_; }
  void shake_hands(const std::string&, Handler done) override { done({}, 0); }
  void write(const std::string& bytes, Handler done) override {
    asio::async_write(socket_, asio::buffer(bytes), std::move(done));
  }
  void read(asio::mutable_buffer into, Handler done) override {
    socket_.async_read_some(into, std::move(done));
  }

 private:
  tcp::socket socket_;
};

class TlsWire : public Wire {
 public:
  TlsWire(asio::io_context& io, std::shared_ptr<asio::ssl::context> context)
      : context_(std::move(context)), stream_(io, *context_) {}
  tcp::socket& socket() override { return stream_.next_layer(); }
  void shake_hands(const std::string& host, Handler done) override {
    // The name in the hello lets a server with several certificates choose; addresses are no names.
    std::error_code no_address;
    (void)asio::ip::make_address(host, no_address);
    if (no_address) SSL_set_tlsext_host_name(stream_.native_handle(), host.c_str());
    stream_.set_verify_callback(asio::ssl::host_name_verification(host));
    stream_.async_handshake(
        asio::ssl::stream_base::client,
        [done = std::move(done)](const std::error_code& error) { done(error, 0); });
  }
  void write(const std::string& bytes, Handler done) override {
    asio::async_write(stream_, asio::buffer(bytes), std::move(done));
  }
  void read(asio::mutable_buffer into, Handler done) override {
    stream_.async_read_some(into, std::move(done));
  }

 private:
  const std::shared_ptr<asio::ssl::context> context_;
  asio::ssl::stream<tcp::socket> stream_;
};

std::string header_host(const HttpEndpoint& endpoint) {
  const bool six = endpoint.host.find(':') != std::string::npos;
  return six ? fmt::format("[{}]:{}", endpoint.host, endpoint.port)
             : fmt::format("{}:{}", endpoint.host, endpoint.port);
}

class Exchange : public HttpExchange, public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(asio::io_context& io, std::shared_ptr<asio::ssl::context> tls, HttpEndpoint endpoint,
           HttpRequest request, Done done, Part part)
      : io_(io),
        endpoint_(std::move(endpoint)),
        most_bytes_(request.most_bytes),
        done_(std::move(done)),
        part_(std::move(part)),
        timer_(io) {
    if (endpoint_.tls)
      wire_ = std::make_unique<TlsWire>(io, std::move(tls));
    else
      wire_ = std::make_unique<PlainWire>(io);
    head_and_body_ = fmt::format(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n"
        "Content-Length: {}\r\nConnection: close\r\n{}\r\n{}",
        request.path, header_host(endpoint_), request.body.size(),
        request.authorization.empty() ? ""
                                      : fmt::format("Authorization: {}\r\n", request.authorization),
        request.body);
    http_parser_init(&parser_, HTTP_RESPONSE);
    parser_.data = this;
  }

  void begin(SteadyTime deadline) {
    const auto self = shared_from_this();
    timer_.expires_at(deadline);
    timer_.async_wait([self](const std::error_code& error) {
      if (!error && !self->streaming_)
        self->fail(ErrorCode::kTimedOut, fmt::format("no answer in time ({})", self->doing_));
    });
    // An address needs no name service.
    std::error_code no_address;
    (void)asio::ip::make_address(endpoint_.host, no_address);
    if (!no_address) return connect({endpoint_.host});
    // The timer keeps us: a lookup that holds us would be a circle.
    lookup_ = std::make_unique<NameLookup>(
        io_, endpoint_.host, [this](Result<std::vector<std::string>> found) {
          if (finished_) return;
          if (!found) return fail(ErrorCode::kUnavailable, found.error().message);
          connect(*found);
        });
  }

  void cancel() override {
    done_ = nullptr;
    close();
  }

 private:
  void close() {
    finished_ = true;
    part_ = nullptr;
    timer_.cancel();
    if (lookup_) lookup_->cancel();
    std::error_code ignored;
    wire_->socket().close(ignored);
  }

  void finish(Result<HttpAnswer> result) {
    if (finished_) return;
    close();
    if (const auto done = std::exchange(done_, nullptr)) done(std::move(result));
  }

  void fail(ErrorCode code, const std::string& what) {
    finish(make_error(code, fmt::format("etcd at {}: {}", endpoint_.text, what)));
  }

  void connect(const std::vector<std::string>& addresses) {
    doing_ = "connect";
    const auto port = static_cast<uint16_t>(std::stoul(endpoint_.port));
    std::vector<tcp::endpoint> endpoints;
    for (const std::string& text : addresses) {
      std::error_code no_address;
      const auto address = asio::ip::make_address(text, no_address);
      if (!no_address) endpoints.emplace_back(address, port);
    }
    asio::async_connect(
        wire_->socket(), endpoints,
        [self = shared_from_this()](const std::error_code& error, const tcp::endpoint&) {
          self->connected(error);
        });
  }

  void connected(const std::error_code& error) {
    if (finished_) return;
    if (error) return fail(ErrorCode::kUnavailable, "connect: " + error.message());
    doing_ = "TLS handshake";
    const auto self = shared_from_this();
    wire_->shake_hands(endpoint_.host, [self](const std::error_code& failed, size_t) {
      if (self->finished_) return;
      if (failed) return self->fail(ErrorCode::kUnavailable, "TLS handshake: " + failed.message());
      self->doing_ = "request";
      self->wire_->write(self->head_and_body_, [self](const std::error_code& broken, size_t) {
        if (self->finished_) return;
        if (broken) return self->fail(ErrorCode::kUnavailable, "send: " + broken.message());
        self->doing_ = "answer";
        self->read();
      });
    });
  }

  void read() {
    const auto self = shared_from_this();
    wire_->read(asio::buffer(buffer_), [self](const std::error_code& error, size_t size) {
      if (self->finished_) return;
      // TLS without a proper goodbye is an end like any other: the parser knows whether it is
      // early.
      const bool end = error == asio::error::eof || error == asio::ssl::error::stream_truncated;
      if (error && !end) return self->fail(ErrorCode::kUnavailable, "read: " + error.message());
      self->parse(end ? 0 : size, end);
    });
  }

  void parse(size_t size, bool end) {
    static const http_parser_settings kSettings = settings();
    const size_t parsed = http_parser_execute(&parser_, &kSettings, buffer_.data(), size);
    if (finished_) return;  // by whoever took a part
    if (complete_) return finish(HttpAnswer{status_, std::move(body_)});
    if (over_)
      return fail(ErrorCode::kResourceExhausted,
                  fmt::format("an answer of more than {} bytes", most_bytes_));
    if (end)
      return fail(ErrorCode::kUnavailable, "the connection was closed in the middle of an answer");
    if (parsed != size || HTTP_PARSER_ERRNO(&parser_) != HPE_OK)
      return fail(ErrorCode::kCorruption,
                  fmt::format("the answer is no HTTP ({}); is this etcd's client port?",
                              http_errno_description(HTTP_PARSER_ERRNO(&parser_))));
    read();
  }

  static Exchange& of(http_parser* parser) { return *static_cast<Exchange*>(parser->data); }

  static http_parser_settings settings() {
    http_parser_settings settings;
    http_parser_settings_init(&settings);
    settings.on_headers_complete = [](http_parser* parser) {
      Exchange& self = of(parser);
      self.status_ = parser->status_code;
      if (self.status_ != 200) self.part_ = nullptr;
      if (self.part_) {
        self.streaming_ = true;
        self.timer_.cancel();
      }
      return 0;
    };
    settings.on_body = [](http_parser* parser, const char* at, size_t size) {
      Exchange& self = of(parser);
      if (self.part_) {
        const Part part = self.part_;  // it may cancel us
        part({at, size});
        return self.finished_ ? 1 : 0;
      }
      self.over_ = self.body_.size() + size > self.most_bytes_;
      if (self.over_) return 1;
      self.body_.append(at, size);
      return 0;
    };
    settings.on_message_complete = [](http_parser* parser) {
      Exchange& self = of(parser);
      if (self.status_ / 100 == 1) return 0;  // "100 Continue": the answer is still to come
      self.complete_ = true;
      return 1;  // what may follow is nobody's answer
    };
    return settings;
  }

  asio::io_context& io_;
  const HttpEndpoint endpoint_;
  const size_t most_bytes_;
  Done done_;
  Part part_;
  std::unique_ptr<NameLookup> lookup_;
  asio::steady_timer timer_;
  std::unique_ptr<Wire> wire_;
  std::string head_and_body_;
  const char* doing_ = "resolve";
  std::array<char, 8192> buffer_;
  http_parser parser_;
  unsigned status_ = 0;
  std::string body_;
  bool streaming_ = false, over_ = false, complete_ = false, finished_ = false;
};

}  // namespace

Result<HttpEndpoint> parse_http_endpoint(const std::string& text) {
  HttpEndpoint endpoint;
  endpoint.text = text;
  constexpr std::string_view kPlain = "http://", kTls = "https://";
  std::string rest;
  if (text.starts_with(kPlain)) {
    rest = text.substr(kPlain.size());
  } else if (text.starts_with(kTls)) {
    endpoint.tls = true;
    rest = text.substr(kTls.size());
  }
  if (rest.ends_with('/')) rest.pop_back();
  auto parts = net::parse_endpoint(rest);
  const bool good = parts && parts->first.find_first_of("/ @\r\n") == std::string::npos;
  if (!good)
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("'{}' is no endpoint of etcd; it must be http://HOST:PORT or "
                                  "https://HOST:PORT",
                                  text));
  std::tie(endpoint.host, endpoint.port) = std::move(*parts);
  return endpoint;
}

std::shared_ptr<HttpExchange> HttpExchange::start(asio::io_context& io,
                                                  std::shared_ptr<asio::ssl::context> tls,
                                                  const HttpEndpoint& endpoint, HttpRequest request,
                                                  SteadyTime deadline, Done done, Part part) {
  auto exchange = std::make_shared<Exchange>(io, std::move(tls), endpoint, std::move(request),
                                             std::move(done), std::move(part));
  exchange->begin(deadline);
  return exchange;
}

}  // namespace tailrace::rpc
