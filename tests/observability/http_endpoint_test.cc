#include "observability/http_endpoint.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "observability/metrics.h"

namespace tailrace::observability {
namespace {

std::string ask(int port, const std::string& request) {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
      ::send(socket, request.data(), request.size(), 0) > 0) {
    char buffer[4096];
    for (ssize_t got; (got = ::recv(socket, buffer, sizeof buffer, 0)) > 0;) {
      answer.append(buffer, static_cast<size_t>(got));
    }
  }
  ::close(socket);
  return answer;
}

std::string get(int port, const std::string& path) {
  return ask(port, "GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
}

class HttpEndpointTest : public ::testing::Test {
 protected:
  Result<std::unique_ptr<HttpEndpoint>> start(const std::string& listen) {
    return HttpEndpoint::start(
        {listen}, metrics_, [] { return Health{}; },
        [] {
          return Health{false, "follower 2 is not connected"};
        });
  }
  MetricRegistry metrics_;
};

// Health is what the node says of itself: 503 with the reasons when it is not ready.
TEST_F(HttpEndpointTest, ServesMetricsAndTrueHealth) {
  auto registration = metrics_.registration();
  metrics_.add_gauge(registration, "tailrace_epoch", "Epoch.", {}, [] { return 5.0; });
  const auto endpoint = start("127.0.0.1:0");
  ASSERT_TRUE(endpoint) << endpoint.error().message;
  const int port = (*endpoint)->port();
  EXPECT_NE(get(port, "/metrics").find("tailrace_epoch 5"), std::string::npos);
  EXPECT_EQ(get(port, "/healthz").rfind("HTTP/1.1 200", 0), 0u);
  const std::string ready = get(port, "/readyz");
  EXPECT_EQ(ready.rfind("HTTP/1.1 503", 0), 0u);
  EXPECT_NE(ready.find("follower 2 is not connected"), std::string::npos);
  EXPECT_EQ(get(port, "/etc/passwd").rfind("HTTP/1.1 404", 0), 0u);
}

TEST_F(HttpEndpointTest, APortInUseIsNamed) {
  const auto first = start("127.0.0.1:0");
  ASSERT_TRUE(first) << first.error().message;
  const std::string address = "127.0.0.1:" + std::to_string((*first)->port());
  const auto second = start(address);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kInUse) << second.error().message;
  EXPECT_NE(second.error().message.find(address), std::string::npos);
}

}  // namespace
}  // namespace tailrace::observability
