#include "rpc/client/queue.h"

#include <algorithm>

#include <asio/post.hpp>
#include <fmt/format.h>
#include <kj/exception.h>

#include "core/cluster_version.h"
#include "rpc/wire/wire_error.h"
#include "statemachine/txn/txn.h"

namespace tailrace::rpc {
namespace {

constexpr size_t kMostUnsentBytes = 4u << 20;

using Verb = ClientRequest::Verb;

// What a frame holds beside the bytes given by the caller, for each request and each event.
constexpr size_t kRequestOverhead = 256, kEventOverhead = 16;

/// Whether the server will take it. Sent nevertheless, it would cost the connection.
Result<> check_size(const ClientRequest& request, uint64_t max_frame_bytes) {
  const size_t bytes =
      request.key.size() + request.value.size() + request.words_used + request.expected.size();
  const size_t frame = bytes + kRequestOverhead + kEventOverhead * request.event_sizes.size();
  if (max_frame_bytes == 0 || frame <= max_frame_bytes) return {};
  return make_error(ErrorCode::kInvalidArgument,
                    fmt::format("a request of {} bytes does not fit in a frame of the server, "
                                "whose max_frame_bytes is {}; server.max_value_bytes in the nodes' "
                                "files bounds a value or event, and has to be raised with it",
                                bytes, max_frame_bytes));
}

}  // namespace

Result<> RequestQueue::make_txn(ClientRequest& request) const {
  if (request.verb != Verb::kAppend || request.sent_before ||
      !knows(cluster_version_, Feature::kTxn))
    return {};
  thread_local statemachine::Txn txn;  // keeps its room
  txn.clear();
  statemachine::TxnEffect append{.kind = statemachine::TxnEffectKind::kAppend,
                                 .name = as_bytes(request.key)};
  size_t at = 0;
  for (const uint32_t bytes : request.event_sizes) {
    statemachine::TxnEvent event;
    event.data = as_bytes(std::string_view(request.value).substr(at, bytes));
    txn.add_event(append, event);
    at += bytes;
  }
  txn.then.push_back(append);
  TAILRACE_RETURN_IF_ERROR(statemachine::validate(txn, {statemachine::kMaxTxnBytes, SIZE_MAX}));
  std::string body(statemachine::encoded_bytes(txn), '\0');
  statemachine::encode_at(txn, reinterpret_cast<std::byte*>(body.data()));
  request.verb = Verb::kCommand;
  request.operation = wire::Operation::TXN;
  request.key.clear();
  request.value = std::move(body);
  request.event_sizes.clear();
  return {};
}

RequestQueue::RequestQueue(std::shared_ptr<ClientContext> context, Route route,
                           std::vector<std::string> servers)
    : context_(std::move(context)),
      route_(route),
      servers_(std::move(servers)),
      given_(servers_.size()),
      random_(random_seed()),
      retry_timer_(context_->loop.io()) {
  new_session();
}

void RequestQueue::new_session() {
  session_ = {{random_.next(), random_.next()}, 0};
}

/// A bound from long ago is found to have passed, and that answer brings the next one.
void RequestQueue::take_bound(uint64_t log_time_ns, uint64_t session_ttl_ns) {
  begins_before_ns_ = session_ttl_ns == 0 || log_time_ns > UINT64_MAX - session_ttl_ns
                          ? 0
                          : log_time_ns + session_ttl_ns;
}

void RequestQueue::submit(ClientRequest request) {
  if (context_->loop.on_thread()) {
    if (shut_down_ && !failing_) return;  // dropped, see fail_late()
    // What another thread has given before this call goes before it.
    if (inbox_filled_.load(std::memory_order_acquire)) empty_inbox();
    own_inbox_.push_back(std::move(request));
    return take_later();
  }
  bool refused = false;
  // Once it is in the inbox its answer may end the client, and the queue with it.
  std::shared_ptr<RequestQueue> first;
  {
    const MutexLock lock(inbox_mutex_);
    refused = inbox_closed_;
    if (!refused) {
      inbox_.push_back(std::move(request));
      if (!inbox_filled_.exchange(true, std::memory_order_release)) first = shared_from_this();
    }
  }
  if (refused) return finish(request, tl::unexpected(closed_error()));
  if (!first) return;
  asio::io_context& io = first->context_->loop.io();
  asio::post(io, [self = std::move(first)] { self->take_inbox(); });
}

void RequestQueue::empty_inbox() {
  const MutexLock lock(inbox_mutex_);
  std::ranges::move(inbox_, std::back_inserter(own_inbox_));
  inbox_.clear();
  inbox_filled_.store(false, std::memory_order_relaxed);
}

/// What one wake-up of the loop brings is taken together.
void RequestQueue::take_later() {
  if (shut_down_ || std::exchange(takes_later_, true)) return;
  asio::post(context_->loop.io(), [self = shared_from_this()] {
    self->takes_later_ = false;
    self->take_inbox();
  });
}

void RequestQueue::take_inbox() {
  if (shut_down_) return;
  if (inbox_filled_.load(std::memory_order_acquire)) empty_inbox();
  for (ClientRequest& request : own_inbox_) {
    least_deadline_ = std::min(least_deadline_, request.deadline);
    queued_.push_back(std::move(request));
  }
  own_inbox_.clear();
  arm_deadline();
  send_queued();
}

// ---- Sending.

void RequestQueue::send_queued() {
  if (shut_down_) return;
  if (sent_.empty() && (!bounced_.empty() || switching_)) settle_bounced();
  if (!connection_) return search();
  if (switching_ || !bounced_.empty()) return;
  while (!queued_.empty() && connection_->unsent_bytes() < kMostUnsentBytes) {
    ClientRequest& next = queued_.front();
    Result<> fits = make_txn(next);
    if (fits) fits = check_size(next, connection_->server().max_frame_bytes);
    if (!fits) {
      ClientRequest request = std::move(next);
      queued_.pop_front();
      refused(std::move(request), fits.error());
      if (shut_down_) return;
      continue;
    }
    if (next.verb == Verb::kCommand && context_->options.exactly_once) {
      // Only one session's commands are in flight: those of an older one settle first, so that a
      // gap in it cannot turn the order round.
      const statemachine::ClientId client =
          next.session.serial == 0 ? session_.client : next.session.client;
      if (!sent_.empty() && client != in_flight_client_) break;
      in_flight_client_ = client;
      if (next.session.serial == 0) {
        ++session_.serial;
        next.session = session_;
        // Kept with it: a repeat is told from a beginning by that.
        if (session_.serial == 1) next.session.begins_before_ns = begins_before_ns_;
      }
    }
    if (sent_.empty()) last_heard_ = std::chrono::steady_clock::now();
    const uint64_t id = connection_->make_id(member_);
    write_request(id, next);
    sent_.emplace_hint(sent_.end(), id, std::move(next));
    queued_.pop_front();
    if (connection_ == nullptr) return;
  }
  if (!queued_.empty()) connection_->tell_when_written(member_);
  connection_->flush_together();
}

// ---- Answers.

void RequestQueue::on_response(wire::Response::Reader response) {
  last_heard_ = std::chrono::steady_clock::now();
  asked_for_life_ = false;
  const auto found = sent_.find(response.getId());
  if (found == sent_.end()) {
    // It has timed out; or the server tells that the members have changed.
    if (response.getId() == 0 && response.isHello()) {
      const ServerHello hello = read_hello(response.getHello());
      learn(hello.servers);
      take_bound(hello.log_time_ns, hello.session_ttl_ns);
      cluster_version_ = std::max(cluster_version_, hello.cluster_version);
      if (route_ != Route::kOne && connection_)
        (void)context_->cluster.meet(hello.cluster_identity, connection_->address());
    }
    return;
  }
  const uint64_t id = found->first;
  ClientRequest request = std::move(found->second);
  sent_.erase(found);
  const size_t tried = std::exchange(tried_, 0);
  try {
    settle(id, request, response, tried);
  } catch (const kj::Exception&) {
    // A malformed answer costs the connection, and is one that was lost; this was no success.
    sent_.emplace(id, std::move(request));
    tried_ = tried;
    throw;
  }
}

void RequestQueue::settle(uint64_t id, ClientRequest& request, wire::Response::Reader response,
                          size_t tried) {
  if (response.isError()) {
    const auto wire_error = response.getError();
    const Error error = read_error(wire_error);
    if (error.code == ErrorCode::kNotLeader && route_ == Route::kLeader) {
      switching_ = true;
      problem_ = error.message;
      hint_ = to_string(wire_error.getLeaderAddress());
      return bounce(id, std::move(request));
    }
    if (wire_error.getTryAnother() && route_ != Route::kOne && servers_.size() > 1) {
      switching_ = true;
      problem_ = error.message;
      tried_ = tried;  // when all have been asked, it waits a little
      return bounce(id, std::move(request));
    }
    if (error.code == ErrorCode::kUnknownOutcome && request.session.serial != 0) {
      request.sent_before = true;
      return bounce(id, std::move(request));
    }
    return refused(std::move(request), error);
  }
  if (response.isStatus() && route_ == Route::kLeader && !response.getStatus().getServing()) {
    switching_ = true;
    problem_ = fmt::format("node {} does not lead", response.getStatus().getNode());
    hint_ = to_string(response.getStatus().getLeaderAddress());
    return bounce(id, std::move(request));
  }
  if (response.isCommand() && request.session.serial != 0) {
    const auto outcome = static_cast<statemachine::Outcome>(response.getCommand().getOutcome());
    if (outcome == statemachine::Outcome::kSerialGap ||
        outcome == statemachine::Outcome::kSessionExpired) {
      if (request.session.client == session_.client) new_session();
      if (outcome == statemachine::Outcome::kSessionExpired)
        take_bound(response.getCommand().getLogTimeNs(), response.getCommand().getSessionTtlNs());
      // Nothing was done by this attempt, and it was the first: it begins anew, in a session
      // without the gap. An earlier one may have been applied before the session was forgotten, or
      // may still come to the server by a connection that it reads late, behind what fills the gap.
      if (request.sent_before)
        return finish(request, make_error(ErrorCode::kUnknownOutcome,
                                          "sent again after a lost answer, when its session had "
                                          "ended; the write may or may not have happened"));
      request.session = {};
      return bounce(id, std::move(request));
    }
  }
  finish(request, response);
}

void RequestQueue::refused(ClientRequest request, const Error& error) {
  if (request.session.serial != 0) {
    // Its serial will never be applied: the session ends here.
    if (request.session.client == session_.client) new_session();
    if (request.sent_before && error.code != ErrorCode::kInvalidArgument)
      return finish(request, make_error(ErrorCode::kUnknownOutcome,
                                        "sent again after a lost answer, and refused then: " +
                                            error.message));
  }
  finish(request, tl::unexpected(error));
}

void RequestQueue::bounce(uint64_t id, ClientRequest request) {
  request.put_off = true;
  bounced_.emplace(id, std::move(request));
}

void RequestQueue::settle_bounced() {
  // Back to the front, in order. (Those in flight at a bounce were all answered by now.)
  for (auto it = bounced_.rbegin(); it != bounced_.rend(); ++it)
    queued_.push_front(std::move(it->second));
  bounced_.clear();
  if (!std::exchange(switching_, false) || !connection_) return;
  const std::string hint = std::exchange(hint_, {});
  const auto left = leave_connection();
  left->retire();  // what it has said to this client, it says to others
  next_server(hint == left->address() ? std::string() : hint);
  search_later();
}

}  // namespace tailrace::rpc
