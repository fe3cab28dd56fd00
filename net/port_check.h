#pragma once

#include <string>

#include "core/result.h"

namespace tailrace::net {

/// Whether this process can listen on HOST:PORT now: kInUse naming the address where another one
/// does. To be asked before anything is opened that a node which then refuses would have changed.
Result<> check_listen(const std::string& address);

}  // namespace tailrace::net
