// A load generator that shares nothing with the client library but the schema: connections with one
// request in flight each, one thread, bare sockets and epoll. Beside `tailrace bench service` it
// shows whether that tool flatters or hurts the server. docs/benchmarks.md has the command.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>
#include <capnp/message.h>
#include <capnp/serialize.h>
#include <fmt/format.h>
#include <kj/exception.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/wire/schema/client.capnp.h"

namespace wire = tailrace::rpc::wire;

namespace {

using Clock = std::chrono::steady_clock;

constexpr uint32_t kProtocolVersion = 1;
constexpr size_t kMostFrameWords = (64u << 20) / sizeof(capnp::word);
constexpr uint64_t kHelloId = 0;

struct Options {
  std::string server = "127.0.0.1:7100", operation = "put";
  uint32_t connections = 64, value_bytes = 256;
  uint64_t keys = 100'000;
  double seconds = 10;
  bool json = false;
};

struct Counts {
  uint64_t operations = 0, errors = 0;
  std::string first_error;
};

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what);
}

int connect_to(const std::string& server) {
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

/// One connection, one session, one request at a time.
class Connection {
 public:
  Connection(const Options& options, std::mt19937_64& random)
      : options_(options),
        random_(random),
        socket_(connect_to(options.server)),
        client_high_(random()),
        client_low_(random()),
        value_(options.value_bytes, 'v'),
        incoming_(512) {
    // Room for a put of that size: then a message is one segment, and no memory is asked for.
    outgoing_ = kj::heapArray<capnp::word>(128 + options.value_bytes / sizeof(capnp::word));
    std::memset(outgoing_.begin(), 0, outgoing_.asBytes().size());
    say([](wire::Request::Builder request) {
      request.setId(kHelloId);
      request.initHello().setProtocolVersion(kProtocolVersion);
    });
    while (!greeted_)
      receive([](const std::string*) {});
  }
  ~Connection() { ::close(socket_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  int socket() const { return socket_; }

  void ask() {
    key_ = fmt::format("bench/{}", random_() % options_.keys);
    const capnp::Data::Reader key(reinterpret_cast<const kj::byte*>(key_.data()), key_.size());
    say([&](wire::Request::Builder request) {
      request.setId(++id_);
      if (options_.operation == "get") return request.initGet().setKey(key);
      auto command = request.initCommand();
      command.setOperation(wire::Operation::PUT);
      command.setKey(key);
      command.setValue({reinterpret_cast<const kj::byte*>(value_.data()), value_.size()});
      auto session = command.initSession();
      session.setClientHigh(client_high_);
      session.setClientLow(client_low_);
      session.setSerial(++serial_);
      if (serial_ == 1) session.setBeginsBeforeNs(bound_ns_);
    });
  }

  /// Reads once; `answered` gets null or the error of each answer that came.
  template <typename Answered>
  void receive(Answered answered) {
    auto* const bytes = reinterpret_cast<char*>(incoming_.data());
    const ssize_t came =
        ::recv(socket_, bytes + filled_, incoming_.size() * sizeof(capnp::word) - filled_, 0);
    if (came <= 0) fail("the server has closed a connection");
    filled_ += static_cast<size_t>(came);
    while (const size_t words = whole_frame()) {
      capnp::FlatArrayMessageReader message(kj::arrayPtr(incoming_.data(), words));
      take(message.getRoot<wire::Response>(), answered);
      filled_ -= words * sizeof(capnp::word);
      std::memmove(incoming_.data(), incoming_.data() + words, filled_);
    }
  }

 private:
  template <typename Fill>
  void say(Fill fill) {
    capnp::MallocMessageBuilder message(outgoing_);
    fill(message.initRoot<wire::Request>());
    const auto segments = message.getSegmentsForOutput();
    if (segments.size() != 1) fail("a request of several segments");
    const uint32_t table[2] = {0, static_cast<uint32_t>(segments[0].size())};
    const auto body = segments[0].asChars();
    frame_.assign(reinterpret_cast<const char*>(table), sizeof table);
    frame_.append(body.begin(), body.size());
    for (size_t sent = 0; sent < frame_.size();) {
      const ssize_t more =
          ::send(socket_, frame_.data() + sent, frame_.size() - sent, MSG_NOSIGNAL);
      if (more < 0) fail(fmt::format("send: {}", std::strerror(errno)));
      sent += static_cast<size_t>(more);
    }
  }

  /// The words of the frame at the begin; 0: it is not whole.
  size_t whole_frame() {
    const size_t have = filled_ / sizeof(capnp::word);
    if (have == 0) return 0;
    const auto words = capnp::expectedSizeInWordsFromPrefix(
        kj::arrayPtr(const_cast<const capnp::word*>(incoming_.data()), have));
    if (words > kMostFrameWords) fail("the server announces a frame of more than 64 MiB");
    if (words > incoming_.size()) incoming_.resize(words);
    return words <= have ? words : 0;
  }

  template <typename Answered>
  void take(wire::Response::Reader response, Answered answered) {
    if (response.isHello()) {
      const auto hello = response.getHello();
      if (hello.getError().size() != 0) fail(hello.getError().cStr());
      if (!hello.getLeader())
        fail(fmt::format("node {} does not lead; the leader is at '{}'", hello.getNode(),
                         hello.getLeaderAddress().cStr()));
      if (hello.getSessionTtlNs() != 0) bound_ns_ = hello.getLogTimeNs() + hello.getSessionTtlNs();
      greeted_ = true;
      return;
    }
    if (response.getId() != id_) return;
    if (response.isError()) {
      const std::string error = response.getError().getMessage().cStr();
      return answered(&error);
    }
    if (response.isCommand() && response.getCommand().getOutcome() != 0) {
      const std::string error =
          fmt::format("a put had outcome {}", response.getCommand().getOutcome());
      return answered(&error);
    }
    answered(nullptr);
  }

  const Options& options_;
  std::mt19937_64& random_;
  const int socket_;
  const uint64_t client_high_, client_low_;
  const std::string value_;
  uint64_t id_ = kHelloId, serial_ = 0, bound_ns_ = 0;
  bool greeted_ = false;
  std::string key_, frame_;
  kj::Array<capnp::word> outgoing_;
  std::vector<capnp::word> incoming_;
  size_t filled_ = 0;  // bytes
};

double cpu_us() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  const auto us = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_usec);
  };
  return us(used.ru_utime) + us(used.ru_stime);
}

/// Until the time is over and every request is answered.
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

int measure(const Options& options) {
  std::mt19937_64 random(std::random_device{}());
  std::vector<std::unique_ptr<Connection>> connections;
  for (uint32_t i = 0; i < options.connections; ++i)
    connections.push_back(std::make_unique<Connection>(options, random));
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
  if (counts.errors > 0) fmt::print(stderr, "bare_load: {}\n", counts.first_error);
  return counts.operations > 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Puts or gets on bare connections, one in flight each");
  Options options;
  app.add_option("--server", options.server, "HOST:PORT of the leader")->capture_default_str();
  app.add_option("--op", options.operation, "put, or get from the leader (linearizable)")
      ->check(CLI::IsMember({"put", "get"}))
      ->capture_default_str();
  app.add_option("--connections", options.connections, "Each with a session")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  app.add_option("--value-bytes", options.value_bytes, "Of each value")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  app.add_option("--keys", options.keys, "Different keys")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 40))
      ->capture_default_str();
  app.add_option("--seconds", options.seconds, "How long")
      ->check(CLI::Range(0.1, 86400.0))
      ->capture_default_str();
  app.add_flag("--json", options.json, "One JSON object");
  CLI11_PARSE(app, argc, argv);
  try {
    return measure(options);
  } catch (const kj::Exception& error) {
    fmt::print(stderr, "bare_load: {}\n", error.getDescription().cStr());
  } catch (const std::exception& error) {
    fmt::print(stderr, "bare_load: {}\n", error.what());
  }
  return 1;
}
