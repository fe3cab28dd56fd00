// The same load for NATS JetStream: events that a stream of the server stores, one in flight on
// each connection, each answered when the stream has it. `nats-server -js` as Debian has it;
// nothing of Tailrace is in it. tests/load/beside_peers.py starts both and compares them.

#include "tests/load/bare_load.h"

namespace tailrace::load {

namespace {

constexpr const char* kStream = "tailrace-load";

/// A connection of the NATS protocol: lines, and payloads behind their lengths.
class Connection {
 public:
  Connection(const Options& options, uint32_t number)
      : socket_(connect_to(options.server)), inbox_(fmt::format("_INBOX.load.{}", number)) {
    // Whoever asks before the servers have a leader gets no answer.
    const timeval patience{5, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    publish_ = fmt::format("PUB load.{} {} {}\r\n{}\r\n", number, inbox_, options.value_bytes,
                           std::string(options.value_bytes, 'v'));
    // The answer to a ping comes behind all that was said before it.
    say(fmt::format("CONNECT {{\"verbose\":false}}\r\nSUB {} 1\r\nPING\r\n", inbox_));
    while (!ready_)
      receive([](const std::string*) {});
  }
  ~Connection() { ::close(socket_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  int socket() const { return socket_; }
  void ask() { say(publish_); }
  /// Asks the server itself; the answer, whole.
  std::string request(const std::string& subject, const std::string& body) {
    say(fmt::format("PUB {} {} {}\r\n{}\r\n", subject, inbox_, body.size(), body));
    for (last_.clear(); last_.empty();)
      receive([](const std::string*) {});
    return last_;
  }

  /// Reads once; `answered` gets null or the error of each answer that came.
  template <typename Answered>
  void receive(Answered answered) {
    char bytes[16384];
    const ssize_t came = ::recv(socket_, bytes, sizeof bytes, 0);
    if (came < 0) fail(fmt::format("no answer came: {}", std::strerror(errno)));
    if (came == 0) fail("the server has closed a connection");
    incoming_.append(bytes, static_cast<size_t>(came));
    for (;;) {
      const size_t end = incoming_.find("\r\n");
      if (end == std::string::npos) return;
      const std::string line = incoming_.substr(0, end);
      size_t used = end + 2;
      if (line.starts_with("MSG ")) {
        const size_t payload = std::stoul(line.substr(line.rfind(' ') + 1));
        if (incoming_.size() < used + payload + 2) return;
        last_ = incoming_.substr(used, payload);
        used += payload + 2;
        answered(last_.find("\"error\"") == std::string::npos ? nullptr : &last_);
      } else if (line == "PONG") {
        ready_ = true;
      } else if (line == "PING") {
        say("PONG\r\n");
      } else if (line.starts_with("-ERR")) {
        fail(line);
      }
      incoming_.erase(0, used);
    }
  }

 private:
  void say(const std::string& text) {
    for (size_t sent = 0; sent < text.size();) {
      const ssize_t more = ::send(socket_, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
      if (more < 0) fail(fmt::format("send: {}", std::strerror(errno)));
      sent += static_cast<size_t>(more);
    }
  }

  const int socket_;
  const std::string inbox_;
  std::string publish_, incoming_, last_;
  bool ready_ = false;
};

int append(const Options& options, uint32_t replicas) {
  Connection first(options, options.connections);
  const std::string stream = kStream, subject = "$JS.API.STREAM.";
  first.request(subject + "DELETE." + stream, "");
  const std::string made =
      first.request(subject + "CREATE." + stream,
                    fmt::format("{{\"name\":\"{}\",\"subjects\":[\"load.*\"],\"storage\":\"file\","
                                "\"retention\":\"limits\",\"num_replicas\":{}}}",
                                stream, replicas));
  if (made.find("\"error\"") != std::string::npos) fail(made);
  std::vector<std::unique_ptr<Connection>> connections;
  for (uint32_t i = 0; i < options.connections; ++i)
    connections.push_back(std::make_unique<Connection>(options, i));
  return measure("nats_load", options, std::move(connections));
}

}  // namespace

}  // namespace tailrace::load

int main(int argc, char** argv) {
  CLI::App app("Events to a JetStream of a NATS server on bare connections, one in flight each");
  tailrace::load::Options options;
  uint32_t replicas = 3;
  options.server = "127.0.0.1:4222";
  options.operation = "append";
  tailrace::load::add_options(app, options);
  app.add_option("--replicas", replicas, "Of the stream")->check(CLI::Range(1, 5));
  CLI11_PARSE(app, argc, argv);
  try {
    return tailrace::load::append(options, replicas);
  } catch (const std::exception& error) {
    fmt::print(stderr, "nats_load: {}\n", error.what());
  }
  return 1;
}
