// Where the requests of a queue go: finding a server, and what becomes of them when it is lost.
#include <algorithm>
#include <iterator>

#include <asio/post.hpp>
#include <fmt/format.h>

#include "rpc/client/queue.h"

namespace tailrace::rpc {
namespace {

constexpr size_t kMostLearnt = 64;
constexpr std::chrono::milliseconds kLongestNamedWait{60000};

}  // namespace

void RequestQueue::next_server(const std::string& hint) {
  ++tried_;
  hint_ = hint;
  server_ = (server_ + 1) % servers_.size();
}

void RequestQueue::learn(const std::vector<std::string>& members) {
  // A read asks only whom it was told to ask: those may be the near ones, or the one in question.
  if (route_ != Route::kLeader) return;
  const std::string present = servers_[server_];
  servers_.resize(given_);
  for (const std::string& member : members) {
    const bool known = std::ranges::find(servers_, member) != servers_.end();
    if (member.empty() || known || servers_.size() >= given_ + kMostLearnt) continue;
    servers_.push_back(member);
    if (search_) search_->add(member);
  }
  const auto at = std::ranges::find(servers_, present);
  server_ = at == servers_.end() ? 0 : static_cast<size_t>(at - servers_.begin());
}

void RequestQueue::search_later() {
  // Each server once, without a pause.
  if (tried_ % (servers_.size() + 1) != 0) return search();
  pausing_ = true;
  retry_timer_.expires_after(kRetryPause);
  retry_timer_.async_wait([self = shared_from_this()](const std::error_code& error) {
    self->pausing_ = false;
    if (!error) self->search();
  });
}

void RequestQueue::search() {
  if (shut_down_ || search_ || pausing_ || connection_ || (queued_.empty() && bounced_.empty()))
    return;
  if (search_with_others()) return;
  std::vector<std::string> order{std::exchange(hint_, {})};
  for (size_t i = 0; i < servers_.size(); ++i)
    order.push_back(servers_[(server_ + i) % servers_.size()]);
  ServerSearch::Events events;
  events.answers = [this](const std::shared_ptr<ClientConnection>& connection,
                          const ServerHello& hello) { return on_hello(connection, hello); };
  events.failed = [this](const Error& error) { on_search_failed(error); };
  // A server that was named is asked whoever it is: `status` shows what is wrong with it.
  KnownCluster* const cluster = route_ == Route::kOne ? nullptr : &context_->cluster;
  Loop& loop = context_->loop;
  search_ =
      std::make_shared<ServerSearch>(loop.io(), context_->options.max_frame_bytes, loop.traffic(),
                                     cluster, std::move(order), std::move(events));
  // There is no other one to go to: each time it waits longer for its turn.
  search_->set_patience(patience_, route_ == Route::kOne ? kLongestNamedWait : kLongestWait);
  search_->start();
}

void RequestQueue::stop_searching() {
  if (search_) std::exchange(search_, nullptr)->stop();
  wake_others();
}

bool RequestQueue::search_with_others() {
  // A server that was named is asked by whoever has named it.
  if (!context_->options.share_connection || route_ == Route::kOne) return false;
  if (!shared_)
    shared_ = context_->loop.shared_search(fmt::format("{} {} {}", static_cast<int>(route_),
                                                       context_->options.max_frame_bytes,
                                                       fmt::join(context_->options.servers, " ")));
  const auto found = shared_->found.lock();
  if (found && found->may_be_joined() &&
      context_->cluster.meet(found->server().cluster_identity, found->address())) {
    learn(found->server().servers);
    take(found);
    return true;
  }
  if (shared_->searcher == nullptr) {
    shared_->searcher = this;
    return false;
  }
  if (!std::exchange(waits_for_others_, true)) shared_->waiting.push_back(weak_from_this());
  return true;
}

void RequestQueue::wake_others() {
  if (!shared_ || shared_->searcher != this) return;
  shared_->searcher = nullptr;
  for (const auto& one : std::exchange(shared_->waiting, {})) {
    const auto queue = one.lock();
    if (!queue) continue;
    queue->waits_for_others_ = false;
    asio::post(context_->loop.io(), [queue] { queue->search(); });
  }
}

std::shared_ptr<ClientConnection> RequestQueue::leave_connection() {
  const auto left = std::exchange(connection_, nullptr);
  if (left) left->leave(member_);
  return left;
}

void RequestQueue::take(const std::shared_ptr<ClientConnection>& connection) {
  patience_ = kDialTime;
  said_.clear();
  connection_ = connection;
  const auto at = std::ranges::find(servers_, connection->address());
  if (at != servers_.end()) server_ = static_cast<size_t>(at - servers_.begin());
  ClientConnection::Events events;
  events.response = [this](wire::Response::Reader response) { on_response(response); };
  events.responses_taken = [this] { send_queued(); };
  events.written = [this] { send_queued(); };
  events.closed = [this](const Error& error) { on_closed(error); };
  member_ = connection->join(std::move(events));
  take_bound(connection->server().log_time_ns, connection->server().session_ttl_ns);
  cluster_version_ = std::max(cluster_version_, connection->server().cluster_version);
  send_queued();
}

bool RequestQueue::on_hello(const std::shared_ptr<ClientConnection>& connection,
                            const ServerHello& hello) {
  learn(hello.servers);
  if (route_ == Route::kLeader && !hello.leader) {
    problem_ = fmt::format("{}: node {} does not lead, {}", connection->address(), hello.node,
                           hello.leader_address.empty()
                               ? "and knows of no leader"
                               : "it knows the leader at " + hello.leader_address);
    said_ = problem_;
    if (hello.leader_address != connection->address()) search_->hint(hello.leader_address);
    return false;
  }
  search_.reset();  // it ends with this call
  if (shared_) shared_->found = connection;
  wake_others();
  take(connection);
  return true;
}

void RequestQueue::on_search_failed(const Error& error) {
  problem_ = error.message;
  // A server that was named is asked once: whoever asked wants to know why it does not answer.
  if (route_ != Route::kOne && error.code != ErrorCode::kUnsupported) return;
  // What this search has learnt of the one server that it knows.
  if (route_ == Route::kOne) patience_ = search_->patience();
  stop_searching();
  for (ClientRequest& request : std::exchange(queued_, {}))
    end(std::move(request), error);
  finish_ending();
}

void RequestQueue::on_closed(const Error& error) {
  problem_ = error.message;
  connection_.reset();
  switching_ = false;
  // What was in flight stands before what was not sent yet.
  for (auto& [id, request] : std::exchange(sent_, {})) {
    request.sent_before = true;
    bounced_.emplace(id, std::move(request));
  }
  std::deque<ClientRequest> again;
  for (auto& [id, request] : std::exchange(bounced_, {})) {
    if (may_send_again(request))
      again.push_back(std::move(request));
    else
      end(std::move(request),
          Error{ErrorCode::kUnknownOutcome,
                "the connection broke before the answer came; the write may or may not have "
                "happened (" +
                    error.message + ")"});
  }
  again.insert(again.end(), std::make_move_iterator(queued_.begin()),
               std::make_move_iterator(queued_.end()));
  queued_ = std::move(again);
  finish_ending();
  if (shut_down_) return;  // by an answer
  // A server that was named is asked once: whoever asked wants to know why it does not answer.
  if (route_ == Route::kOne || error.code == ErrorCode::kUnsupported) {
    for (ClientRequest& request : std::exchange(queued_, {}))
      end(std::move(request), error);
    return finish_ending();
  }
  next_server({});
  search_later();
}

}  // namespace tailrace::rpc
