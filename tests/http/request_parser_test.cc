#include "http/request_parser.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace tailrace::http {
namespace {

/// The status by which `text` is refused; 200 when it is taken, 0 when it is not whole.
int status_of(const std::string& text) {
  RequestParser parser({});
  parser.feed(text);
  if (parser.state() == RequestParser::State::kIncomplete) return 0;
  if (parser.state() == RequestParser::State::kComplete) return 200;
  EXPECT_FALSE(parser.reason().empty()) << text;
  return parser.status();
}

int status_of_field(const std::string& field) {
  return status_of("GET / HTTP/1.1\r\nHost: a\r\n" + field + "\r\n\r\n");
}

Request parsed(const std::string& text) {
  RequestParser parser({});
  EXPECT_EQ(parser.feed(text), text.size());
  EXPECT_EQ(parser.state(), RequestParser::State::kComplete) << text << parser.reason();
  return parser.request();
}

// Promise: a request is taken as it was meant, and its bytes end where it ends.
TEST(RequestParser, TakesARequestAndNothingBehindIt) {
  RequestParser parser({});
  const std::string first =
      "\r\nGET /a/b?c=d&e HTTP/1.1\r\nHOST: h:1\r\nX:\t y z \t\r\nX: 2\r\nEmpty:\r\n\r\n";
  EXPECT_EQ(parser.feed(first + "GET /next"), first.size());
  ASSERT_EQ(parser.state(), RequestParser::State::kComplete) << parser.reason();
  const Request& request = parser.request();
  EXPECT_EQ(request.method, "GET");
  EXPECT_EQ(request.path, "/a/b");
  EXPECT_EQ(request.query, "c=d&e");
  EXPECT_EQ(*request.field("host"), "h:1");
  EXPECT_EQ(*request.field("x"), "y z");
  EXPECT_EQ(*request.field("empty"), "");
  EXPECT_EQ(request.field("y"), nullptr);
  EXPECT_EQ(request.fields.size(), 4u);
  EXPECT_EQ(parser.feed("GET"), 0u);
  parser.next();
  EXPECT_FALSE(parser.begun());
  EXPECT_EQ(parser.feed("GET"), 3u);
  EXPECT_TRUE(parser.begun());
}

TEST(RequestParser, KnowsTheFormsOfATarget) {
  EXPECT_EQ(parsed("GET http://h:1/a?b HTTP/1.1\r\nHost: h\r\n\r\n").path, "/a");
  EXPECT_EQ(parsed("GET HTTP://h HTTP/1.1\r\nHost: h\r\n\r\n").path, "/");
  EXPECT_EQ(parsed("GET http://h?b HTTP/1.1\r\nHost: h\r\n\r\n").query, "b");
  EXPECT_EQ(parsed("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").path, "*");
  EXPECT_EQ(parsed("BREW /pot HTTP/1.1\r\nHost: h\r\n\r\n").method, "BREW");
}

// Promise: a client that wants the connection closed gets that, and one of HTTP/1.0 unless it asks
// otherwise.
TEST(RequestParser, KnowsWhetherTheConnectionStays) {
  EXPECT_TRUE(parsed("GET / HTTP/1.1\r\nHost: h\r\n\r\n").keep_alive);
  EXPECT_TRUE(parsed("GET / HTTP/1.2\r\nHost: h\r\n\r\n").keep_alive);
  EXPECT_FALSE(parsed("GET / HTTP/1.1\r\nHost: h\r\nConnection: te , CLOSE\r\n\r\n").keep_alive);
  EXPECT_FALSE(parsed("GET / HTTP/1.1\r\nHost: h\r\nConnection: te\r\nConnection: close\r\n\r\n")
                   .keep_alive);
  EXPECT_FALSE(parsed("GET / HTTP/1.0\r\n\r\n").keep_alive);
  EXPECT_TRUE(parsed("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep_alive);
}

// Promise: what two readers may read in two ways, or what is no HTTP, is refused at once.
TEST(RequestParser, RefusesWhatIsMalformed) {
  const std::string rest = "\r\nHost: a\r\n\r\n";
  for (const char* line : {"GET",
                           "GET /",
                           "GET / HTTP",
                           "GET / HTTP/1",
                           "GET / HTTP/1.1 ",
                           "GET  / HTTP/1.1",
                           "GET /a b HTTP/1.1",
                           " GET / HTTP/1.1",
                           "G\x01T / HTTP/1.1",
                           "GET\t/\tHTTP/1.1",
                           "GET /\x80 HTTP/1.1",
                           "GET /#a HTTP/1.1",
                           "GET / http/1.1",
                           "GET / HTTP/11.1",
                           "GET a HTTP/1.1",
                           "GET * HTTP/1.1",
                           "CONNECT a:1 HTTP/1.1",
                           "G@T / HTTP/1.1",
                           "\x16\x03\x01\x02",
                           "GET / HTTP/1.1\n",
                           "GET / HTTP/1.1\rX"})
    EXPECT_EQ(status_of(line + rest), 400) << line;
  for (const char* field : {"A",
                            ": b",
                            "A : b",
                            " A: b",
                            "A b: c",
                            "A: b\r\n c",
                            "A: b\nC: d",
                            "A: b\rC: d",
                            "A: \x01",
                            "A: \x7f",
                            "A\x80: b",
                            "Host: b",
                            "Content-Length: +1",
                            "Content-Length: 1 1",
                            "Content-Length: 0, 0",
                            "Content-Length: ",
                            "Content-Length: 0\r\nContent-Length: 0",
                            "Content-Length: 0\r\nTransfer-Encoding: chunked",
                            "Transfer-Encoding: chunked\r\nContent-Length: 3",
                            "Transfer-Encoding : chunked"})
    EXPECT_EQ(status_of_field(field), 400) << field;
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\n\r\n"), 400) << "no Host";
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
  EXPECT_EQ(status_of(std::string("GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", 29)), 400);
}

// Promise: a body that follows is never read as the next request.
TEST(RequestParser, TellsOfABodyAndThatTheConnectionEnds) {
  const auto with = [](const std::string& field) {
    return parsed("POST / HTTP/1.1\r\nHost: a\r\n" + field + "\r\n\r\n");
  };
  EXPECT_TRUE(with("Content-Length: 00").keep_alive);
  for (const char* field : {"Content-Length: 1", "Content-Length: 99999999999999999999999999",
                            "Transfer-Encoding: chunked", "Transfer-Encoding: x"}) {
    EXPECT_TRUE(with(field).has_body) << field;
    EXPECT_FALSE(with(field).keep_alive) << field;
  }
}

TEST(RequestParser, RefusesOtherVersionsByTheirOwnStatus) {
  EXPECT_EQ(status_of("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
  EXPECT_EQ(status_of("GET / HTTP/0.9\r\n\r\n"), 505);
}

// Promise: each limit is refused by its status one byte behind it, not before.
TEST(RequestParser, RefusesWhatIsTooLong) {
  const RequestLimits limits;
  const std::string host = "Host: a\r\n";
  const auto with_target = [&](size_t line_bytes) {
    const std::string begin = "GET /", end = " HTTP/1.1";
    return begin + std::string(line_bytes - begin.size() - end.size(), 'a') + end + "\r\n" + host +
           "\r\n";
  };
  EXPECT_EQ(status_of(with_target(limits.line_bytes)), 200);
  EXPECT_EQ(status_of(with_target(limits.line_bytes + 1)), 414);
  const auto with_value = [&](size_t head_bytes) {
    const std::string begin = "GET / HTTP/1.1\r\n" + host + "A: ";
    return begin + std::string(head_bytes - begin.size() - 4, 'a') + "\r\n\r\n";
  };
  EXPECT_EQ(status_of(with_value(limits.head_bytes)), 200);
  EXPECT_EQ(status_of(with_value(limits.head_bytes + 1)), 431);
  const auto with_fields = [&](size_t fields) {
    std::string text = "GET / HTTP/1.1\r\n" + host;
    for (size_t i = 1; i < fields; ++i)
      text += "A: b\r\n";
    return text + "\r\n";
  };
  EXPECT_EQ(status_of(with_fields(limits.fields)), 200);
  EXPECT_EQ(status_of(with_fields(limits.fields + 1)), 431);
  EXPECT_EQ(status_of(std::string(limits.head_bytes + 1, '\n')), 400);
  std::string empty_lines;
  while (empty_lines.size() <= limits.head_bytes)
    empty_lines += "\r\n";
  EXPECT_EQ(status_of(empty_lines), 431) << "empty lines before a request count, too";
}

}  // namespace
}  // namespace tailrace::http
