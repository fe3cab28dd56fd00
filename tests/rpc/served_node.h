#pragma once
// A client of a FakeNode's server, and what that server's metrics say.

#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "observability/metrics.h"
#include "rpc/client/client.h"
#include "tests/rpc/fake_node.h"

namespace tailrace::rpc::testing {

inline std::unique_ptr<Client> client_of(
    const FakeNode& node, std::chrono::milliseconds timeout = ClientOptions().timeout) {
  ClientOptions options;
  options.servers = {node.address()};
  options.timeout = timeout;
  return Client::create(options).value();
}

template <typename Condition>
bool soon(Condition condition) {
  for (int i = 0; i < 2000 && !condition(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return condition();
}

/// The value of a metric without labels.
inline double value_of(const observability::MetricRegistry& registry, const std::string& name) {
  const std::string text = "\n" + registry.expose();
  const size_t at = text.find("\n" + name + " ");
  return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size() + 2));
}

}  // namespace tailrace::rpc::testing
