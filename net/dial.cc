#include "net/dial.h"

#include <memory>
#include <string>
#include <utility>

#include <asio/connect.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <fmt/format.h>
#include <pthread.h>

#include "core/thread.h"
#include "net/listen.h"

namespace tailrace::net {
namespace {

/// Within the scope the calling thread has this name, and with it each thread that it starts.
class NamedMeanwhile {
 public:
  explicit NamedMeanwhile(const char* name) {
    if (::pthread_getname_np(::pthread_self(), before_, sizeof before_) != 0) return;
    name_thread(name);
    named_ = true;
  }
  ~NamedMeanwhile() {
    if (named_) name_thread(before_);
  }
  NamedMeanwhile(const NamedMeanwhile&) = delete;
  NamedMeanwhile& operator=(const NamedMeanwhile&) = delete;

 private:
  char before_[16];
  bool named_ = false;
};

/// One attempt to connect; its own pending operations keep it alive.
struct Dial : std::enable_shared_from_this<Dial> {
  Dial(asio::io_context& io, std::string to,
       std::function<void(Result<asio::ip::tcp::socket>)> then)
      : address(std::move(to)), done(std::move(then)), resolver(io), socket(io), timer(io) {}

  void finish(const std::error_code& error) {
    if (!done) return;
    timer.cancel();
    const auto callback = std::exchange(done, nullptr);
    if (!error) return callback(std::move(socket));
    callback(make_error(ErrorCode::kUnavailable,
                        fmt::format("connect to {}: {}", address, error.message())));
  }

  std::string address;
  std::function<void(Result<asio::ip::tcp::socket>)> done;
  asio::ip::tcp::resolver resolver;
  asio::ip::tcp::socket socket;
  asio::steady_timer timer;
};

}  // namespace

void dial(asio::io_context& io, const std::string& address, std::chrono::milliseconds most,
          std::function<void(Result<asio::ip::tcp::socket>)> done) {
  auto endpoint = parse_endpoint(address);
  if (!endpoint) {
    asio::post(io,
               [done = std::move(done), error = endpoint.error()] { done(tl::unexpected(error)); });
    return;
  }
  auto attempt = std::make_shared<Dial>(io, address, std::move(done));
  attempt->timer.expires_after(most);
  attempt->timer.async_wait([attempt](const std::error_code& error) {
    if (error || !attempt->done) return;
    attempt->resolver.cancel();
    std::error_code ignored;
    attempt->socket.close(ignored);
    attempt->finish(asio::error::timed_out);
  });
  auto resolved = [attempt](const std::error_code& error,
                            const asio::ip::tcp::resolver::results_type& found) {
    if (error) return attempt->finish(error);
    if (!attempt->done) return;
    asio::async_connect(attempt->socket, found,
                        [attempt](const std::error_code& failed, const asio::ip::tcp::endpoint&) {
                          attempt->finish(failed);
                        });
  };
  // What is no name must not wait behind one that no server of names tells: they are asked one
  // after the other.
  std::error_code is_name;
  const asio::ip::address numeric = asio::ip::make_address(endpoint->first, is_name);
  if (is_name) {
    // The first name starts Asio's thread for them, which would be counted as the caller.
    const NamedMeanwhile lookup("lookup");
    return attempt->resolver.async_resolve(endpoint->first, endpoint->second, std::move(resolved));
  }
  const auto port = static_cast<asio::ip::port_type>(std::stoul(endpoint->second));
  attempt->socket.async_connect(
      {numeric, port}, [attempt](const std::error_code& error) { attempt->finish(error); });
}

}  // namespace tailrace::net
