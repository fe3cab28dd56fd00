#pragma once
// A server that answers once, or always, as a test says, in bytes that no server would send; else
// soundly.

#include <cerrno>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/check.h"
#include "core/mutex.h"
#include "rpc/wire/framing.h"
#include "rpc/wire/hello.h"
#include "rpc/wire/message.h"
#include "rpc/wire/schema/client.capnp.h"

namespace tailrace::rpc::testing {

inline bool send_all(int socket, ByteSpan bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(sent));
  }
  return true;
}

/// Reads once, and calls `take` with each whole message; false at the end. What comes must be
/// frames, and come in the socket's time.
template <typename Take>
bool receive(int socket, FrameDecoder& decoder, Take take) {
  const MutableByteSpan room = decoder.room();
  const ssize_t came = ::recv(socket, room.data(), room.size(), 0);
  if (came <= 0) {
    TAILRACE_CHECK(came == 0 || (errno != EAGAIN && errno != EWOULDBLOCK), "nothing came in time");
    return false;
  }
  decoder.filled(static_cast<size_t>(came));
  for (;;) {
    const auto frame = decoder.peek();
    TAILRACE_CHECK(frame.has_value(), "what comes are no frames");
    if (!*frame) return true;
    capnp::FlatArrayMessageReader message(to_words(**frame), reader_options((*frame)->size()));
    take(message);
    decoder.consume();
  }
}

/// It leads; commands are done and at address 64 to 128, whatever else is asked is an error.
class LyingServer {
 public:
  /// Adds frames that answer the request with this id.
  using Lie = std::function<void(uint64_t id, std::vector<std::byte>& frames)>;

  LyingServer() : listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&at), size) != 0 ||
        ::listen(listener_, 64) != 0 ||
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &size) != 0)
      throw std::runtime_error("no port is free");
    port_ = ntohs(at.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  ~LyingServer() {
    ::shutdown(listener_, SHUT_RDWR);  // accept() fails from now on
    thread_.join();
    ::close(listener_);
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  /// The next hello, or the next of the other requests, is answered with `lie`, then soundly, too.
  void answer_with(bool hello, Lie lie) {
    const MutexLock lock(mutex_);
    in_hello_ = hello;
    lie_ = std::move(lie);
    always_ = false;
  }
  /// From now on no hello, or none of the other requests, is answered soundly.
  void always_answer_with(bool hello, Lie lie) {
    answer_with(hello, std::move(lie));
    const MutexLock lock(mutex_);
    always_ = true;
  }
  /// What the session of the last command is bound by; 0: by nothing.
  uint64_t last_bound() {
    const MutexLock lock(mutex_);
    return last_bound_;
  }

 private:
  void run() {
    std::map<int, std::unique_ptr<FrameDecoder>> connections;
    for (bool open = true; open;) {
      std::vector<pollfd> waiting{{listener_, POLLIN, 0}};
      for (const auto& [socket, decoder] : connections)
        waiting.push_back({socket, POLLIN, 0});
      if (::poll(waiting.data(), waiting.size(), -1) <= 0) continue;
      for (const pollfd& one : waiting) {
        if (one.revents == 0) continue;
        if (one.fd == listener_) {
          const int socket = ::accept(listener_, nullptr, nullptr);
          open = socket >= 0;
          if (open) connections[socket] = std::make_unique<FrameDecoder>(size_t{64} << 20);
        } else if (!receive(one.fd, *connections.at(one.fd), [&](capnp::MessageReader& message) {
                     answer(one.fd, message.getRoot<wire::Request>());
                   })) {
          ::close(one.fd);
          connections.erase(one.fd);
        }
      }
    }
    for (const auto& [socket, decoder] : connections)
      ::close(socket);
  }

  void answer(int socket, wire::Request::Reader request) {
    std::vector<std::byte> frames;
    {
      const MutexLock lock(mutex_);
      if (request.isCommand()) last_bound_ = request.getCommand().getSession().getBeginsBeforeNs();
      if (lie_ && request.isHello() == in_hello_) {
        lie_(request.getId(), frames);
        if (!always_) lie_ = nullptr;
      }
    }
    capnp::MallocMessageBuilder message;
    auto response = message.initRoot<wire::Response>();
    response.setId(request.getId());
    if (request.isHello()) {
      auto hello = response.initHello();
      hello.setProtocolVersion(kProtocolVersion);
      hello.setLeader(true);
    } else if (request.isCommand() || request.isAppend()) {
      auto command = response.initCommand();
      command.setFirst(64);
      command.setEnd(128);
    } else {
      response.initError().setCode("invalid_argument");
    }
    append_frame(message, frames);
    (void)send_all(socket, frames);
  }

  const int listener_;
  int port_ = 0;
  Mutex mutex_;
  bool in_hello_ TAILRACE_GUARDED_BY(mutex_) = false;
  Lie lie_ TAILRACE_GUARDED_BY(mutex_);  // null: it has lied
  uint64_t last_bound_ TAILRACE_GUARDED_BY(mutex_) = 0;
  bool always_ TAILRACE_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace tailrace::rpc::testing
