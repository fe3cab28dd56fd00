#include "net/readiness.h"

#include <array>
#include <cerrno>
#include <utility>

#include <asio/execution/context.hpp>
#include <asio/post.hpp>
#include <sys/epoll.h>

namespace tailrace::net {
namespace {

constexpr int kMostInARound = 128;
constexpr uint32_t kReading = EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLET;

Readiness::Ready ready_of(uint32_t events) {
  const bool failed = (events & (EPOLLERR | EPOLLHUP)) != 0;
  const bool ends = failed || (events & (EPOLLRDHUP | EPOLLPRI)) != 0;
  return {ends || (events & EPOLLIN) != 0, failed || (events & EPOLLOUT) != 0, ends};
}

}  // namespace

asio::execution_context::id Readiness::id;

Readiness::Readiness(asio::execution_context& context)
    : service(context), io_(static_cast<asio::io_context&>(context)), set_(io_) {}

Readiness& Readiness::of(const asio::any_io_executor& executor) {
  return asio::use_service<Readiness>(asio::query(executor, asio::execution::context));
}

void Readiness::shutdown() {
  over_ = true;
  std::error_code ignored;
  set_.close(ignored);
  // The objects end here, and may still call.
  const std::vector<Place> places = std::exchange(places_, {});
}

Result<> Readiness::open() {
  if (over_) return make_error(ErrorCode::kClosed, "the event loop has ended");
  if (set_.is_open()) return {};
  const int set = ::epoll_create1(EPOLL_CLOEXEC);
  if (set < 0) return tl::unexpected(io_error("epoll_create1", "sockets", errno));
  std::error_code error;
  set_.assign(set, error);
  if (!error) return {};
  (void)::close(set);
  return make_error(ErrorCode::kIo, "cannot wait for sockets: " + error.message());
}

Result<Readiness::Token> Readiness::add(int descriptor, std::shared_ptr<Watched> watched) {
  TAILRACE_RETURN_IF_ERROR(open());
  const bool reused = !free_.empty();
  const auto index = reused ? free_.back() : static_cast<uint32_t>(places_.size());
  const uint32_t generation = reused ? places_[index].generation : Place{}.generation;
  const Token token = Token{generation} << 32 | index;
  epoll_event event{};
  event.events = kReading;
  event.data.u64 = token;
  if (::epoll_ctl(set_.native_handle(), EPOLL_CTL_ADD, descriptor, &event) != 0)
    return tl::unexpected(io_error("epoll_ctl", "a socket", errno));
  if (reused)
    free_.pop_back();
  else
    places_.emplace_back();
  places_[index].watched = std::move(watched);
  ++watched_;
  wait();
  return token;
}

std::shared_ptr<Readiness::Watched> Readiness::find(Token token) const {
  const auto index = static_cast<uint32_t>(token);
  if (index >= places_.size() || places_[index].generation != token >> 32) return nullptr;
  return places_[index].watched;
}

void Readiness::remove(Token token) {
  const std::shared_ptr<Watched> kept = find(token);  // its end may call
  if (!kept) return;
  const auto index = static_cast<uint32_t>(token);
  places_[index].watched.reset();
  // Generation 0 would make a token kNone; that of 2^32 uses ago is in no round.
  if (++places_[index].generation == 0) ++places_[index].generation;
  free_.push_back(index);
  if (--watched_ > 0) return;
  std::error_code ignored;
  set_.cancel(ignored);
}

Result<> Readiness::watch_writing(Token token, int descriptor) {
  epoll_event event{};
  event.events = kReading | EPOLLOUT;
  event.data.u64 = token;
  if (over_ || ::epoll_ctl(set_.native_handle(), EPOLL_CTL_MOD, descriptor, &event) == 0) return {};
  return tl::unexpected(io_error("epoll_ctl", "a socket", errno));
}

void Readiness::ask_turn(Token token) {
  turns_.push_back(token);
  if (!std::exchange(turns_posted_, true)) asio::post(io_, [this] { give_turns(); });
}

void Readiness::give_turns() {
  turns_posted_ = false;
  for (const Token token : std::exchange(turns_, {}))
    if (const auto watched = find(token)) watched->on_turn();
}

void Readiness::wait() {
  if (waiting_ || watched_ == 0) return;
  waiting_ = true;
  // Also where the last one was removed and the wait cancelled: others may have come since.
  set_.async_wait(asio::posix::stream_descriptor::wait_read,
                  [this](const std::error_code&) { round(); });
}

void Readiness::round() {
  std::array<epoll_event, kMostInARound> events;
  const int ready = ::epoll_wait(set_.native_handle(), events.data(), kMostInARound, 0);
  for (int i = 0; i < ready; ++i)
    if (const auto watched = find(events[i].data.u64))
      watched->on_ready(ready_of(events[i].events));
  // Timers, and what was posted, have their turn in between.
  if (ready == kMostInARound) return asio::post(io_, [this] { round(); });
  waiting_ = false;
  wait();
}

}  // namespace tailrace::net
