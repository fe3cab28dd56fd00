#include "http/listen.h"

#include <charconv>

#include <asio/io_context.hpp>
#include <fmt/format.h>

namespace tailrace::http {

Result<std::pair<std::string, std::string>> parse_endpoint(const std::string& text) {
  const size_t colon = text.rfind(':');
  const auto bad = [&] {
    return make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("'{}' is not HOST:PORT (for example 127.0.0.1:7100 or [::1]:7100)", text));
  };
  if (colon == std::string::npos || colon == 0 || colon + 1 == text.size()) return bad();
  std::string host = text.substr(0, colon);
  std::string port = text.substr(colon + 1);
  if (host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  if (host.empty() || host.find_first_of(", \t") != std::string::npos) return bad();
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
    return make_error(
        in_use ? ErrorCode::kInUse : ErrorCode::kIo,
        fmt::format(
            "{} {}: {}{}", what, address, error.message(),
            in_use ? " (another process listens there: stop it or choose another address)" : ""));
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

}  // namespace tailrace::http
