#include "rpc/client/server_search.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "rpc/wire/hello.h"

namespace tailrace::rpc {
namespace {

// How long a server has to say hello before another one is tried beside it.
constexpr std::chrono::milliseconds kHeadStart{100};
constexpr std::chrono::milliseconds kLongestPause{200};
// What servers tell of others is theirs to say: it must not cost more than this.
constexpr size_t kMostCandidates = 128;

}  // namespace

Result<> KnownCluster::meet(const std::string& identity, const std::string& server) {
  if (identity.empty() || identity == identity_) return {};
  if (identity == kNoIdentity) {
    if (identity_.empty()) return {};
    return make_error(ErrorCode::kUnavailable,
                      server + " does not know yet which cluster it belongs to");
  }
  if (!identity_.empty())
    return make_error(ErrorCode::kUnsupported,
                      fmt::format("{} is of another cluster, or its log was begun anew: its "
                                  "identity is {}, and that of {}, which answered before, is {}",
                                  server, identity, server_, identity_));
  identity_ = identity;
  server_ = server;
  return {};
}

ServerSearch::ServerSearch(asio::io_context& io, size_t max_frame_bytes, Traffic& traffic,
                           KnownCluster* cluster, std::vector<std::string> addresses, Events events)
    : io_(io),
      max_frame_bytes_(max_frame_bytes),
      traffic_(traffic),
      cluster_(cluster),
      events_(std::move(events)),
      timer_(io),
      pause_(kRetryPause) {
  for (const std::string& address : addresses)
    add(address);
}

void ServerSearch::start() {
  begin_round();
}

void ServerSearch::add(const std::string& address) {
  const bool known =
      std::ranges::find(candidates_, address, &Candidate::address) != candidates_.end();
  if (known || address.empty() || candidates_.size() >= kMostCandidates) return;
  candidates_.push_back({.address = address, .due = true});
}

void ServerSearch::hint(const std::string& address) {
  add(address);
  const auto found = std::ranges::find(candidates_, address, &Candidate::address);
  if (found == candidates_.end() || found->pending || std::exchange(found->hinted, true)) return;
  head_start_ = true;
  dial(static_cast<size_t>(found - candidates_.begin()));
}

void ServerSearch::stop() {
  stopped_ = true;
  timer_.cancel();
  events_ = {};
  for (Candidate& candidate : candidates_)
    if (candidate.connection) std::exchange(candidate.connection, nullptr)->detach();
}

void ServerSearch::begin_round() {
  for (Candidate& candidate : candidates_) {
    candidate.due = !candidate.pending;
    candidate.hinted = false;
  }
  next();
}

void ServerSearch::next() {
  if (stopped_) return;
  const auto due = std::ranges::find(candidates_, true, &Candidate::due);
  const bool waits = std::exchange(head_start_, false);
  const bool round_over = due == candidates_.end() && !waits;
  if (due != candidates_.end() && !waits) dial(static_cast<size_t>(due - candidates_.begin()));
  timer_.expires_after(round_over ? pause_ : kHeadStart);
  if (round_over) pause_ = std::min(2 * pause_, kLongestPause);
  timer_.async_wait([self = shared_from_this(), round_over](const std::error_code& error) {
    if (error || self->stopped_) return;
    round_over ? self->begin_round() : self->next();
  });
}

void ServerSearch::dial(size_t index) {
  candidates_[index].due = false;
  candidates_[index].pending = true;
  candidates_[index].connected.reset();
  auto made = [self = shared_from_this(), index](Result<Connection> connection) {
    self->made(index, std::move(connection));
  };
  ClientConnection::dial(io_, candidates_[index].address, kDialTime, max_frame_bytes_, traffic_,
                         std::move(made));
}

void ServerSearch::made(size_t index, Result<Connection> connection) {
  if (stopped_) {
    if (connection) (*connection)->detach();
    return;
  }
  if (!connection) return on_failed(index, connection.error());
  candidates_[index].connection = *connection;
  candidates_[index].connected = std::chrono::steady_clock::now();
  ClientConnection::Events events;
  events.ready = [self = shared_from_this(), index](const ServerHello& hello) {
    self->on_hello(index, hello);
  };
  events.closed = [self = shared_from_this(), index](const Error& error) {
    self->on_failed(index, error);
  };
  (*connection)->begin(std::move(events), candidates_[index].patience);
}

void ServerSearch::on_hello(size_t index, const ServerHello& hello) {
  candidates_[index].pending = false;
  const Connection connection = std::exchange(candidates_[index].connection, nullptr);
  if (cluster_ != nullptr) {
    const auto same = cluster_->meet(hello.cluster_identity, candidates_[index].address);
    if (!same) {
      connection->detach();
      return on_failed(index, same.error());
    }
  }
  const auto answers = events_.answers;  // stop() lets go of it
  if (answers(connection, hello)) return stop();
  connection->detach();
  next();
}

void ServerSearch::on_failed(size_t index, const Error& error) {
  Candidate& candidate = candidates_[index];
  candidate.pending = false;
  candidate.connection.reset();
  if (candidate.connected &&
      std::chrono::steady_clock::now() - *candidate.connected >= candidate.patience)
    candidate.patience =
        std::max(candidate.patience, std::min(2 * candidate.patience, longest_wait_));
  const auto failed = events_.failed;
  failed(error);
  next();
}

}  // namespace tailrace::rpc
