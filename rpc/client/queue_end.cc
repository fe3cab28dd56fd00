// How requests end without an answer: at their deadline, when a server is silent, and with the
// client.
#include <algorithm>

#include <fmt/format.h>

#include "rpc/client/queue.h"

namespace tailrace::rpc {
namespace {

// Deadlines are kept to the moment; this is for all else.
constexpr std::chrono::milliseconds kTick{100};

using Verb = ClientRequest::Verb;

bool writes(const ClientRequest& request) {
  return request.verb == Verb::kCommand || request.verb == Verb::kAppend;
}

Error no_answer(const ClientRequest& request, bool in_flight, const std::string& problem) {
  if (!in_flight && !request.sent_before)
    return Error{ErrorCode::kUnavailable, "no server took the request in time; last: " + problem};
  const std::string earlier = request.put_off ? "; before that: " + problem : std::string();
  // Also with a session: its serial is given up here, so no one will ever ask again.
  if (writes(request))
    return Error{ErrorCode::kUnknownOutcome,
                 "no answer in time: the write may or may not have happened" + earlier};
  return Error{ErrorCode::kTimedOut, "no answer in time" + earlier};
}

/// The next moment of those at which all queues look after what is not urgent: one wake-up for all.
SteadyTime next_tick() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return SteadyTime((now / kTick + 1) * kTick);
}

}  // namespace

Error closed_error() {
  return Error{ErrorCode::kClosed, "the client is closed"};
}

bool RequestQueue::may_send_again(const ClientRequest& request) const {
  return !writes(request) || !request.sent_before || request.session.serial != 0;
}

void RequestQueue::shut_down() {
  if (std::exchange(shut_down_, true)) return;
  retry_timer_.cancel();
  context_->loop.deadlines().disarm(*this);
  stop_searching();
  leave_connection();
  close_inbox();
  empty_inbox();
  fail_all();
}

void RequestQueue::close_inbox() {
  const MutexLock lock(inbox_mutex_);
  inbox_closed_ = true;
}

/// The queue is shut down: what it holds fails.
void RequestQueue::fail_all() {
  failing_ = true;
  const auto fail = [this](ClientRequest& request) {
    const bool unknown = writes(request) && request.sent_before;
    end(std::move(request), Error{unknown ? ErrorCode::kUnknownOutcome : ErrorCode::kClosed,
                                  "the client was closed before the answer came"});
  };
  for (auto& [id, request] : std::exchange(bounced_, {}))
    fail(request);
  for (auto& [id, request] : std::exchange(sent_, {})) {
    request.sent_before = true;
    fail(request);
  }
  for (ClientRequest& request : std::exchange(queued_, {}))
    fail(request);
  for (ClientRequest& request : std::exchange(own_inbox_, {}))
    end(std::move(request), closed_error());
  finish_ending();
}

void RequestQueue::fail_late() {
  failing_ = false;
  for (ClientRequest& request : std::exchange(own_inbox_, {}))
    end(std::move(request), closed_error());
  finish_ending();
}

void RequestQueue::end(ClientRequest request, Error error) {
  ending_.emplace_back(std::move(request), std::move(error));
}

void RequestQueue::finish_ending() {
  while (!ending_.empty()) {
    auto [request, error] = std::move(ending_.front());
    ending_.pop_front();
    finish(request, tl::unexpected(std::move(error)));
  }
}

void RequestQueue::finish(ClientRequest& request, Result<wire::Response::Reader> result) {
  if (!request.done) return;
  request.done(std::move(result));  // keeps it when the answer is malformed, see on_response()
  request.done = nullptr;
}

// ---- Deadlines.

void RequestQueue::arm_deadline() {
  if (shut_down_ || (queued_.empty() && sent_.empty() && bounced_.empty())) return;
  DeadlineList& deadlines = context_->loop.deadlines();
  if (deadlines.armed(*this) && armed_for_ <= least_deadline_) return;
  armed_for_ = std::min(next_tick(), least_deadline_);
  deadlines.arm(*this, armed_for_);
}

void RequestQueue::on_deadline() {
  const auto self = shared_from_this();
  expire();
  check_silence();
  send_queued();
  arm_deadline();
}

void RequestQueue::check_silence() {
  if (!connection_ || sent_.empty()) return;
  const auto silence = std::chrono::steady_clock::now() - last_heard_;
  if (silence < kSilence) return;
  if (!asked_for_life_) {
    // Whoever merely waits, for a majority say, answers this at once.
    asked_for_life_ = true;
    OutgoingMessage message;
    auto question = message.init<wire::Request>();
    question.setId(connection_->make_id(member_));
    question.setStatus();
    connection_->send(message.builder());
    connection_->flush();
  } else if (silence > 2 * kSilence) {
    asked_for_life_ = false;
    const auto left = leave_connection();
    left->retire();
    const std::string address = left->address();
    on_closed(Error{ErrorCode::kUnavailable, fmt::format("{} does not answer", address)});
  }
}

void RequestQueue::expire() {
  const SteadyTime now = std::chrono::steady_clock::now();
  if (least_deadline_ > now) return;
  const auto tell = [this](ClientRequest& request, bool in_flight) {
    std::string problem =
        problem_.empty() ? fmt::format("no answer from {}", fmt::join(servers_, ", ")) : problem_;
    // That another server cannot be reached says less.
    if (!said_.empty() && said_ != problem) problem = said_ + "; " + problem;
    // Of one server that was named, what its last attempt came to says all.
    const bool plain = route_ == Route::kOne && !in_flight && !request.sent_before;
    Error error =
        plain ? Error{ErrorCode::kUnavailable, problem} : no_answer(request, in_flight, problem);
    end(std::move(request), std::move(error));
  };
  least_deadline_ = SteadyTime::max();
  const auto sweep = [&](std::map<uint64_t, ClientRequest>& requests, bool in_flight) {
    for (auto it = requests.begin(); it != requests.end();) {
      if (it->second.deadline > now) {
        least_deadline_ = std::min(least_deadline_, it->second.deadline);
        ++it;
        continue;
      }
      tell(it->second, in_flight);
      it = requests.erase(it);
    }
  };
  sweep(sent_, true);
  sweep(bounced_, false);
  for (auto it = queued_.begin(); it != queued_.end();) {
    if (it->deadline > now) {
      least_deadline_ = std::min(least_deadline_, it->deadline);
      ++it;
      continue;
    }
    tell(*it, false);
    it = queued_.erase(it);
  }
  if (queued_.empty() && bounced_.empty()) stop_searching();
  finish_ending();
}

}  // namespace tailrace::rpc
