#pragma once
// A client of bare frames that reads only when it is told to.

#include <cerrno>
#include <cstring>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <sys/time.h>

#include "rpc/wire/framing.h"
#include "rpc/wire/hello.h"
#include "rpc/wire/message.h"
#include "rpc/wire/schema/client.capnp.h"
#include "tests/rpc/loopback.h"

namespace tailrace::rpc::testing {

class BareClient {
 public:
  explicit BareClient(int port) : fd_(connect_to(port)), decoder_(2u << 20) {
    EXPECT_GE(fd_, 0);
    const timeval patience{20, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ask(0, [](wire::Request::Builder request) {
      request.initHello().setProtocolVersion(kProtocolVersion);
    });
  }
  ~BareClient() { ::close(fd_); }

  void ask(uint64_t id, const std::function<void(wire::Request::Builder)>& fill) {
    OutgoingMessage message;
    auto request = message.init<wire::Request>();
    request.setId(id);
    fill(request);
    std::vector<std::byte> frame;
    append_frame(message.builder(), frame);
    send_raw(as_text(frame));
  }
  void send_raw(std::string_view bytes) {
    EXPECT_EQ(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  void append(uint64_t id, std::string_view event = "event") {
    ask(id, [&](wire::Request::Builder request) {
      auto append = request.initAppend();
      append.setStream("s");
      append.initEvents(1).set(0, to_data(event));
    });
  }

  /// Shows every answer until `visit` returns true, or the connection ends: then false.
  bool read_until(const std::function<bool(wire::Response::Reader)>& visit) {
    while (true) {
      while (const auto frame = decoder_.peek().value()) {
        capnp::FlatArrayMessageReader message(to_words(*frame));
        const bool over = visit(message.getRoot<wire::Response>());
        decoder_.consume();
        if (over) return true;
      }
      const MutableByteSpan room = decoder_.room();
      const ssize_t got = ::recv(fd_, room.data(), room.size(), 0);
      EXPECT_GE(got, 0) << std::strerror(errno);
      if (got <= 0) return false;
      decoder_.filled(static_cast<size_t>(got));
    }
  }
  /// The ids of the answers up to the end of the connection; an error is no end.
  std::set<uint64_t> answers_to_the_end() {
    std::set<uint64_t> ids;
    read_until([&](wire::Response::Reader response) {
      if (response.isCommand()) ids.insert(response.getId());
      return false;
    });
    return ids;
  }

 private:
  int fd_;
  FrameDecoder decoder_;
};

}  // namespace tailrace::rpc::testing
