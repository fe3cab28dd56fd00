#pragma once
// Tells which sockets of an event loop are ready. Internal.
//
// Asio tries each read before it waits, so every request costs a read that finds nothing. Here a
// socket is registered once and its reader is told of what comes, edge by edge. The sockets are in
// an epoll set of their own, for which the loop waits as for one descriptor: many that are ready
// cost one wake-up of the loop.

#include <cstdint>
#include <memory>
#include <vector>

#include <asio/execution_context.hpp>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>

#include "core/result.h"

namespace tailrace::net {

/// One for each io_context that has such sockets, made by its first one (asio::use_service). All on
/// the loop's thread. The loop does not run out of work while a socket is watched.
class Readiness : public asio::execution_context::service {
 public:
  struct Ready {
    bool readable = false, writable = false;
    /// The other side has closed, or something failed, or urgent data came: a read that brings less
    /// than there is room for does not show that nothing is left.
    bool until_nothing_comes = false;
  };
  class Watched {
   public:
    virtual ~Watched() = default;
    /// There is more than when it was told last. Told once: what is not read or written then has
    /// to be remembered. One handler of the loop tells all that are ready, 128 at most.
    virtual void on_ready(Ready ready) = 0;
    /// A turn that it has asked for.
    virtual void on_turn() = 0;
  };
  /// Belongs to one add() and to no later one, also where the descriptor's number is used again.
  using Token = uint64_t;
  static constexpr Token kNone = 0;

  static asio::execution_context::id id;
  explicit Readiness(asio::execution_context& context);
  /// Of the loop whose executor that is, which must be an io_context.
  static Readiness& of(const asio::any_io_executor& executor);

  /// Keeps `watched` until remove(). Tells of what can be read, also if it came before; never
  /// within this call.
  Result<Token> add(int descriptor, std::shared_ptr<Watched> watched);
  /// Tells nothing more, whatever is known already. The descriptor is to be closed next.
  void remove(Token token);
  /// From now on it is told, too, when there is room to write again; after a write that found none.
  Result<> watch_writing(Token token, int descriptor);
  /// on_turn(), in a handler of its own, after whatever is ready now.
  void ask_turn(Token token);

 private:
  struct Place {
    uint32_t generation = 1;
    std::shared_ptr<Watched> watched;
  };

  void shutdown() override;
  Result<> open();
  /// Null: it was removed.
  std::shared_ptr<Watched> find(Token token) const;
  void wait();
  void round();
  void give_turns();

  asio::io_context& io_;
  asio::posix::stream_descriptor set_;
  std::vector<Place> places_;
  std::vector<uint32_t> free_;  // places
  std::vector<Token> turns_;    // asked for
  size_t watched_ = 0;
  bool waiting_ = false;  // also while a round goes on
  bool turns_posted_ = false, over_ = false;
};

}  // namespace tailrace::net
