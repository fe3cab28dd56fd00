// What a connection may hold, and when it has to go: memory, requests in flight, time.
#include <algorithm>
#include <utility>

#include "rpc/server/connection.h"

namespace tailrace::rpc {
namespace {

// A client that does not read its answers is not read either.
constexpr size_t kMostAnswersUnsentBytes = 8u << 20;
// While memory is short, who holds some and does not go on has so long.
constexpr std::chrono::seconds kPatienceWhenShort{3};
// So much may come without asking for memory: what each connection has anyhow.
constexpr size_t kSmallBufferBytes = 64u << 10;
// The memory of answers that were sent is kept for the next ones for so long.
constexpr std::chrono::milliseconds kKeptFor{500};
// What a request in flight takes beside its answer.
constexpr size_t kRequestBytes = 512;
constexpr size_t kSubscriptionBytes = 256;
constexpr uint32_t kMostScansInFlight = 4;
// So many times as long as an idle connection, one may wait that gets nothing.
constexpr int kPatienceForReads = 10, kPatienceForCredit = 60;

}  // namespace

bool Connection::held_for_limits() {
  account();
  if (in_flight_ >= context_.options.max_in_flight || !to_answer_.empty() ||
      scans_in_flight_ >= kMostScansInFlight || unsent_bytes() > kMostAnswersUnsentBytes)
    return true;
  // One at a time goes on however little there is.
  const bool others = in_flight_ > 0 || unsent_bytes() > 0;
  return others && !memory_.has_room(kRequestBytes);
}

bool Connection::may_buffer(size_t bytes) {
  return bytes <= kSmallBufferBytes || has_room_for(bytes);
}

void Connection::account() {
  const uint64_t buffered = std::max(buffered_bytes(), kSmallBufferBytes) - kSmallBufferBytes;
  // What is kept for the next answers.
  const uint64_t kept = outgoing_capacity(), used = std::max(unsent_bytes(), kSmallBufferBytes);
  memory_.holds(buffered + unsent_bytes() + (kept - std::min(kept, used)) +
                answered_.capacity() * sizeof(Answered) + uint64_t{in_flight_} * kRequestBytes +
                keys_in_flight_bytes_ + answers_in_flight_bytes_ +
                uint64_t{cold_in_flight_} * context_.options.max_value_bytes +
                scans_in_flight_ * ScanTable::kSliceBytes +
                subscriptions_.size() * kSubscriptionBytes);
}

bool Connection::has_room_for_answer() {
  if (unsent_bytes() == 0) return true;
  account();
  return unsent_bytes() <= kMostAnswersUnsentBytes && memory_.has_room(0);
}

void Connection::answer_when_room(std::function<void(Connection&)> answer) {
  if (to_answer_.empty() && has_room_for_answer()) return answer(*this);
  to_answer_.push_back({0, std::move(answer)});
}

void Connection::answer_what_waits() {
  // What finds no room after all comes behind the others.
  for (size_t left = to_answer_.size(); left > 0 && !closed() && has_room_for_answer(); --left) {
    if (to_answer_.empty()) return;
    const WaitingAnswer next = std::move(to_answer_.front());
    to_answer_.pop_front();
    if (next.bytes == 0 || memory_.has_room(next.bytes))
      next.answer(*this);
    else
      to_answer_.push_back(next);
  }
  if (!to_answer_.empty())
    thread_.look_again(std::static_pointer_cast<Connection>(shared_from_this()), false);
}

void Connection::look_at_time(SteadyTime now) {
  const ServerOptions& options = context_.options;
  if (unsent_bytes() == 0 && now - used_ > kKeptFor) give_back();
  account();
  const bool is_short = memory_.held() > 0 && context_.memory.is_short();
  const auto at_most = [&](std::chrono::milliseconds time) {
    return is_short ? std::min<std::chrono::milliseconds>(time, kPatienceWhenShort) : time;
  };
  if (const auto since = unfinished_since();
      since && now - *since > at_most(options.frame_timeout)) {
    context_.probe.timed_out.add();
    return close("a frame did not come to its end in time");
  }
  if (const auto progress = sending_progress(); !progress || *progress != sending_.progress) {
    sending_ = {progress.value_or(0), now};
  } else if (now - sending_.since > at_most(options.unread_timeout)) {
    context_.probe.timed_out.add();
    return close("the answers were not read for too long");
  }
  const auto idle = idle_for(now);
  if (!idle) return;
  if (*idle > options.idle_timeout) {
    context_.probe.timed_out.add();
    return close_after_sending("idle for too long");
  }
}

std::optional<uint64_t> Connection::tail_lag() const {
  const Address end = context_.to.watermarks->applicable();
  std::optional<uint64_t> lag;
  for (const auto& [id, tail] : subscriptions_)
    lag = std::max(lag, std::optional(tail.position < end ? end - tail.position : 0));
  return lag;
}

std::optional<std::chrono::nanoseconds> Connection::idle_for(SteadyTime now) const {
  if (in_flight_ > 0 || !subscriptions_.empty() || unsent_bytes() > 0 || closed())
    return std::nullopt;
  return now - used_;
}

std::optional<std::chrono::nanoseconds> Connection::waits_in_vain_for(SteadyTime now) const {
  const size_t waits = waiting_reads_.size() + digests_in_flight_ + checkpoints_in_flight_;
  if (in_flight_ != waits || unsent_bytes() > 0 || closed()) return std::nullopt;
  const bool fed =
      std::ranges::any_of(subscriptions_, [](const auto& one) { return one.second.credit > 0; });
  if (fed || (waits == 0 && subscriptions_.empty())) return std::nullopt;
  const int patience = subscriptions_.empty() ? kPatienceForReads : kPatienceForCredit;
  const std::chrono::nanoseconds time = now - std::max(used_, pushed_);
  if (time < patience * context_.options.evict_after) return std::nullopt;
  return time;
}

bool Connection::has_room_for(size_t bytes) {
  account();
  if (memory_.has_room(bytes)) return true;
  thread_.look_again(std::static_pointer_cast<Connection>(shared_from_this()), false);
  return false;
}

}  // namespace tailrace::rpc
