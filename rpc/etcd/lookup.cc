#include "rpc/etcd/lookup.h"

#include <atomic>
#include <system_error>
#include <thread>
#include <utility>

#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <netdb.h>
#include <sys/socket.h>

#include "core/mutex.h"
#include "core/thread.h"

namespace tailrace::rpc {

namespace {

/// Of threads that wait for a name service which does not answer.
constexpr int kMostAtOnce = 8;
std::atomic<int> at_once{0};

Result<std::vector<std::string>> look_up(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failed = ::getaddrinfo(host.c_str(), nullptr, &hints, &found);
  std::vector<std::string> addresses;
  for (const addrinfo* each = failed == 0 ? found : nullptr; each != nullptr;
       each = each->ai_next) {
    char text[NI_MAXHOST];
    if (::getnameinfo(each->ai_addr, each->ai_addrlen, text, sizeof text, nullptr, 0,
                      NI_NUMERICHOST) == 0)
      addresses.emplace_back(text);
  }
  if (found != nullptr) ::freeaddrinfo(found);
  if (addresses.empty())
    return make_error(ErrorCode::kUnavailable,
                      "no address of " + host + ": " +
                          (failed != 0 ? ::gai_strerror(failed) : "the name has none"));
  return addresses;
}

}  // namespace

struct NameLookup::State {
  Mutex mutex;
  asio::io_context* io TAILRACE_GUARDED_BY(mutex);  // null when nobody waits any more
  Done done;                                        // on the io thread
};

NameLookup::NameLookup(asio::io_context& io, const std::string& host, Done done)
    : state_(std::make_shared<State>()) {
  state_->io = &io;
  state_->done = std::move(done);
  const auto answer = [](const std::shared_ptr<State>& state,
                         Result<std::vector<std::string>> found) {
    // While nobody has cancelled, which takes the lock, the io_context is there.
    const MutexLock lock(state->mutex);
    if (state->io == nullptr) return;
    asio::post(*state->io, [state, found = std::move(found)]() mutable {
      if (const auto function = std::exchange(state->done, nullptr)) function(std::move(found));
    });
  };
  if (++at_once > kMostAtOnce) {
    --at_once;
    answer(state_, make_error(ErrorCode::kUnavailable,
                              "no address of " + host + ": the name service does not answer"));
    return;
  }
  named_thread("etcd_lookup", [state = state_, host, answer] {
    answer(state, look_up(host));
    --at_once;
  }).detach();
}

NameLookup::~NameLookup() {
  cancel();
}

void NameLookup::cancel() {
  const MutexLock lock(state_->mutex);
  state_->io = nullptr;
  state_->done = nullptr;
}

}  // namespace tailrace::rpc
