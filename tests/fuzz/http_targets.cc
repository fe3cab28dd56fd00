// What any browser, scraper or stranger sends to an HTTP port.
#include <algorithm>

#include "core/check.h"
#include "http/request_parser.h"
#include "tests/fuzz/log_bytes.h"
#include "tests/fuzz/targets.h"

namespace tailrace::fuzz {
namespace {

using http::RequestParser;

std::string_view text_of(ByteSpan bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void check_request(const http::Request& request, const http::RequestLimits& limits) {
  const auto is_plain = [](std::string_view text) {
    return std::all_of(text.begin(), text.end(),
                       [](unsigned char c) { return c > ' ' && c < 0x7f; });
  };
  TAILRACE_CHECK(!request.method.empty() && is_plain(request.method), "a method that is none");
  TAILRACE_CHECK(request.path.starts_with('/') || request.path == "*", "a path that is none");
  TAILRACE_CHECK(is_plain(request.path) && is_plain(request.query), "a target with other bytes");
  TAILRACE_CHECK(request.fields.size() <= limits.fields, "too many fields");
  size_t bytes = request.method.size() + request.path.size() + request.query.size();
  for (const http::Field& field : request.fields) {
    TAILRACE_CHECK(!field.name.empty() && is_plain(field.name), "a field's name that is none");
    TAILRACE_CHECK(field.value.find_first_of(std::string_view("\r\n\0", 3)) == std::string::npos,
                   "a field's value with a line end");
    bytes += field.name.size() + field.value.size();
  }
  TAILRACE_CHECK(bytes <= limits.head_bytes, "more than a request may have");
}

}  // namespace

// Input: u8 the size of pieces, then what comes on a connection. Cut into pieces it is the same as
// whole.
void http_request(ByteSpan input) {
  Input from(input);
  const size_t piece = size_t{from.take<uint8_t>()} + 1;
  http::RequestLimits limits;
  limits.line_bytes = 256;
  limits.head_bytes = 1024;
  limits.fields = 8;
  RequestParser whole(limits), cut(limits);
  std::string_view rest = text_of(from.rest());
  while (!rest.empty()) {
    const size_t taken = whole.feed(rest);
    TAILRACE_CHECK(taken > 0 && taken <= limits.head_bytes + 1, "no end of a request");
    for (size_t fed = 0; fed < taken;) {
      const size_t one = cut.feed(rest.substr(fed, std::min(piece, taken - fed)));
      TAILRACE_CHECK(one > 0, "cut into pieces it ends earlier");
      fed += one;
    }
    TAILRACE_CHECK(whole.state() == cut.state() && whole.status() == cut.status(),
                   "cut into pieces it means something else");
    if (whole.state() != RequestParser::State::kComplete) return;
    check_request(whole.request(), limits);
    TAILRACE_CHECK(whole.request().path == cut.request().path &&
                       whole.request().keep_alive == cut.request().keep_alive,
                   "cut into pieces it is another request");
    whole.next();
    cut.next();
    rest.remove_prefix(taken);
  }
}

}  // namespace tailrace::fuzz
