#include "rpc/endpoint.h"

#include <charconv>
#include <memory>
#include <string>

#include <asio/connect.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <fmt/format.h>

namespace tailrace::rpc {
namespace {

/// One attempt to connect; its own pending operations keep it alive.
struct Dial : std::enable_shared_from_this<Dial> {
  Dial(asio::io_context& io, std::string to,
       std::function<void(Result<asio::ip::tcp::socket>)> then)
      : address(std::move(to)), done(std::move(then)), resolver(io), socket(io), timer(io) {}

  void finish(const std::error_code& error) {
    if (!done) return;
    timer.cancel();
    const auto callback = std::exchange(done, nullptr);
    if (!error) return callback(std::move(socket));
    callback(make_error(ErrorCode::kUnavailable,
                        fmt::format("connect to {}: {}", address, error.message())));
  }

  std::string address;
  std::function<void(Result<asio::ip::tcp::socket>)> done;
  asio::ip::tcp::resolver resolver;
  asio::ip::tcp::socket socket;
  asio::steady_timer timer;
};

}  // namespace

Result<std::pair<std::string, std::string>> parse_endpoint(const std::string& text) {
  const size_t colon = text.rfind(':');
  const auto bad = [&] {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("'{}' is no HOST:PORT (for example 127.0.0.1:7100)", text));
  };
  if (colon == std::string::npos || colon == 0 || colon + 1 == text.size()) return bad();
  std::string host = text.substr(0, colon);
  std::string port = text.substr(colon + 1);
  if (host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  if (host.empty()) return bad();
  unsigned number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc{} || end != port.data() + port.size() || number > 65535) return bad();
  return std::pair{std::move(host), std::move(port)};
}

Result<asio::ip::tcp::acceptor> listen_on(asio::io_context& io, const std::string& address) {
  auto endpoint = parse_endpoint(address);
  if (!endpoint) return tl::unexpected(std::move(endpoint).error());
  const auto failed = [&](const char* what, const std::error_code& error) {
    const bool in_use = error == asio::error::address_in_use;
    return make_error(in_use ? ErrorCode::kInUse : ErrorCode::kIo,
                      fmt::format("{} {}: {}{}", what, address, error.message(),
                                  in_use ? " (another process listens there)" : ""));
  };
  std::error_code error;
  asio::ip::tcp::resolver resolver(io);
  const auto found =
      resolver.resolve(endpoint->first, endpoint->second, asio::ip::tcp::resolver::passive, error);
  if (error || found.empty()) return failed("resolve", error);
  const asio::ip::tcp::endpoint local = found.begin()->endpoint();
  asio::ip::tcp::acceptor acceptor(io);
  acceptor.open(local.protocol(), error);
  if (error) return failed("open a socket for", error);
  acceptor.set_option(asio::socket_base::reuse_address(true), error);
  acceptor.bind(local, error);
  if (error) return failed("listen on", error);
  acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return failed("listen on", error);
  return acceptor;
}

void dial(asio::io_context& io, const std::string& address, std::chrono::milliseconds most,
          std::function<void(Result<asio::ip::tcp::socket>)> done) {
  auto endpoint = parse_endpoint(address);
  if (!endpoint) {
    asio::post(io,
               [done = std::move(done), error = endpoint.error()] { done(tl::unexpected(error)); });
    return;
  }
  auto attempt = std::make_shared<Dial>(io, address, std::move(done));
  attempt->timer.expires_after(most);
  attempt->timer.async_wait([attempt](const std::error_code& error) {
    if (error || !attempt->done) return;
    attempt->resolver.cancel();
    std::error_code ignored;
    attempt->socket.close(ignored);
    attempt->finish(asio::error::timed_out);
  });
  auto resolved = [attempt](const std::error_code& error,
                            const asio::ip::tcp::resolver::results_type& found) {
    if (error) return attempt->finish(error);
    if (!attempt->done) return;
    asio::async_connect(attempt->socket, found,
                        [attempt](const std::error_code& failed, const asio::ip::tcp::endpoint&) {
                          attempt->finish(failed);
                        });
  };
  // What is no name must not wait behind one that no server of names tells: they are asked one
  // after the other.
  std::error_code is_name;
  const asio::ip::address numeric = asio::ip::make_address(endpoint->first, is_name);
  if (is_name)
    return attempt->resolver.async_resolve(endpoint->first, endpoint->second, std::move(resolved));
  const auto port = static_cast<asio::ip::port_type>(std::stoul(endpoint->second));
  attempt->socket.async_connect(
      {numeric, port}, [attempt](const std::error_code& error) { attempt->finish(error); });
}

}  // namespace tailrace::rpc
