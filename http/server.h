#pragma once
// A small HTTP/1.1 server on one thread of its own, with keep-alive and pipelining. It reads no
// bodies: the handler sees that there is one, and the connection ends with the response.
//
// What a stranger sends costs bounded memory and time. There are at most max_connections, and the
// one beyond takes the place of the oldest that waits for its other side and has been there for a
// while: silent connections, and those that send or read too slowly or not at all, keep nobody out,
// and who has just come is not sent away before it has asked, nor in a flood of others that say
// nothing, or stop in the middle of what they say. Each stage of a connection has a deadline.

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "core/result.h"
#include "http/message.h"
#include "http/request_parser.h"
#include "observability/metrics.h"

namespace tailrace::http {

struct ServerOptions {
  std::string listen;  // HOST:PORT or [V6]:PORT; port 0 takes a free one
  /// Each has some 40 KiB at most, and its response. More than all who ask at the same time.
  size_t max_connections = 128;
  /// So long a connection is not closed for another one, while there are some that came before.
  std::chrono::milliseconds least_stay{1000};
  /// From a request's first byte to its last, and from a connection's begin to its first byte.
  std::chrono::milliseconds request_timeout{5000};
  /// Between two requests: longer than whoever asks regularly waits.
  std::chrono::milliseconds idle_timeout{75000};
  /// Until the other side has taken the whole response.
  std::chrono::milliseconds response_timeout{10000};
  RequestLimits limits;
};

/// To be called once, on the server's thread; at once or later. Does nothing when the connection or
/// the server is gone.
using Answer = std::function<void(Response)>;
/// Called on the server's thread for each request; what it takes, all others wait. The request is
/// there until it returns. A HEAD is answered like a GET: the server leaves the body out.
using Handler = std::function<void(const Request&, Answer)>;

class Server {
 public:
  /// Binds at once (kInUse naming the address), serves from start() on.
  static Result<std::unique_ptr<Server>> create(ServerOptions options, Handler handler);
  /// Closes every connection at once and joins the thread.
  virtual ~Server() = default;
  virtual void start() = 0;
  /// The port listened on.
  virtual int port() const = 0;
  /// Runs `function` on the server's thread, after what is ready there now. Any thread, while the
  /// server lives.
  virtual void post(std::function<void()> function) = 0;
  virtual void register_metrics(observability::MetricRegistry& registry) = 0;
};

}  // namespace tailrace::http
