#pragma once
// Carries connections to another port of the loopback until it is cut.

#include <memory>
#include <set>
#include <thread>
#include <vector>

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/post.hpp>
#include <asio/write.hpp>

namespace tailrace::rpc::testing {

class Relay {
 public:
  explicit Relay(int to) : to_(static_cast<uint16_t>(to)), acceptor_(io_, loopback(0)) {
    accept();
    thread_ = std::thread([this] { io_.run(); });
  }
  ~Relay() {
    io_.stop();
    thread_.join();
  }
  int port() { return acceptor_.local_endpoint().port(); }

  /// Closes what is open and, until mended, whatever comes.
  void cut() {
    asio::post(io_, [this] {
      is_cut_ = true;
      for (const auto& pair : pairs_)
        pair->close();
      pairs_.clear();
    });
  }
  /// Carries nothing any more and closes nothing, as a machine that is frozen.
  void freeze() {
    asio::post(io_, [this] { is_frozen_ = true; });
  }
  void mend() {
    asio::post(io_, [this] { is_cut_ = false; });
  }

 private:
  using tcp = asio::ip::tcp;
  static tcp::endpoint loopback(uint16_t port) { return {asio::ip::address_v4::loopback(), port}; }

  struct Pair : std::enable_shared_from_this<Pair> {
    Pair(tcp::socket from, asio::io_context& io, const bool& frozen)
        : near(std::move(from)), far(io), is_frozen(frozen) {}
    void close() {
      std::error_code ignored;
      near.close(ignored);
      far.close(ignored);
    }
    void pump(tcp::socket& from, tcp::socket& into, std::vector<char>& buffer) {
      from.async_read_some(asio::buffer(buffer), [self = shared_from_this(), &from, &into, &buffer](
                                                     const std::error_code& error, size_t size) {
        if (self->is_frozen) return;
        if (error) return self->close();
        asio::async_write(into, asio::buffer(buffer.data(), size),
                          [self, &from, &into, &buffer](const std::error_code& failed, size_t) {
                            if (failed) return self->close();
                            self->pump(from, into, buffer);
                          });
      });
    }
    tcp::socket near, far;
    const bool& is_frozen;
    std::vector<char> up = std::vector<char>(4096), down = std::vector<char>(4096);
  };

  void accept() {
    acceptor_.async_accept([this](const std::error_code& error, tcp::socket socket) {
      if (error) return;
      accept();
      if (is_cut_) return;
      auto pair = std::make_shared<Pair>(std::move(socket), io_, is_frozen_);
      pairs_.insert(pair);
      pair->far.async_connect(loopback(to_), [pair](const std::error_code& failed) {
        if (failed) return pair->close();
        pair->pump(pair->near, pair->far, pair->up);
        pair->pump(pair->far, pair->near, pair->down);
      });
    });
  }

  const uint16_t to_;
  asio::io_context io_;
  tcp::acceptor acceptor_;
  std::set<std::shared_ptr<Pair>> pairs_;  // of the io thread
  bool is_cut_ = false;                    // of the io thread
  bool is_frozen_ = false;                 // of the io thread
  std::thread thread_;
};

}  // namespace tailrace::rpc::testing
