#pragma once
// Addresses as they are written, and listening on them. Internal.

#include <string>
#include <utility>

#include <asio/ip/tcp.hpp>

#include "core/result.h"

namespace tailrace::net {

/// "HOST:PORT" or "[V6]:PORT" into host and port; kInvalidArgument otherwise.
Result<std::pair<std::string, std::string>> parse_endpoint(const std::string& text);

/// Binds and listens at once. kInUse naming the address when the port is taken.
Result<asio::ip::tcp::acceptor> listen_on(asio::io_context& io, const std::string& address);

}  // namespace tailrace::net
