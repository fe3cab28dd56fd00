#include "http/monitoring.h"

#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "observability/metrics.h"
#include "tests/http/raw_client.h"

namespace tailrace::http {
namespace {

using testing::RawClient;
using testing::RawResponse;

std::string request(const std::string& method_and_path) {
  return method_and_path + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
}

Health healthy() {
  return {};
}
Health unready() {
  return {false, "log is recovering"};
}
Health doubtful() {
  return {true, "a follower differs"};
}

class MonitoringTest : public ::testing::Test {
 protected:
  observability::MetricRegistry registry_;
};

// Promise: the three paths by GET and HEAD, with their words; other methods and paths are refused,
// and the connection goes on.
TEST_F(MonitoringTest, ServesMetricsAndHealth) {
  auto registration = registry_.registration();
  registry_.add_gauge(registration, {"tailrace_x", observability::MetricType::kGauge, "", "", "X."},
                      {}, [] { return 7; });
  auto monitoring = Monitoring::start({"127.0.0.1:0"}, registry_, healthy, unready);
  ASSERT_TRUE(monitoring) << monitoring.error().message;
  ASSERT_GT((*monitoring)->port(), 0);
  RawClient client((*monitoring)->port());
  const RawResponse metrics = client.ask(request("GET /metrics"));
  EXPECT_EQ(metrics.status, 200);
  EXPECT_TRUE(metrics.has("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
  EXPECT_NE(metrics.body.find("\ntailrace_x 7\n"), std::string::npos);
  EXPECT_NE(metrics.body.find("tailrace_http_connections 1\n"), std::string::npos);
  const RawResponse live = client.ask(request("GET /healthz?verbose"));
  EXPECT_EQ(live.status, 200);
  EXPECT_EQ(live.body, "ok\n");
  const RawResponse ready = client.ask(request("GET /readyz"));
  EXPECT_EQ(ready.status, 503);
  EXPECT_EQ(ready.body, "log is recovering\n");
  EXPECT_EQ(client.ask(request("HEAD /metrics"), true).status, 200);
  EXPECT_EQ(client.ask(request("HEAD /healthz"), true).status, 200);
  EXPECT_EQ(client.ask(request("HEAD /readyz"), true).status, 503);
  EXPECT_EQ(client.ask(request("HEAD /other"), true).status, 404);
  EXPECT_EQ(client.ask(request("GET /other")).status, 404);
  EXPECT_EQ(client.ask(request("GET /metrics/")).status, 404);
  for (const char* method :
       {"DELETE /metrics", "POST /healthz", "OPTIONS /readyz", "BREW /readyz"}) {
    const RawResponse refused = client.ask(request(method));
    EXPECT_EQ(refused.status, 405);
    EXPECT_TRUE(refused.has("Allow: GET, HEAD\r\n"));
  }
}

// Promise: OpenMetrics goes to those who name it and do not like the plain text better.
TEST_F(MonitoringTest, SpeaksOpenMetricsWhereItIsAskedFor) {
  auto monitoring = Monitoring::start({"127.0.0.1:0"}, registry_, healthy, healthy);
  ASSERT_TRUE(monitoring) << monitoring.error().message;
  RawClient client((*monitoring)->port());
  const auto is_open = [&](const std::string& accept) {
    const RawResponse response =
        client.ask("GET /metrics HTTP/1.1\r\nHost: h\r\n" +
                   (accept.empty() ? "" : "Accept: " + accept + "\r\n") + "\r\n");
    EXPECT_EQ(response.status, 200) << accept;
    const bool open = response.body.ends_with("# EOF\n");
    EXPECT_EQ(open, response.has("Content-Type: application/openmetrics-text; version=1.0.0; "
                                 "charset=utf-8\r\n"))
        << accept;
    return open;
  };
  // As Prometheus asks.
  EXPECT_TRUE(
      is_open("application/openmetrics-text;version=1.0.0,application/openmetrics-text;"
              "version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"));
  EXPECT_TRUE(is_open("application/openmetrics-text"));
  EXPECT_TRUE(is_open("Application/OpenMetrics-Text;Q=1"));
  for (const char* accept :
       {"", "*/*", "text/plain", "text/plain, application/openmetrics-text;q=0.5",
        "application/openmetrics-text;q=0", "application/openmetrics-text; Q=0.0",
        "application/openmetrics-textual", ";,;q=,,"})
    EXPECT_FALSE(is_open(accept)) << accept;
}

// Promise: no body is read, and its sender is told why.
TEST_F(MonitoringTest, RefusesARequestWithABody) {
  auto monitoring = Monitoring::start({"127.0.0.1:0"}, registry_, healthy, healthy);
  ASSERT_TRUE(monitoring) << monitoring.error().message;
  const std::string body =
      " HTTP/1.1\r\nHost: h\r\nContent-Length: 1048576\r\n\r\n" + std::string(1u << 20, 'a');
  for (const auto& [status, line] :
       {std::pair{405, "POST /metrics"}, {404, "PUT /other"}, {413, "GET /metrics"}}) {
    RawClient client((*monitoring)->port());
    client.send(line + body);
    EXPECT_EQ(client.receive().status, status) << line;
    EXPECT_TRUE(client.ends());
  }
}

TEST_F(MonitoringTest, SaysWhatIsWrongAllTheSame) {
  auto monitoring = Monitoring::start({"127.0.0.1:0"}, registry_, healthy, doubtful);
  ASSERT_TRUE(monitoring) << monitoring.error().message;
  const RawResponse ready = RawClient((*monitoring)->port()).ask(request("GET /readyz"));
  EXPECT_EQ(ready.status, 200);
  EXPECT_EQ(ready.body, "ok, but a follower differs\n");
}

/// A gauge whose first collection lasts until it is told to end.
class SlowGauge {
 public:
  explicit SlowGauge(observability::MetricRegistry& registry)
      : registration_(registry.registration()) {
    registry.add_gauge(registration_,
                       {"tailrace_slow", observability::MetricType::kGauge, "", "", "Slow."}, {},
                       [this] {
                         if (++collections == 1) {
                           began.set_value();
                           released.get_future().wait();
                         }
                         return 1.0;
                       });
  }

  std::atomic<int> collections{0};
  std::promise<void> began, released;

 private:
  observability::MetricRegistry::Registration registration_;
};

// Promise: scrapes that come while the metrics are collected share the next collection, and health
// is told before it: so the wait for health is one collection at most, however many scrape.
TEST_F(MonitoringTest, CollectsOnceForAllWhoWait) {
  SlowGauge slow(registry_);
  std::atomic<int> before_health{0};
  const auto health = [&] {
    before_health = slow.collections.load();
    return Health{};
  };
  auto monitoring = Monitoring::start({"127.0.0.1:0"}, registry_, health, healthy);
  ASSERT_TRUE(monitoring) << monitoring.error().message;
  const int port = (*monitoring)->port();
  RawClient first(port), second(port), third(port), fourth(port), probe(port);
  for (RawClient* client : {&first, &second, &third, &fourth, &probe})
    ASSERT_EQ(client->ask(request("GET /readyz")).status, 200);
  first.send(request("GET /metrics"));
  slow.began.get_future().wait();
  for (RawClient* client : {&second, &third, &fourth})
    client->send(request("GET /metrics"));
  probe.send(request("GET /healthz"));
  slow.released.set_value();
  for (RawClient* client : {&first, &second, &third, &fourth})
    EXPECT_NE(client->receive().body.find("tailrace_slow 1\n"), std::string::npos);
  EXPECT_EQ(probe.receive().status, 200);
  // 1 and 2, unless the network brings what was sent later than usual.
  EXPECT_LE(before_health, 2);
  EXPECT_LE(slow.collections, 3);
}

// Promise: the same for those who connect meanwhile, by and large: a probe behind a hundred
// scrapers waits for a few collections, not for a hundred.
TEST_F(MonitoringTest, TellsHealthBehindManyNewScrapers) {
  SlowGauge slow(registry_);
  std::atomic<int> before_health{0};
  const auto health = [&] {
    before_health = slow.collections.load();
    return Health{};
  };
  auto monitoring = Monitoring::start({"127.0.0.1:0"}, registry_, health, healthy);
  ASSERT_TRUE(monitoring) << monitoring.error().message;
  RawClient first((*monitoring)->port());
  first.send(request("GET /metrics"));
  slow.began.get_future().wait();
  std::vector<std::unique_ptr<RawClient>> scrapers;
  for (int i = 0; i < 100; ++i) {
    scrapers.push_back(std::make_unique<RawClient>((*monitoring)->port()));
    scrapers.back()->send(request("GET /metrics"));
  }
  RawClient probe((*monitoring)->port());
  probe.send(request("GET /healthz"));
  slow.released.set_value();
  EXPECT_EQ(probe.receive().status, 200);
  EXPECT_LT(before_health, 10);
  for (const auto& scraper : scrapers)
    EXPECT_EQ(scraper->receive().status, 200);
}

TEST_F(MonitoringTest, APortInUseIsRefusedNamingTheAddress) {
  auto first = Monitoring::start({"127.0.0.1:0"}, registry_, healthy, healthy);
  ASSERT_TRUE(first) << first.error().message;
  const std::string address = "127.0.0.1:" + std::to_string((*first)->port());
  auto second = Monitoring::start({address}, registry_, healthy, healthy);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kInUse) << second.error().message;
  EXPECT_NE(second.error().message.find(address), std::string::npos) << second.error().message;
}

TEST_F(MonitoringTest, AnAddressThatIsNoneIsRefused) {
  for (const char* listen : {"", "9100", ":9100", "127.0.0.1:", "127.0.0.1:99999", "a:1,b:2"}) {
    auto monitoring = Monitoring::start({listen}, registry_, healthy, healthy);
    ASSERT_FALSE(monitoring) << listen;
    EXPECT_EQ(monitoring.error().code, ErrorCode::kInvalidArgument) << listen;
  }
}

}  // namespace
}  // namespace tailrace::http
