#pragma once
// Clients of the servers that a test has started.

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "rpc/client/client.h"

namespace tailrace::rpc::testing {

inline std::unique_ptr<Client> client_of(std::vector<std::string> servers, bool exactly_once = true,
                                         int timeout_ms = 10000) {
  ClientOptions options;
  options.servers = std::move(servers);
  options.exactly_once = exactly_once;
  options.timeout = std::chrono::milliseconds(timeout_ms);
  return Client::create(options).value();
}

}  // namespace tailrace::rpc::testing
