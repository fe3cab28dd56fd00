#include "http/server.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include "observability/metrics.h"
#include "tests/http/raw_client.h"

namespace tailrace::http {
namespace {

using std::chrono::milliseconds;
using testing::RawClient;
using testing::RawResponse;

constexpr const char* kGet = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

bool soon(const std::function<bool()>& holds) {
  const auto deadline = std::chrono::steady_clock::now() + testing::kPatience;
  while (!holds()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(milliseconds(5));
  }
  return true;
}

class HttpServerTest : public ::testing::Test {
 protected:
  /// Answers with the method and the path.
  static void echo(const Request& request, const Answer& answer) {
    answer(text_response(200, request.method + " " + request.path));
  }

  int serve(ServerOptions options = {}, Handler handler = echo) {
    if (options.listen.empty()) options.listen = "127.0.0.1:0";
    auto server = Server::create(std::move(options), std::move(handler));
    EXPECT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
    server_->register_metrics(metrics_);
    server_->start();
    return server_->port();
  }

  bool told(const std::string& sample) const {
    return metrics_.expose().find(sample + "\n") != std::string::npos;
  }

  observability::MetricRegistry metrics_;
  std::unique_ptr<Server> server_;
};

// Promise: pipelined requests are answered each once, in their order, with the right lengths.
TEST_F(HttpServerTest, AnswersPipelinedRequestsInOrder) {
  RawClient client(serve());
  std::string all;
  for (int i = 0; i < 300; ++i)
    all += "GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: h\r\n\r\n";
  ASSERT_TRUE(client.send(all + "HEAD /h HTTP/1.1\r\nHost: h\r\n\r\n" +
                          "GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" + kGet));
  for (int i = 0; i < 300; ++i)
    ASSERT_EQ(client.receive().body, "GET /" + std::to_string(i));
  const RawResponse head = client.receive(true);
  EXPECT_TRUE(head.has("Content-Length: 7\r\n")) << head.head;
  const RawResponse last = client.receive();
  EXPECT_EQ(last.body, "GET /last");
  EXPECT_TRUE(last.has("Connection: close\r\n"));
  EXPECT_TRUE(client.ends()) << "what follows a request that closes is not answered";
}

// Promise: how a request is cut into segments does not matter.
TEST_F(HttpServerTest, AnswersARequestThatComesByteByByte) {
  RawClient client(serve());
  for (const char* at = kGet; *at != '\0'; ++at)
    ASSERT_TRUE(client.send(std::string_view(at, 1)));
  EXPECT_EQ(client.receive().body, "GET /a");
}

// Promise: a HEAD has the header of the GET, and no body.
TEST_F(HttpServerTest, AnswersAHeadWithTheHeaderOfItsGet) {
  RawClient client(serve());
  const RawResponse get = client.ask(kGet);
  const RawResponse head = client.ask("HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n", true);
  EXPECT_EQ(get.status, 200);
  for (const char* line : {"Content-Type: text/plain", "Date: ", "Content-Length: "})
    EXPECT_TRUE(get.has(line) && head.has(line)) << head.head;
  EXPECT_EQ(client.ask(kGet).body, "GET /a") << "the next response stands right behind";
}

TEST_F(HttpServerTest, KeepsAConnectionAsTheClientWants) {
  const int port = serve();
  RawClient old(port);
  const RawResponse closing = old.ask("GET /a HTTP/1.0\r\n\r\n");
  EXPECT_EQ(closing.body, "GET /a");
  EXPECT_TRUE(closing.has("Connection: close\r\n"));
  EXPECT_TRUE(old.ends());
  RawClient kept(port);
  for (int i = 0; i < 3; ++i)
    EXPECT_TRUE(kept.ask("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                    .has("Connection: keep-alive\r\n"));
  RawClient plain(port);
  for (int i = 0; i < 3; ++i)
    EXPECT_FALSE(plain.ask(kGet).has("Connection:"));
}

// Promise: a refusal says what is wrong, reaches a client that is still sending, and ends the
// connection.
TEST_F(HttpServerTest, RefusesWithAStatusThatArrives) {
  const int port = serve();
  const std::string large(1u << 20, 'a');
  const std::pair<int, std::string> cases[] = {{400, "nonsense\r\n\r\n"},
                                               {400, "GET / HTTP/1.1\r\n\r\n"},
                                               {414, "GET /" + large},
                                               {431, "GET / HTTP/1.1\r\nA: " + large},
                                               {505, "GET / HTTP/3.0\r\n"}};
  for (const auto& [status, text] : cases) {
    RawClient client(port);
    EXPECT_TRUE(client.send(text)) << "the connection is reset, and the response may be lost";
    const RawResponse response = client.receive();
    EXPECT_EQ(response.status, status) << text.substr(0, 30);
    EXPECT_TRUE(response.has("Connection: close\r\n"));
    EXPECT_FALSE(response.body.empty());
    EXPECT_TRUE(client.ends());
  }
  EXPECT_TRUE(told("tailrace_http_requests_total{code=\"4xx\"} 4"));
  EXPECT_TRUE(told("tailrace_http_requests_total{code=\"5xx\"} 1"));
}

// Promise: a hundred connections that say nothing, and as many that stop in the middle of a
// request, keep nobody out, and no more than the limit are open.
TEST_F(HttpServerTest, AnswersBesideAnyNumberOfSilentConnections) {
  ServerOptions options;
  options.max_connections = 50;
  const int port = serve(options);
  std::vector<std::unique_ptr<RawClient>> silent;
  for (int i = 0; i < 200; ++i) {
    silent.push_back(std::make_unique<RawClient>(port));
    if (i % 2 == 0) silent.back()->send("GET /metr");
    if (i % 20 == 0) {
      RawClient probe(port);
      ASSERT_EQ(probe.ask(kGet).body, "GET /a") << i;
    }
  }
  RawClient probe(port);
  EXPECT_EQ(probe.ask(kGet).body, "GET /a");
  EXPECT_TRUE(silent.front()->ends()) << "the oldest goes first";
  EXPECT_TRUE(told("tailrace_http_connections 50"));
}

// Promise: nor does a flood of requests that stop in the middle send away who has just connected
// and asks a moment later, however many come in between.
TEST_F(HttpServerTest, AnswersWhoAsksALittleLaterThanAFloodOfHalfRequests) {
  ServerOptions options;
  options.max_connections = 20;
  options.least_stay = std::chrono::seconds(60);
  const int port = serve(options);
  std::vector<std::unique_ptr<RawClient>> halves;
  const auto flood = [&](int count) {
    for (int i = 0; i < count; ++i) {
      halves.push_back(std::make_unique<RawClient>(port));
      halves.back()->send("GET /metr");
      std::this_thread::sleep_for(milliseconds(1));
    }
  };
  flood(20);
  RawClient probe(port);
  flood(60);
  EXPECT_EQ(probe.ask(kGet).body, "GET /a");
}

// Promise: nor does a flood of silent connections send away who asks one thing after the other, as
// long as each of these has a moment to speak before it is replaced.
TEST_F(HttpServerTest, AnswersWhoAsksAgainBesideAFloodOfSilentConnections) {
  ServerOptions options;
  options.max_connections = 20;
  options.least_stay = std::chrono::seconds(60);
  const int port = serve(options);
  RawClient probe(port);
  ASSERT_EQ(probe.ask(kGet).body, "GET /a");
  std::vector<std::unique_ptr<RawClient>> silent;
  for (int i = 0; i < 60; ++i) {
    silent.push_back(std::make_unique<RawClient>(port));
    std::this_thread::sleep_for(milliseconds(4));
    if (i % 10 == 0) {
      ASSERT_EQ(probe.ask(kGet).body, "GET /a") << i;
    }
  }
  probe.send("GET /a HT");
  for (int i = 0; i < 60; ++i) {
    silent.push_back(std::make_unique<RawClient>(port));
    std::this_thread::sleep_for(milliseconds(4));
  }
  EXPECT_EQ(probe.ask("TP/1.1\r\nHost: h\r\n\r\n").body, "GET /a");
}

// Promise: connections that ask and do not read their answers keep out nobody who has just come:
// not even one that asks a moment after it was accepted, when it alone waits for a request.
TEST_F(HttpServerTest, AnswersWhoHasJustComeBesideConnectionsThatReadNoAnswers) {
  ServerOptions options;
  options.max_connections = 20;
  options.least_stay = milliseconds(300);
  const auto large = std::make_shared<const std::string>(size_t{8} << 20, 'x');
  const int port = serve(options, [&](const Request& request, const Answer& answer) {
    Response response = text_response(200, "small");
    if (request.path == "/large") response.body = large;
    answer(std::move(response));
  });
  std::vector<std::unique_ptr<RawClient>> unread;
  const auto flood = [&](int count) {
    for (int i = 0; i < count; ++i) {
      unread.push_back(std::make_unique<RawClient>(port, AF_INET, 4096));
      unread.back()->send("GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
    }
  };
  flood(20);
  std::this_thread::sleep_for(2 * options.least_stay);
  RawClient probe(port);
  flood(15);
  EXPECT_EQ(probe.ask(kGet).body, "small");
  server_.reset();
}

// Promise: where all connections are busy, the oldest of them makes room.
TEST_F(HttpServerTest, AnswersBesideConnectionsThatWaitForTheirAnswers) {
  std::vector<Answer> never;  // of the server's thread
  ServerOptions options;
  options.max_connections = 5;
  const int port = serve(options, [&](const Request& request, Answer answer) {
    if (request.path == "/never") return never.push_back(std::move(answer));
    echo(request, answer);
  });
  std::vector<std::unique_ptr<RawClient>> waiting;
  for (int i = 0; i < 5; ++i) {
    waiting.push_back(std::make_unique<RawClient>(port));
    waiting.back()->send("GET /never HTTP/1.1\r\nHost: h\r\n\r\n");
  }
  RawClient probe(port);
  EXPECT_EQ(probe.ask(kGet).body, "GET /a");
  EXPECT_TRUE(waiting.front()->ends());
  // Answers that come later, or twice, are nobody's; what is still open gets its own once.
  server_->post([&] {
    for (const Answer& answer : never) {
      answer(text_response(200, "late"));
      answer(text_response(200, "twice"));
    }
  });
  EXPECT_EQ(waiting.back()->receive().body, "late");
  EXPECT_EQ(waiting.back()->ask(kGet).body, "GET /a");
  EXPECT_EQ(probe.ask(kGet).body, "GET /a");
  server_.reset();
}

// Promise: a request has to come whole within its time, however often a byte of it comes.
TEST_F(HttpServerTest, GivesUpARequestThatDoesNotComeWhole) {
  ServerOptions options;
  options.request_timeout = milliseconds(200);
  const int port = serve(options);
  RawClient silent(port);
  RawClient slow(port);
  bool taken = true;
  for (int i = 0; i < 200 && taken; ++i) {
    taken = slow.send("a");
    std::this_thread::sleep_for(milliseconds(20));
  }
  EXPECT_FALSE(taken) << "a byte now and then keeps a request alive";
  RawClient half(port);
  EXPECT_EQ(half.ask("GET /a HTTP/1.1\r\n").status, 408);
  EXPECT_TRUE(half.ends());
  EXPECT_TRUE(silent.ends());
  EXPECT_TRUE(told("tailrace_http_closed_connections_total{reason=\"request_timeout\"} 3"));
}

TEST_F(HttpServerTest, ClosesAConnectionThatStaysIdle) {
  ServerOptions options;
  options.idle_timeout = milliseconds(50);
  RawClient client(serve(options));
  EXPECT_EQ(client.ask(kGet).status, 200);
  EXPECT_TRUE(client.ends());
  EXPECT_TRUE(told("tailrace_http_closed_connections_total{reason=\"idle_timeout\"} 1"));
}

// Promise: a response that nobody reads is given up, and the others go on meanwhile.
TEST_F(HttpServerTest, GivesUpAResponseThatIsNotRead) {
  ServerOptions options;
  options.response_timeout = milliseconds(200);
  const auto large = std::make_shared<const std::string>(size_t{64} << 20, 'x');
  const int port = serve(options, [&](const Request& request, const Answer& answer) {
    Response response = text_response(200, "small");
    if (request.path == "/large") response.body = large;
    answer(std::move(response));
  });
  RawClient client(port, AF_INET, 4096);
  client.send("GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
  RawClient other(port);
  EXPECT_EQ(other.ask(kGet).body, "small");
  EXPECT_TRUE(soon([&] {
    return told("tailrace_http_closed_connections_total{reason=\"response_timeout\"} 1");
  }));
  EXPECT_TRUE(soon([&] { return large.use_count() == 1; })) << "the response is still held";
  EXPECT_LT(client.rest().size(), large->size());
  server_.reset();
}

TEST_F(HttpServerTest, ListensByIpv6) {
  ServerOptions options;
  options.listen = "[::1]:0";
  auto server = Server::create(options, echo);
  if (!server) GTEST_SKIP() << "NOT TESTED: this host has no IPv6: " << server.error().message;
  (*server)->start();
  RawClient client((*server)->port(), AF_INET6);
  EXPECT_EQ(client.ask(kGet).body, "GET /a");
  options.listen = "[::]:0";
  auto any = Server::create(options, echo);
  ASSERT_TRUE(any) << any.error().message;
  (*any)->start();
  RawClient other((*any)->port(), AF_INET6);
  EXPECT_EQ(other.ask(kGet).body, "GET /a");
}

// Promise: without a free descriptor the server waits, complains once, and goes on as soon as it
// can.
TEST_F(HttpServerTest, GoesOnWhenDescriptorsAreFreeAgain) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer looks at memory through descriptors, and takes it for broken";
#endif
  const int port = serve();
  RawClient client(0);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  ::testing::internal::CaptureStderr();
  const int next = ::dup(2);  // the number that the next descriptor would have
  ::close(next);
  const rlimit none{static_cast<rlim_t>(next), before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  EXPECT_TRUE(client.connect(port) && client.send(kGet));
  std::this_thread::sleep_for(milliseconds(350));
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(client.receive().body, "GET /a");
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
  EXPECT_NE(said.find("Too many open files"), std::string::npos) << said;
}

// Promise: a server that ends waits for nobody, and its connections end with it.
TEST_F(HttpServerTest, EndsAtOnce) {
  std::promise<Answer> kept;
  const int port = serve({}, [&](const Request&, Answer answer) { kept.set_value(answer); });
  RawClient silent(port);
  RawClient waiting(port);
  waiting.send(kGet);
  const Answer answer = kept.get_future().get();
  server_.reset();
  answer(text_response(200, "nobody's"));
  EXPECT_TRUE(silent.ends());
  EXPECT_TRUE(waiting.ends());
}

}  // namespace
}  // namespace tailrace::http
