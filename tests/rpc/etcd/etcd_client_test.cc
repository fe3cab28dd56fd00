// The client of etcd against a server that answers anything but well.

#include <atomic>
#include <functional>
#include <mutex>
#include <thread>

#include <asio/io_context.hpp>
#include <gtest/gtest.h>
#include <poll.h>

#include "core/random.h"
#include "rpc/etcd/client.h"
#include "tests/rpc/loopback.h"

namespace tailrace::rpc {
namespace {

using namespace std::chrono_literals;

/// Reads one request of each connection and lets a function answer it.
class FakeServer {
 public:
  using Answer = std::function<void(int fd, const std::string& request)>;

  explicit FakeServer(Answer answer) : answer_(std::move(answer)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&at), size), 0);
    EXPECT_EQ(::getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &size), 0);
    EXPECT_EQ(::listen(listener_, 64), 0);
    port_ = ntohs(at.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~FakeServer() {
    over_ = true;
    thread_.join();
    ::close(listener_);
  }
  HttpEndpoint endpoint() const {
    return parse_http_endpoint("http://127.0.0.1:" + std::to_string(port_)).value();
  }
  int requests() const { return requests_; }
  /// Waits until the client has gone or the test is over: an answer that never comes.
  void hold(int fd) const {
    pollfd wait{fd, POLLRDHUP, 0};
    while (!over_ && ::poll(&wait, 1, 10) == 0) {
    }
  }

 private:
  void serve() {
    while (!over_) {
      pollfd wait{listener_, POLLIN, 0};
      if (::poll(&wait, 1, 10) <= 0) continue;
      const int fd = ::accept(listener_, nullptr, nullptr);
      const std::string request = read_request(fd);
      ++requests_;
      answer_(fd, request);
      ::shutdown(fd, SHUT_WR);
      ::close(fd);
    }
  }
  static std::string read_request(int fd) {
    std::string text;
    char buffer[4096];
    for (;;) {
      const size_t end = text.find("\r\n\r\n");
      if (end != std::string::npos) {
        const size_t at = text.find("Content-Length: ");
        const size_t length = std::stoul(text.substr(at + 16));
        if (text.size() >= end + 4 + length) return text;
      }
      const ssize_t got = ::read(fd, buffer, sizeof buffer);
      if (got <= 0) return text;
      text.append(buffer, static_cast<size_t>(got));
    }
  }

  const Answer answer_;
  int listener_ = -1, port_ = 0;
  std::atomic<bool> over_{false};
  std::atomic<int> requests_{0};
  std::thread thread_;
};

void say(int fd, std::string_view text) {
  (void)::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
}

std::string with_length(const std::string& status, const std::string& body) {
  return "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         body;
}

const std::string kRange =
    R"({"header":{"revision":"7"},"kvs":[{"key":"aw==","create_revision":"3","mod_revision":"5",)"
    R"("value":"dg==","lease":"-12"}],"count":"1"})";

class EtcdClientTest : public ::testing::Test {
 protected:
  EtcdClient& client(std::vector<HttpEndpoint> endpoints, std::string username = "") {
    EtcdClientOptions options;
    options.endpoints = std::move(endpoints);
    options.call_timeout = 300ms;
    options.username = std::move(username);
    options.password = "secret";
    options.on_outcome = [this](const Result<>& outcome) {
      outcomes_.push_back(outcome.has_value());
    };
    return client_.emplace(io_, std::move(options));
  }
  Result<EtcdRange> range() {
    Result<EtcdRange> result = make_error(ErrorCode::kInvalidArgument, "the callback never came");
    int times = 0;
    client_->range("k", "", [&](Result<EtcdRange> got) {
      ++times;
      result = std::move(got);
    });
    io_.restart();
    io_.run();
    EXPECT_EQ(times, 1);
    return result;
  }
  /// The error of a range that is answered like this.
  Error error_of(FakeServer::Answer answer) {
    FakeServer server(std::move(answer));
    client({server.endpoint()});
    const auto result = range();
    EXPECT_FALSE(result);
    return result ? Error{} : result.error();
  }
  static void expect_good(const Result<EtcdRange>& result) {
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(result->revision, 7);
    ASSERT_EQ(result->pairs.size(), 1u);
    EXPECT_EQ(result->pairs[0].key, "k");
    EXPECT_EQ(result->pairs[0].value, "v");
    EXPECT_EQ(result->pairs[0].create_revision, 3);
    EXPECT_EQ(result->pairs[0].mod_revision, 5);
    EXPECT_EQ(result->pairs[0].lease, -12);
  }

  asio::io_context io_;
  std::optional<EtcdClient> client_;
  std::vector<bool> outcomes_;
};

TEST_F(EtcdClientTest, AnswersMayBeSplitAnywhereAndCutIntoAnyChunks) {
  std::string chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (size_t at = 0; at < kRange.size(); at += 37) {
    const std::string chunk = kRange.substr(at, 37);
    char size[8];
    std::snprintf(size, sizeof size, "%zx", chunk.size());
    chunked += size + ("\r\n" + chunk + "\r\n");
  }
  chunked += "0\r\n\r\n";
  const std::string until_close = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + kRange;
  const std::string continued = "HTTP/1.1 100 Continue\r\n\r\n" + with_length("200 OK", kRange);
  std::string whole;
  size_t split = 0;
  FakeServer server([&](int fd, const std::string&) {
    const int yes = 1;
    ::setsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &yes, sizeof yes);
    const std::string text = whole;  // the test goes on before the last line here
    const size_t at = split;
    say(fd, text.substr(0, at));
    std::this_thread::sleep_for(200us);
    say(fd, text.substr(at));
  });
  client({server.endpoint()});
  for (const std::string& text : {chunked, until_close, continued}) {
    whole = text;
    for (split = 0; split < whole.size(); split += 3) {
      SCOPED_TRACE(split);
      expect_good(range());
      if (HasFatalFailure()) return;
    }
  }
}

TEST_F(EtcdClientTest, AnAnswerThatEndsTooSoonIsNone) {
  std::string whole = with_length("200 OK", kRange);
  size_t stop = 0;
  FakeServer server([&](int fd, const std::string&) { say(fd, whole.substr(0, stop)); });
  client({server.endpoint()});
  for (stop = 0; stop < whole.size(); stop += 7) {
    const auto result = range();
    ASSERT_FALSE(result) << stop;
    EXPECT_EQ(result.error().code, ErrorCode::kUnavailable) << result.error().message;
  }
  EXPECT_EQ(std::count(outcomes_.begin(), outcomes_.end(), true), 0);
}

TEST_F(EtcdClientTest, WhatIsNoHttpNoJsonOrNoAnswerOfEtcdIsCorruption) {
  const std::vector<std::string> answers = {
      "SSH-2.0-OpenSSH_9.2\r\n",
      std::string(200000, 'x'),
      with_length("200 OK", ""),
      with_length("200 OK", "{"),
      with_length("200 OK", "[1]"),
      with_length("200 OK", "{}"),
      with_length("200 OK", std::string(100000, '[')),
      with_length("200 OK", R"({"header":{"revision":"seven"}})"),
      with_length("200 OK", R"({"header":{"revision":"99999999999999999999"}})"),
      with_length("200 OK", R"({"header":{"revision":"7"},"kvs":{}})"),
      with_length("200 OK", R"({"header":{"revision":"7"},"kvs":[{"key":"a"}]})"),
      with_length("200 OK", R"({"header":{"revision":"7"},"kvs":[{"key":"=w=="}]})"),
      with_length("200 OK", R"({"header":{"revision":"7"},"kvs":[{"key":5}]})")};
  for (const std::string& answer : answers) {
    const Error error = error_of([&](int fd, const std::string&) { say(fd, answer); });
    EXPECT_EQ(error.code, ErrorCode::kCorruption) << answer.substr(0, 100) << error.message;
  }
}

TEST_F(EtcdClientTest, RefusalsSayWhatEtcdSaid) {
  Error error = error_of([](int fd, const std::string&) {
    say(fd, with_length("400 Bad Request", R"({"error":"etcdserver: too many","code":3})"));
  });
  EXPECT_EQ(error.code, ErrorCode::kFailedPrecondition);
  EXPECT_NE(error.message.find("etcdserver: too many"), std::string::npos) << error.message;
  error = error_of([](int fd, const std::string&) {
    say(fd, with_length("404 Not Found", R"({"error":"lease not found","code":5})"));
  });
  EXPECT_EQ(error.code, ErrorCode::kNotFound);
  error = error_of([](int fd, const std::string&) {
    say(fd, with_length("503 Service Unavailable", "<html>\nno leader"));
  });
  EXPECT_EQ(error.code, ErrorCode::kUnavailable);
  EXPECT_NE(error.message.find("no leader"), std::string::npos) << error.message;
  EXPECT_EQ(outcomes_.back(), false);
}

TEST_F(EtcdClientTest, ABodyWithoutEndIsCutOff) {
  const Error error = error_of([](int fd, const std::string&) {
    say(fd, "HTTP/1.1 200 OK\r\n\r\n");
    const std::string much(1 << 16, ' ');
    for (int i = 0; i < 64; ++i)
      say(fd, much);
  });
  EXPECT_EQ(error.code, ErrorCode::kResourceExhausted) << error.message;
}

TEST_F(EtcdClientTest, TheDeadlineHoldsForSilenceAndForASlowDrip) {
  for (const bool drips : {false, true}) {
    FakeServer* self = nullptr;
    FakeServer server([&](int fd, const std::string&) {
      if (!drips) return self->hold(fd);
      const std::string whole = with_length("200 OK", kRange);
      for (const char c : whole) {
        say(fd, {&c, 1});
        pollfd gone{fd, POLLRDHUP, 0};
        if (::poll(&gone, 1, 20) != 0) return;
      }
    });
    self = &server;
    client({server.endpoint()});
    const auto begin = std::chrono::steady_clock::now();
    const auto result = range();
    const auto took = std::chrono::steady_clock::now() - begin;
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::kTimedOut) << result.error().message;
    EXPECT_GE(took, 300ms);
    EXPECT_LT(took, 900ms);
  }
}

TEST_F(EtcdClientTest, EndpointsAreTriedInTurnAndTheOneThatWorksIsRemembered) {
  FakeServer* silent = nullptr;
  FakeServer hangs([&](int fd, const std::string&) { silent->hold(fd); });
  silent = &hangs;
  FakeServer without_leader([](int fd, const std::string&) {
    say(fd, with_length("503 Service Unavailable", R"({"error":"etcdserver: no leader"})"));
  });
  FakeServer good([](int fd, const std::string&) { say(fd, with_length("200 OK", kRange)); });
  const auto nobody = parse_http_endpoint("http://127.0.0.1:1").value();
  client({nobody, without_leader.endpoint(), hangs.endpoint(), good.endpoint()});
  expect_good(range());
  expect_good(range());
  EXPECT_EQ(hangs.requests(), 1);
  EXPECT_EQ(without_leader.requests(), 1);
  EXPECT_EQ(good.requests(), 2);
  EXPECT_EQ(outcomes_, (std::vector<bool>{true, true}));
}

TEST_F(EtcdClientTest, ATokenIsFetchedSentAndFetchedAnewWhenItIsRefused) {
  int tokens = 0;
  FakeServer server([&](int fd, const std::string& request) {
    if (request.starts_with("POST /v3/auth/authenticate")) {
      EXPECT_NE(request.find(R"({"name":"tailrace","password":"secret"})"), std::string::npos);
      return say(fd, with_length("200 OK", R"({"token":"t)" + std::to_string(++tokens) + R"("})"));
    }
    // The first one is good once.
    static int good = 1;
    if (request.find("Authorization: t2\r\n") != std::string::npos || good-- > 0)
      return say(fd, with_length("200 OK", kRange));
    say(fd, with_length("401 Unauthorized", R"({"error":"invalid auth token"})"));
  });
  client({server.endpoint()}, "tailrace");
  expect_good(range());
  expect_good(range());
  expect_good(range());
  EXPECT_EQ(tokens, 2);
}

TEST_F(EtcdClientTest, AWrongPasswordIsARefusal) {
  FakeServer server([](int fd, const std::string&) {
    say(fd, with_length("400 Bad Request", R"({"error":"invalid user ID or password"})"));
  });
  client({server.endpoint()}, "tailrace");
  const auto result = range();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kFailedPrecondition);
  EXPECT_NE(result.error().message.find("password"), std::string::npos);
  EXPECT_EQ(server.requests(), 1);
}

TEST_F(EtcdClientTest, WatchesComeLineByLineAndSayHowTheyEnd) {
  const std::string lines =
      R"({"result":{"header":{"revision":"7"},"created":true}})"
      "\n"
      R"({"result":{"header":{"revision":"8"},"events":[{"kv":{"key":"aw==","mod_revision":"8"}},)"
      R"({"type":"DELETE","kv":{"key":"aw==","mod_revision":"8"}}]}})"
      "\n"
      R"({"result":{"canceled":true,"compact_revision":"6"}})"
      "\n"
      R"({"result":{"header":{"revision":"9"}}})"
      "\n";
  size_t split = 0;
  FakeServer server([&](int fd, const std::string&) {
    const size_t at = split;
    say(fd, "HTTP/1.1 200 OK\r\n\r\n" + lines.substr(0, at));
    std::this_thread::sleep_for(200us);
    say(fd, lines.substr(at));
  });
  client({server.endpoint()});
  for (split = 0; split < lines.size(); split += 11) {
    std::vector<EtcdWatchPart> parts;
    std::vector<Error> ends;
    EtcdClient::WatchEvents events;
    events.part = [&](EtcdWatchPart part) { parts.push_back(std::move(part)); };
    events.ended = [&](const Error& why) { ends.push_back(why); };
    const auto watch = client_->watch("k", "l", 8, std::move(events));
    io_.restart();
    io_.run();
    ASSERT_EQ(parts.size(), 3u) << split;
    EXPECT_TRUE(parts[0].created);
    ASSERT_EQ(parts[1].events.size(), 2u);
    EXPECT_FALSE(parts[1].events[0].deleted);
    EXPECT_TRUE(parts[1].events[1].deleted);
    EXPECT_EQ(parts[1].events[1].pair.mod_revision, 8);
    EXPECT_EQ(parts[2].compact_revision, 6);
    ASSERT_EQ(ends.size(), 1u);
  }
}

TEST_F(EtcdClientTest, AWatchThatIsDroppedInTheMiddleOfItsPartsIsSilent) {
  const std::string line = "{\"result\":{\"header\":{\"revision\":\"7\"}}}\n";
  FakeServer server(
      [&](int fd, const std::string&) { say(fd, "HTTP/1.1 200 OK\r\n\r\n" + line + line + line); });
  client({server.endpoint()});
  std::shared_ptr<EtcdClient::Watch> watch;
  int parts = 0;
  EtcdClient::WatchEvents events;
  events.part = [&](const EtcdWatchPart&) {
    ++parts;
    watch.reset();
  };
  events.ended = [](const Error& why) { ADD_FAILURE() << why.message; };
  watch = client_->watch("k", "l", 8, std::move(events));
  io_.run();
  EXPECT_EQ(parts, 1);
}

TEST_F(EtcdClientTest, ALineWithoutEndEndsTheWatch) {
  FakeServer server([&](int fd, const std::string&) {
    say(fd, "HTTP/1.1 200 OK\r\n\r\n");
    const std::string much(1 << 16, 'x');
    for (int i = 0; i < 64; ++i)
      say(fd, much);
  });
  client({server.endpoint()});
  std::vector<Error> ends;
  EtcdClient::WatchEvents events;
  events.ended = [&](const Error& why) { ends.push_back(why); };
  const auto watch = client_->watch("k", "l", 8, std::move(events));
  io_.run();
  ASSERT_EQ(ends.size(), 1u);
  EXPECT_EQ(ends[0].code, ErrorCode::kResourceExhausted);
}

TEST_F(EtcdClientTest, CanBeDestroyedWithCallsInFlight) {
  FakeServer* self = nullptr;
  FakeServer server([&](int fd, const std::string&) { self->hold(fd); });
  self = &server;
  asio::io_context io;
  EtcdClientOptions options;
  options.endpoints = {server.endpoint()};
  EtcdClient client(io, options);
  for (int i = 0; i < 4; ++i)
    client.range("k", "", [](const Result<EtcdRange>&) { ADD_FAILURE(); });
  const auto watch = client.watch("k", "", 1, {});
  io.run_for(50ms);
}

TEST_F(EtcdClientTest, NamesAreLookedUpAndWhatHasNoAddressIsNamed) {
  FakeServer server([](int fd, const std::string&) { say(fd, with_length("200 OK", kRange)); });
  client({parse_http_endpoint("http://localhost:" + server.endpoint().port).value()});
  expect_good(range());
  // The label alone is longer than a name may have: no name service is asked.
  client({parse_http_endpoint("http://" + std::string(70, 'x') + ":1").value()});
  const auto result = range();
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("no address of xxx"), std::string::npos);
  // Given up at once and at any moment.
  for (int i = 0; i < 20; ++i) {
    asio::io_context io;
    EtcdClientOptions options;
    options.endpoints = {parse_http_endpoint("http://localhost:1").value()};
    EtcdClient brief(io, options);
    brief.range("k", "", [](const Result<EtcdRange>&) {});
    io.run_for(std::chrono::microseconds(20 * i));
  }
}

TEST(EtcdMessages, Base64IsRightAtEveryLength) {
  Random random(1);
  for (size_t size = 0; size < 100; ++size) {
    std::string bytes(size, '\0');
    for (char& c : bytes)
      c = static_cast<char>(random.next());
    const std::string text = encode_base64(bytes);
    const auto back = decode_base64(text);
    ASSERT_TRUE(back) << text;
    EXPECT_EQ(*back, bytes);
  }
  EXPECT_EQ(encode_base64("any carnal pleas"), "YW55IGNhcm5hbCBwbGVhcw==");
  for (const char* bad : {"a", "ab", "abc", "====", "a===", "ab=c", "ab!d", " bcd", "abcd\n"})
    EXPECT_FALSE(decode_base64(bad)) << bad;
}

// Whatever comes is decoded or refused; a changed byte never stops the process.
TEST(EtcdMessages, AnyBytesAreRefusedOrUnderstood) {
  const std::string samples[] = {
      kRange,
      R"({"header":{"revision":"9"},"succeeded":true,"responses":[{"response_put":{}},)"
      R"({"response_range":{"kvs":[{"key":"aw=="}]}}]})",
      R"({"result":{"header":{},"ID":"77","TTL":"3"}})",
      R"({"result":{"created":true,"events":[{"type":"DELETE","kv":{"key":"aw=="}}]}})",
      R"({"error":{"grpc_code":8,"message":"x"}})",
      R"({"token":"abc"})"};
  Random random(2);
  for (int round = 0; round < 5000; ++round) {
    std::string text = samples[random.below(std::size(samples))];
    for (uint64_t i = random.below(4); i > 0; --i)
      text[random.below(text.size())] = static_cast<char>(random.next());
    if (random.chance(1, 4)) text.resize(random.below(text.size()));
    (void)decode_range(text);
    (void)decode_put(text);
    (void)decode_transaction(text);
    (void)decode_lease_grant(text);
    (void)decode_keep_alive(text);
    (void)decode_time_to_live(text);
    (void)decode_watch(text);
    (void)decode_token(text);
    (void)decode_error(text);
  }
  EXPECT_EQ(decode_keep_alive(R"({"result":{"ID":"77"}})").value(), 0);
  EXPECT_FALSE(decode_keep_alive("{}")) << "garbage is no lost lease";
  EXPECT_FALSE(decode_token(R"({"token":"a\r\nb"})")) << "it would become a header of its own";
}

TEST(EtcdEndpoint, IsASchemeAHostAndAPort) {
  const auto endpoint = parse_http_endpoint("https://[::1]:2379/");
  ASSERT_TRUE(endpoint);
  EXPECT_TRUE(endpoint->tls);
  EXPECT_EQ(endpoint->host, "::1");
  EXPECT_EQ(endpoint->port, "2379");
  for (const char* bad : {"", "etcd:2379", "http://etcd", "ftp://etcd:2379", "http://:2379",
                          "http://etcd:99999", "http://a/b:2379", "http://u@h:1"})
    EXPECT_FALSE(parse_http_endpoint(bad)) << bad;
}

}  // namespace
}  // namespace tailrace::rpc
