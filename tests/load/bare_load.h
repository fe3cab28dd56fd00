#pragma once
// What loads of bare sockets share: connections with one request in flight each, one thread, epoll.

#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

namespace tailrace::load {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string server, operation;
  uint32_t connections = 64, value_bytes = 256;
  uint64_t keys = 100'000;
  double seconds = 10;
  bool json = false;
};

struct Counts {
  uint64_t operations = 0, errors = 0;
  std::string first_error;
};

[[noreturn]] inline void fail(const std::string& what) {
  throw std::runtime_error(what);
}

inline int connect_to(const std::string& server) {
  const size_t colon = server.rfind(':');
  if (colon == std::string::npos) fail("--server is HOST:PORT");
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (::getaddrinfo(server.substr(0, colon).c_str(), server.substr(colon + 1).c_str(), &hints,
                    &found) != 0)
    fail(server + ": no such address");
  const int socket = ::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool connected = ::connect(socket, found->ai_addr, found->ai_addrlen) == 0;
  ::freeaddrinfo(found);
  if (!connected) fail(fmt::format("connect to {}: {}", server, std::strerror(errno)));
  const int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return socket;
}

inline double cpu_us() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  const auto us = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_usec);
  };
  return us(used.ru_utime) + us(used.ru_stime);
}

/// Until the time is over and every request is answered.
template <typename Connection>
Counts run(const Options& options, std::vector<std::unique_ptr<Connection>>& connections) {
  Counts counts;
  const int waiting = ::epoll_create1(EPOLL_CLOEXEC);
  for (const auto& connection : connections) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = connection.get();
    if (::epoll_ctl(waiting, EPOLL_CTL_ADD, connection->socket(), &event) != 0) fail("epoll_ctl");
    connection->ask();
  }
  const auto deadline = Clock::now() + std::chrono::duration<double>(options.seconds);
  std::vector<epoll_event> events(256);
  for (size_t in_flight = connections.size(); in_flight > 0;) {
    const int ready = ::epoll_wait(waiting, events.data(), static_cast<int>(events.size()), 30'000);
    if (ready == 0) fail("no answer came for 30 seconds");
    const bool over = Clock::now() >= deadline;
    for (int i = 0; i < ready; ++i) {
      auto& connection = *static_cast<Connection*>(events[static_cast<size_t>(i)].data.ptr);
      connection.receive([&](const std::string* error) {
        if (error == nullptr) {
          ++counts.operations;
        } else if (counts.errors++ == 0) {
          counts.first_error = *error;
        }
        if (over)
          --in_flight;
        else
          connection.ask();
      });
    }
  }
  ::close(waiting);
  return counts;
}

/// Prints what the connections did; the exit code.
template <typename Connection>
int measure(const char* tool, const Options& options,
            std::vector<std::unique_ptr<Connection>> connections) {
  const double cpu_before = cpu_us();
  const auto began = Clock::now();
  const Counts counts = run(options, connections);
  const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
  const double cpu = cpu_us() - cpu_before;
  const double rate = static_cast<double>(counts.operations) / seconds;
  const double each = counts.operations == 0 ? 0 : cpu / static_cast<double>(counts.operations);
  if (options.json)
    fmt::print(
        "{{\"op\": \"{}\", \"connections\": {}, \"seconds\": {:.3f}, \"ops\": {}, "
        "\"ops_per_s\": {:.1f}, \"cpu_us_per_op\": {:.2f}, \"errors\": {}}}\n",
        options.operation, options.connections, seconds, counts.operations, rate, each,
        counts.errors);
  else
    fmt::print(
        "{} connections, {} bytes, {:.1f} s: {:.0f} {} per second, {:.1f} us of this tool's "
        "processor time each, {} errors\n",
        options.connections, options.value_bytes, seconds, rate, options.operation, each,
        counts.errors);
  if (counts.errors > 0) fmt::print(stderr, "{}: {}\n", tool, counts.first_error);
  return counts.operations > 0 ? 0 : 1;
}

inline void add_options(CLI::App& app, Options& options) {
  app.add_option("--server", options.server, "HOST:PORT of the leader")->capture_default_str();
  app.add_option("--connections", options.connections, "With one request in flight each")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  app.add_option("--value-bytes", options.value_bytes, "Of each value")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  app.add_option("--seconds", options.seconds, "How long")
      ->check(CLI::Range(0.1, 86400.0))
      ->capture_default_str();
  app.add_flag("--json", options.json, "One JSON object");
}

}  // namespace tailrace::load
