#pragma once
// Flushes of the log on the thread that ships its records and hears that others have them.

#include <memory>

#include <asio/io_context.hpp>

#include "core/result.h"
#include "fasterlog/log.h"

namespace tailrace::rpc {

/// Calls the steps of Log::host_flushes() on the loop of `io`. kUnsupported where that says so; the
/// log goes on with its own thread then. Made and dropped on the loop's thread, or while it does
/// not run; dropped before the log.
Result<std::shared_ptr<void>> host_flushes(asio::io_context& io, fasterlog::Log& log);

}  // namespace tailrace::rpc
