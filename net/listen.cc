#include "net/listen.h"

#include <asio/io_context.hpp>
#include <fmt/format.h>

#include "core/host_port.h"
#include "net/port_check.h"

namespace tailrace::net {

Result<std::pair<std::string, std::string>> parse_endpoint(const std::string& text) {
  TAILRACE_ASSIGN_OR_RETURN(auto parsed, parse_host_port(text));
  return std::pair{std::move(parsed.host), std::to_string(parsed.port)};
}

Result<asio::ip::tcp::acceptor> listen_on(asio::io_context& io, const std::string& address) {
  TAILRACE_ASSIGN_OR_RETURN(auto endpoint, parse_endpoint(address));
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
      resolver.resolve(endpoint.first, endpoint.second, asio::ip::tcp::resolver::passive, error);
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

Result<> check_listen(const std::string& address) {
  asio::io_context io;
  TAILRACE_RETURN_IF_ERROR(listen_on(io, address));
  return {};
}

}  // namespace tailrace::net
