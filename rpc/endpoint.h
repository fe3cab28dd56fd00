#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <utility>

#include <asio/ip/tcp.hpp>

#include "core/result.h"

namespace tailrace::rpc {

/// "HOST:PORT" or "[V6]:PORT" into host and port; kInvalidArgument otherwise.
Result<std::pair<std::string, std::string>> parse_endpoint(const std::string& text);

/// Binds and listens at once. kInUse naming the address when the port is taken.
Result<asio::ip::tcp::acceptor> listen_on(asio::io_context& io, const std::string& address);

/// Resolves and connects; `done` runs once on `io`, with kUnavailable naming the address when it
/// does not come about in time.
void dial(asio::io_context& io, const std::string& address, std::chrono::milliseconds most,
          std::function<void(Result<asio::ip::tcp::socket>)> done);

}  // namespace tailrace::rpc
