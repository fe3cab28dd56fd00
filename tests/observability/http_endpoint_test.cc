#include "observability/http_endpoint.h"

#include <string>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "observability/metrics.h"

namespace tailrace::observability {
namespace {

/// The whole response to a request line, read until the server closes.
std::string ask(int port, const std::string& method_and_path) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string response;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    const std::string request =
        method_and_path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    if (send(fd, request.data(), request.size(), MSG_NOSIGNAL) > 0) {
      char buffer[4096];
      for (ssize_t n; (n = recv(fd, buffer, sizeof buffer, 0)) > 0;)
        response.append(buffer, static_cast<size_t>(n));
    }
  }
  close(fd);
  return response;
}

Health healthy() {
  return {};
}
Health unready() {
  return {false, "log is recovering"};
}

class HttpEndpointTest : public testing::Test {
 protected:
  MetricRegistry registry_;
};

TEST_F(HttpEndpointTest, ServesMetricsAndHealthByGetOnly) {
  auto registration = registry_.registration();
  registry_.add_gauge(registration, "tailrace_x", "X.", {}, [] { return 7; });
  auto endpoint = HttpEndpoint::start({"127.0.0.1:0"}, registry_, healthy, unready);
  ASSERT_TRUE(endpoint) << endpoint.error().message;
  const int port = (*endpoint)->port();
  ASSERT_GT(port, 0);
  EXPECT_NE(ask(port, "GET /metrics").find("tailrace_x 7"), std::string::npos);
  EXPECT_EQ(ask(port, "GET /healthz").rfind("HTTP/1.1 200", 0), 0u);
  const std::string ready = ask(port, "GET /readyz");
  EXPECT_EQ(ready.rfind("HTTP/1.1 503", 0), 0u);
  EXPECT_NE(ready.find("log is recovering"), std::string::npos);
  EXPECT_EQ(ask(port, "GET /other").rfind("HTTP/1.1 404", 0), 0u);
  EXPECT_EQ(ask(port, "DELETE /metrics").rfind("HTTP/1.1 405", 0), 0u);
}

TEST_F(HttpEndpointTest, APortInUseIsRefusedNamingTheAddress) {
  auto first = HttpEndpoint::start({"127.0.0.1:0"}, registry_, healthy, healthy);
  ASSERT_TRUE(first) << first.error().message;
  const std::string address = "127.0.0.1:" + std::to_string((*first)->port());
  auto second = HttpEndpoint::start({address}, registry_, healthy, healthy);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kInUse) << second.error().message;
  EXPECT_NE(second.error().message.find(address), std::string::npos) << second.error().message;
}

TEST_F(HttpEndpointTest, AnAddressThatIsNoneIsRefused) {
  for (const char* listen : {"", "9100", ":9100", "127.0.0.1:", "127.0.0.1:99999", "a:1,b:2"}) {
    auto endpoint = HttpEndpoint::start({listen}, registry_, healthy, healthy);
    ASSERT_FALSE(endpoint) << listen;
    EXPECT_EQ(endpoint.error().code, ErrorCode::kInvalidArgument) << listen;
  }
}

}  // namespace
}  // namespace tailrace::observability
