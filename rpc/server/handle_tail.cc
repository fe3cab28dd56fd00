// Tails: pushes of committed records, as far as the client's credit goes. The log is read on the io
// thread, a bounded stretch at a time.
#include <algorithm>
#include <limits>

#include <asio/post.hpp>
#include <fmt/format.h>

#include "rpc/server/connection.h"

namespace tailrace::rpc {
namespace {

constexpr size_t kPushBytes = 256u << 10;
constexpr size_t kPushRecords = 4096;
constexpr size_t kSmallPushBytes = 16u << 10;  // what a connection may hold when memory is short
constexpr int kPushesInTurn = 4;
constexpr size_t kMostTailUnsentBytes = 2u << 20;
constexpr uint64_t kMostCredit = 256u << 20;
constexpr size_t kMostSubscriptions = 64;
constexpr uint64_t kMostTails = 8192;  // of all connections
constexpr uint64_t kLeastReadAhead = 16u << 10, kMostReadAhead = 1u << 20;
// Of a record's place in a push, beside its payload.
constexpr size_t kRecordOverhead = 48;

/// Of an address at which no sound record stands: whether one merely does not begin there.
std::optional<Error> within_a_record(fasterlog::Log& log, Address from) {
  const auto batch = log.mark_end_at(from);
  if (!batch) return std::nullopt;
  fasterlog::Log::ScanOptions options;
  options.with_commit_marks = true;
  const auto scanner = log.scan(*batch, options);
  Address before = *batch;
  for (;;) {
    const auto next = scanner->next(Address::max());
    if (!next || !*next || (*next)->address == from) return std::nullopt;
    const fasterlog::Record& record = **next;
    const bool within = record.address < from;
    if (within) before = record.address;
    if (within && record.end <= from) continue;
    return Error{
        ErrorCode::kInvalidArgument,
        fmt::format("no record begins at address {}; the nearest where one begins or "
                    "ends are {} and {}",
                    from.value, before.value, (within ? record.end : record.address).value)};
  }
}

/// Of the same, when too many have asked.
Error not_looked_at(Address from) {
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("no sound record begins at address {}; ask again in a moment to hear "
                           "which begin near it",
                           from.value)};
}

}  // namespace

void Connection::handle_tail(uint64_t id, wire::Tail::Reader request) {
  const Asked asked{id, RequestKind::kTail, arrived_};
  if (subscriptions_.size() >= kMostSubscriptions || subscriptions_.contains(id))
    return reply_error(asked, Error{ErrorCode::kFailedPrecondition,
                                    "too many tails on this connection, or one of the same id"});
  if (context_.tails.load(std::memory_order_relaxed) >= kMostTails)
    return reply_error(asked, Error{ErrorCode::kResourceExhausted,
                                    fmt::format("{} tails are open, the most that this server "
                                                "takes; end one, or tail from another node",
                                                kMostTails)});
  if (const auto member = check_member(); !member) return reply_error(asked, member.error());
  fasterlog::Log& log = *context_.to.log;
  const Address readable = context_.to.watermarks->applicable();
  Address from{request.getFrom()};
  if (request.getFromEnd())
    from = readable;
  else if (from.value == 0)
    from = log.begin();
  Address to{request.getTo()};
  if (request.getFollow())
    to = to.value == 0 ? Address::max() : to;
  else
    to = to.value == 0 ? readable : std::min(to, readable);
  if (from < log.begin())
    return reply_error(
        asked, Error{ErrorCode::kTruncated, "the log begins at address " +
                                                std::to_string(log.begin().value) +
                                                "; what stood before it was truncated (more "
                                                "of it is kept by "
                                                "state_machine.retention_bytes; events of streams "
                                                "are read by their streams)"});
  if (from > readable && !request.getFollow())
    return reply_error(
        asked, Error{ErrorCode::kOutOfRange,
                     fmt::format("address {} is beyond the end of what is committed, which "
                                 "is {} on node {}; a tail that follows (--follow) waits for it",
                                 from.value, readable.value, status().self.value)});
  Subscription subscription;
  subscription.asked = asked;
  subscription.to = to;
  subscription.credit = static_cast<int64_t>(std::min(request.getCreditBytes(), kMostCredit));
  subscription.position = from;
  OutgoingMessage message;
  auto start = begin_response(message, id).initTailStart();
  start.setFrom(from.value);
  start.setTo(to.value);
  send(message.builder());
  subscriptions_.emplace(id, std::move(subscription));
  context_.tails.fetch_add(1, std::memory_order_relaxed);
  thread_.set_tailing(*this, true);
  pump_tails();
}

void Connection::handle_credit(uint64_t id, uint64_t bytes) {
  const auto found = subscriptions_.find(id);
  if (found == subscriptions_.end()) return;  // it has just ended
  const uint64_t more = std::min(bytes, kMostCredit);
  found->second.credit = std::min(found->second.credit + static_cast<int64_t>(more),
                                  static_cast<int64_t>(kMostCredit));
  thread_.set_tailing(*this, true);
  pump_tails();
}

void Connection::cancel_tail(uint64_t id) {
  if (subscriptions_.erase(id) == 0) return;
  context_.tails.fetch_sub(1, std::memory_order_relaxed);
  if (subscriptions_.empty()) thread_.set_tailing(*this, false);
}

void Connection::end_tails(const Error& error) {
  context_.tails.fetch_sub(subscriptions_.size(), std::memory_order_relaxed);
  for (const auto& [id, subscription] : std::exchange(subscriptions_, {}))
    reply_error(subscription.asked, error);
  thread_.set_tailing(*this, false);
}

void Connection::pump_tails() {
  if (closed() || subscriptions_.empty()) return;
  bool more = false, hungry = false;
  tail_has_no_room_ = false;
  for (auto it = subscriptions_.begin(); it != subscriptions_.end();) {
    Pumped pumped = Pumped::kMore;
    for (int i = 0; i < kPushesInTurn && pumped == Pumped::kMore; ++i)
      pumped = pump(it->second);
    more |= pumped == Pumped::kMore;
    if (pumped == Pumped::kEnded) {
      it = subscriptions_.erase(it);
      context_.tails.fetch_sub(1, std::memory_order_relaxed);
      continue;
    }
    // Its memory is given back until there is something to read again.
    if (pumped == Pumped::kIdle || pumped == Pumped::kNoRoom) it->second.scanner.reset();
    tail_has_no_room_ |= pumped == Pumped::kNoRoom;
    hungry |= it->second.credit > 0;
    ++it;
  }
  // What has no credit need not hear of news.
  if (!hungry) thread_.set_tailing(*this, false);
  flush();
  // Unsent bytes: on_written() goes on. Else let others have their turn first.
  if (!more || pump_posted_ || unsent_bytes() > kMostTailUnsentBytes) return;
  pump_posted_ = true;
  auto again = [weak = weak_from_this()] {
    const auto self = std::static_pointer_cast<Connection>(weak.lock());
    if (!self) return;
    self->pump_posted_ = false;
    self->pump_tails();
  };
  asio::post(executor(), std::move(again));
}

std::unique_ptr<fasterlog::LogScanner> Connection::scan_to(const Subscription& subscription,
                                                           Address limit, size_t push) {
  const Address from = subscription.position;
  const uint64_t there = limit > from ? limit - from : 0;
  // No more than may be sent in this turn: the rest would be read, thrown away and read again, a
  // hundred times where memory is short. And little while it is not known that a record begins
  // there at all.
  const auto credit = static_cast<uint64_t>(std::max<int64_t>(subscription.credit, 0));
  const uint64_t most = push == kPushBytes ? kMostReadAhead : kLeastReadAhead;
  const uint64_t wanted = subscription.shown ? std::min(there, credit) : 0;
  fasterlog::Log::ScanOptions options;
  options.read_ahead_bytes = std::clamp(wanted, kLeastReadAhead, most);
  return context_.to.log->scan(from, options);
}

Connection::Pumped Connection::pump(Subscription& subscription) {
  if (unsent_bytes() > kMostTailUnsentBytes) return Pumped::kMore;
  if (unsent_bytes() > 0 && !has_room_for(kSmallPushBytes)) return Pumped::kNoRoom;
  if (subscription.credit <= 0) return Pumped::kIdle;
  // Its size is known: it is not read again to find that there is still no room.
  if (subscription.large > 0 && !has_room_for(subscription.large)) return Pumped::kNoRoom;
  subscription.large = 0;
  struct Found {
    fasterlog::Record record;
    size_t offset;
  };
  std::vector<Found> found;
  std::vector<std::byte>& payloads = thread_.encode_buffer();
  payloads.clear();
  const Address limit = std::min(subscription.to, context_.to.watermarks->applicable());
  const size_t most = has_room_for(kPushBytes) ? kPushBytes : kSmallPushBytes;
  if (!subscription.scanner) subscription.scanner = scan_to(subscription, limit, most);
  std::optional<Error> failure;
  size_t bytes = 0;
  bool no_room = false;
  while (bytes < most && found.size() < kPushRecords &&
         static_cast<int64_t>(bytes) < subscription.credit) {
    auto next = subscription.scanner->next(limit);
    if (!next && next.error().code == ErrorCode::kOutOfRange) {
      // The client has committed records of another node that this one lacks, and what stood here
      // instead was cut off. None of that was shown: it waits at the same place.
      subscription.scanner = scan_to(subscription, limit, most);
      next = subscription.scanner->next(limit);
    }
    if (!next) failure = std::move(next).error();
    if (failure || !*next) break;
    no_room = (*next)->payload.size() > kSmallPushBytes && !has_room_for((*next)->payload.size());
    if (no_room) {
      subscription.large = (*next)->payload.size();
      break;
    }
    found.push_back({**next, payloads.size()});
    payloads.insert(payloads.end(), (*next)->payload.begin(), (*next)->payload.end());
    bytes += (*next)->payload.size() + kRecordOverhead;
    subscription.position = subscription.scanner->position();
  }
  if (!failure && !no_room) subscription.position = subscription.scanner->position();
  if (!found.empty()) {
    OutgoingMessage message;
    auto records = begin_response(message, subscription.asked.id)
                       .initRecords(static_cast<unsigned>(found.size()));
    for (unsigned i = 0; i < found.size(); ++i) {
      const fasterlog::Record& record = found[i].record;
      auto to = records[i];
      to.setAddress(record.address.value);
      to.setEnd(record.end.value);
      to.setEpoch(record.epoch.value);
      to.setKind(static_cast<uint8_t>(record.kind));
      to.setPayload(to_data(ByteSpan(payloads).subspan(found[i].offset, record.payload.size())));
    }
    send(message.builder());
    pushed_ = std::chrono::steady_clock::now();
    subscription.credit -= static_cast<int64_t>(bytes);
  }
  thread_.trim_encode_buffer();
  const bool first_shown = !found.empty() && !std::exchange(subscription.shown, true);
  if (failure) {
    // An address that was asked for, and nothing was read from it yet.
    const Address at = subscription.scanner->position();
    if (failure->code == ErrorCode::kCorruption && !subscription.shown)
      failure = thread_.may_look_around() ? within_a_record(*context_.to.log, at).value_or(*failure)
                                          : not_looked_at(at);
    if (failure->code == ErrorCode::kCorruption || failure->code == ErrorCode::kIo)
      failure = with_context(fmt::format("the log at address {} cannot be read", at.value),
                             std::move(*failure));
    reply_error(subscription.asked, *failure);
    return Pumped::kEnded;
  }
  // The next one may read further ahead.
  if (first_shown) subscription.scanner.reset();
  if (no_room) return Pumped::kNoRoom;
  const bool full = bytes >= most || found.size() >= kPushRecords;
  if (full) return most == kPushBytes || unsent_bytes() > 0 ? Pumped::kMore : Pumped::kNoRoom;
  if (static_cast<int64_t>(bytes) >= subscription.credit && subscription.credit <= 0)
    return Pumped::kIdle;
  if (limit < subscription.to) return Pumped::kIdle;
  OutgoingMessage message;
  begin_response(message, subscription.asked.id).setTailEnd(subscription.position.value);
  reply(subscription.asked, message);
  return Pumped::kEnded;
}

}  // namespace tailrace::rpc
