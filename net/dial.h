#pragma once

#include <chrono>
#include <functional>
#include <string>

#include <asio/ip/tcp.hpp>

#include "core/result.h"

namespace tailrace::net {

/// Resolves and connects; `done` runs once on `io`, with kUnavailable naming the address when it
/// does not come about in time.
void dial(asio::io_context& io, const std::string& address, std::chrono::milliseconds most,
          std::function<void(Result<asio::ip::tcp::socket>)> done);

}  // namespace tailrace::net
