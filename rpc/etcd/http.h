#pragma once
// One POST over HTTP/1.1, on a connection of its own.
//
// A connection for each call: a kept one that the server has closed meanwhile cannot be told from
// one on which the call was done, and the calls of a coordinator are a few in a second.

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "core/clock.h"
#include "core/result.h"

namespace asio {
class io_context;
namespace ssl {
class context;
}
}  // namespace asio

namespace tailrace::rpc {

struct HttpEndpoint {
  std::string text;  // as it was written, for messages
  bool tls = false;
  std::string host, port;
};
/// "http://HOST:PORT" or "https://HOST:PORT"; a slash may follow.
Result<HttpEndpoint> parse_http_endpoint(const std::string& text);

struct HttpRequest {
  std::string path;
  std::string body;             // JSON
  std::string authorization;    // the header's value; empty: none
  size_t most_bytes = 1 << 20;  // of the answer's body
};

struct HttpAnswer {
  unsigned status = 0;
  std::string body;
};

class HttpExchange {
 public:
  /// kTimedOut, kUnavailable (no connection, or one that broke), kCorruption (no HTTP),
  /// kResourceExhausted (a body beyond most_bytes). Messages name the endpoint.
  using Done = std::function<void(Result<HttpAnswer>)>;
  using Part = std::function<void(std::string_view)>;

  /// Runs on `io`; `done` is called once there, unless cancelled. With `part` a body of status 200
  /// is handed over as it comes: then the deadline is the headers', and the answer's body is empty.
  /// `tls` may be null when the endpoint needs none.
  static std::shared_ptr<HttpExchange> start(asio::io_context& io,
                                             std::shared_ptr<asio::ssl::context> tls,
                                             const HttpEndpoint& endpoint, HttpRequest request,
                                             SteadyTime deadline, Done done, Part part = nullptr);
  virtual ~HttpExchange() = default;
  /// On `io`. Nothing is called any more.
  virtual void cancel() = 0;
};

}  // namespace tailrace::rpc
