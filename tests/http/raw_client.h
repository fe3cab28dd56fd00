#pragma once
// A bare socket that speaks to an HTTP server as a test wants it to, and reads what comes back.

#include <cerrno>
#include <chrono>
#include <string>
#include <string_view>
#include <utility>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

namespace tailrace::http::testing {

inline constexpr std::chrono::seconds kPatience{20};

struct RawResponse {
  int status = 0;  // 0: the connection ended, or nothing came in time
  std::string head, body;
  bool has(std::string_view text) const { return head.find(text) != std::string::npos; }
};

class RawClient {
 public:
  /// To port `port` of 127.0.0.1 or ::1. `receive_buffer`: of the socket, in bytes; 0: as it is.
  explicit RawClient(int port, int family = AF_INET, int receive_buffer = 0) {
    fd_ = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive_buffer > 0)
      ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    const int small = 32 << 10;  // so that much cannot be sent unread
    ::setsockopt(fd_, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    const timeval patience{kPatience.count(), 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (port > 0) connect(port, family);
  }
  ~RawClient() { ::close(fd_); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  bool connect(int port, int family = AF_INET) {
    sockaddr_in6 six{};
    six.sin6_family = AF_INET6;
    six.sin6_port = htons(static_cast<uint16_t>(port));
    six.sin6_addr = in6addr_loopback;
    sockaddr_in four{};
    four.sin_family = AF_INET;
    four.sin_port = htons(static_cast<uint16_t>(port));
    four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool is_six = family == AF_INET6;
    const auto* address =
        is_six ? reinterpret_cast<const sockaddr*>(&six) : reinterpret_cast<const sockaddr*>(&four);
    return ::connect(fd_, address, is_six ? sizeof six : sizeof four) == 0;
  }

  /// False once the other side has closed.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }

  /// The next response; one to a HEAD has no body.
  RawResponse receive(bool to_head = false) {
    RawResponse response;
    size_t end = 0;
    while ((end = received_.find("\r\n\r\n")) == std::string::npos)
      if (!more()) return {};
    response.head = received_.substr(0, end + 2);
    received_.erase(0, end + 4);
    if (response.head.rfind("HTTP/1.1 ", 0) != 0) return {};
    response.status = std::stoi(response.head.substr(9));
    constexpr std::string_view kLength = "\r\nContent-Length: ";
    const size_t length = response.head.find(kLength);
    if (length == std::string::npos) return {};
    const size_t size = to_head ? 0 : std::stoul(response.head.substr(length + kLength.size()));
    while (received_.size() < size)
      if (!more()) return {};
    response.body = received_.substr(0, size);
    received_.erase(0, size);
    return response;
  }
  RawResponse ask(std::string_view request, bool to_head = false) {
    send(request);
    return receive(to_head);
  }

  /// What comes until the other side closes; `closed` says whether it did so in time.
  std::string rest(bool* closed = nullptr) {
    while (more()) {
    }
    if (closed != nullptr) *closed = closed_;
    return std::exchange(received_, {});
  }
  /// Whether the other side closes, and says nothing before.
  bool ends() {
    bool closed = false;
    return rest(&closed).empty() && closed;
  }

 private:
  bool more() {
    char buffer[65536];
    const ssize_t n = ::recv(fd_, buffer, sizeof buffer, 0);
    closed_ = n == 0 || (n < 0 && errno == ECONNRESET);
    if (n > 0) received_.append(buffer, static_cast<size_t>(n));
    return n > 0;
  }

  int fd_ = -1;
  bool closed_ = false;
  std::string received_;
};

}  // namespace tailrace::http::testing
