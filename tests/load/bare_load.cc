// A load generator that shares nothing with the client library but the schema: connections with one
// request in flight each, one thread, bare sockets and epoll. Beside `tailrace bench service` it
// shows whether that tool flatters or hurts the server. docs/benchmarks.md has the command.

#include "tests/load/bare_load.h"

#include <cstdlib>
#include <random>
#include <string_view>

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <kj/exception.h>

#include "rpc/wire/schema/client.capnp.h"

namespace wire = tailrace::rpc::wire;

namespace tailrace::load {

namespace {

constexpr uint32_t kProtocolVersion = 1;
constexpr size_t kMostFrameWords = (64u << 20) / sizeof(capnp::word);
constexpr uint64_t kHelloId = 0;

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

int put_or_get(const Options& options) {
  std::mt19937_64 random(std::random_device{}());
  std::vector<std::unique_ptr<Connection>> connections;
  for (uint32_t i = 0; i < options.connections; ++i)
    connections.push_back(std::make_unique<Connection>(options, random));
  return measure("bare_load", options, std::move(connections));
}

}  // namespace

}  // namespace tailrace::load

int main(int argc, char** argv) {
  CLI::App app("Puts or gets on bare connections, one in flight each");
  tailrace::load::Options options;
  options.server = "127.0.0.1:7100";
  options.operation = "put";
  tailrace::load::add_options(app, options);
  app.add_option("--op", options.operation, "put, or get from the leader (linearizable)")
      ->check(CLI::IsMember({"put", "get"}))
      ->capture_default_str();
  app.add_option("--keys", options.keys, "Different keys")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 40))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    return tailrace::load::put_or_get(options);
  } catch (const kj::Exception& error) {
    fmt::print(stderr, "bare_load: {}\n", error.getDescription().cStr());
  } catch (const std::exception& error) {
    fmt::print(stderr, "bare_load: {}\n", error.what());
  }
  return 1;
}
