// Reads of keys.
//
// A linearizable read is answered by a leader that a majority has confirmed as such after the read
// arrived (replication/node.h), from a state that holds what was committed when it was asked. Every
// write that anyone was answered before the read began is among that. All reads that come to a
// thread while a confirmation is on its way share the next one. The only voter of a cluster need
// not ask.
//
// A bounded read is answered by any node whose state is known to be fresh enough: what a node knows
// of that needs no clocks to agree (replication/protocol/messages.h, Data).
//
// A value that is on disk is fetched by a thread of the store: an io thread never waits for one.
#include <limits>

#include <fmt/format.h>

#include "rpc/server/connection.h"

namespace tailrace::rpc {

namespace {
// What is shorter finds room in a connection's fair share.
constexpr size_t kLargeValueBytes = 4096;

/// One that this program does not know was refused before.
ReadLevelKind counted_level(wire::ReadLevel level) {
  switch (level) {
    case wire::ReadLevel::LINEARIZABLE:
      return ReadLevelKind::kLinearizable;
    case wire::ReadLevel::ANY:
      return ReadLevelKind::kAny;
    case wire::ReadLevel::AT_LEAST:
      return ReadLevelKind::kAtLeast;
    case wire::ReadLevel::BOUNDED:
      return ReadLevelKind::kBounded;
  }
  return ReadLevelKind::kAny;
}
}  // namespace

bool Connection::refuse_unhealthy(const Asked& asked) {
  if (const auto healthy = check_health(); !healthy) {
    reply_error(asked, healthy.error());
    return true;
  }
  return false;
}

/// Nobody tells a removed node what is committed.
Result<> Connection::check_member() {
  const replication::NodeStatus& now = status();
  if (!now.removed) return {};
  return make_error(
      ErrorCode::kUnavailable,
      fmt::format("node {} is not a member of the cluster and answers no reads; ask a "
                  "member (`tailrace member list`)",
                  now.self.value));
}

/// A state that is wrong, or is not applied any more, is worse than none: a client finds another.
Result<> Connection::check_health() {
  TAILRACE_RETURN_IF_ERROR(check_member());
  const replication::NodeStatus& now = status();
  if (now.unhealthy.empty()) return {};
  return make_error(
      ErrorCode::kUnavailable,
      fmt::format("node {} answers no reads; ask another: {}", now.self.value, now.unhealthy));
}

bool Connection::refuse_read(const Asked& asked, const ReadNeeds& needs) {
  if (needs.level == wire::ReadLevel::LINEARIZABLE && refuse_unless_leader(asked)) return true;
  if (refuse_unhealthy(asked)) return true;
  switch (needs.level) {
    case wire::ReadLevel::AT_LEAST:
      return refuse_beyond_end(asked, needs);
    case wire::ReadLevel::ANY:
    case wire::ReadLevel::LINEARIZABLE:
      return false;
    case wire::ReadLevel::BOUNDED: {
      const uint64_t bound = staleness_bound_ms();
      if (bound <= needs.staleness_ms) return false;
      const bool known = bound != std::numeric_limits<uint64_t>::max();
      reply_error(
          asked,
          Error{ErrorCode::kUnavailable,
                fmt::format("the state of node {} may be {} old, {} ms were asked for; ask for a "
                            "larger bound, or --read any",
                            status().self.value, known ? fmt::format("{} ms", bound) : "of any age",
                            needs.staleness_ms)},
          true);
      return true;
    }
  }
  reply_error(asked, Error{ErrorCode::kUnsupported, "this server does not know the read level"});
  return true;
}

/// A leader has all that its epoch and those before it have acknowledged. So what is beyond its end
/// is a mistake of whoever asks, and no wait makes it come.
bool Connection::refuse_beyond_end(const Asked& asked, const ReadNeeds& needs) {
  const replication::NodeStatus& now = status();
  if (!now.serving || needs.epoch == Epoch{} || needs.epoch > now.epoch) return false;
  const Address end = context_.to.log->tail();
  if (needs.address <= end) return false;
  reply_error(
      asked, Error{ErrorCode::kOutOfRange,
                   fmt::format("no state of epoch {} reaches to address {}: the log of "
                               "node {}, which leads, ends at {}",
                               needs.epoch.value, needs.address.value, now.self.value, end.value)});
  return true;
}

void Connection::reply_unreadable(const Asked& asked, wire::ReadLevel level, const Error& error) {
  const bool not_here_yet =
      level == wire::ReadLevel::AT_LEAST && error.code == ErrorCode::kTimedOut;
  if (!not_here_yet) return reply_error(asked, error);
  send_error(asked, error, false);
  answered_with(asked, RequestCounts::kElsewhere);
}

Result<> Connection::check_point(const ReadNeeds& needs) const {
  if (needs.level != wire::ReadLevel::AT_LEAST) return {};
  return check_named(*context_.to.log, context_.to.watermarks->applied_point(),
                     {needs.epoch, needs.address});
}

/// A node whose log does not say it, for nothing was written yet, names the epoch that it acts in.
statemachine::LogPoint Connection::shown_point() {
  statemachine::LogPoint point = context_.to.watermarks->applied_point();
  if (point.epoch == Epoch{}) point.epoch = status().epoch;
  return point;
}

ShownState Connection::shown_state() {
  ShownState shown;
  shown.at = std::chrono::steady_clock::now();
  shown.point = shown_point();
  shown.bound_ms = staleness_bound_ms();
  return shown;
}

wire::Response::Builder Connection::begin_read(OutgoingMessage& message, uint64_t id,
                                               const ShownState& shown) {
  uint64_t bound_ms = shown.bound_ms;
  if (bound_ms != std::numeric_limits<uint64_t>::max()) {
    const auto since = std::chrono::steady_clock::now() - shown.at;
    bound_ms += static_cast<uint64_t>(std::chrono::ceil<std::chrono::milliseconds>(since).count());
  }
  return begin_response(message, id, shown.point, bound_ms);
}

bool Connection::readable_now(const ReadNeeds& needs) {
  const statemachine::Watermarks& marks = *context_.to.watermarks;
  switch (needs.level) {
    case wire::ReadLevel::LINEARIZABLE:
      return status().alone && marks.committed() <= marks.applied();
    case wire::ReadLevel::AT_LEAST:
      return needs.address <= marks.applied() && needs.epoch <= status().epoch;
    case wire::ReadLevel::ANY:
    case wire::ReadLevel::BOUNDED:
      break;
  }
  return true;
}

void Connection::when_readable(const ReadNeeds& needs, size_t key_bytes,
                               std::function<void(Connection&, Result<>)> then) {
  if (readable_now(needs)) return then(*this, check_point(needs));
  began(key_bytes);
  const uint64_t wait = ++last_wait_;
  waiting_reads_.emplace(wait, WaitingRead{needs, key_bytes, std::move(then)});
  auto finish = [weak = weak_from_this(), wait](Result<> arrived) {
    const auto self = std::static_pointer_cast<Connection>(weak.lock());
    if (!self || self->closed()) return;
    self->read_arrived(wait, std::move(arrived));
    self->thread_.touch(self);
  };
  if (needs.level != wire::ReadLevel::AT_LEAST && !status().alone) {
    auto confirmed = [&thread = thread_, deadline = needs.deadline,
                      finish = std::move(finish)](const Result<Address>& committed) {
      if (!committed) return finish(tl::unexpected(committed.error()));
      thread.when_applied(*committed, Epoch{}, deadline, finish);
    };
    return thread_.confirm_leadership(needs.deadline, std::move(confirmed));
  }
  const bool named = needs.level == wire::ReadLevel::AT_LEAST;
  const Address address = named ? needs.address : context_.to.watermarks->committed();
  const auto waiter = thread_.when_applied(address, named ? needs.epoch : Epoch{}, needs.deadline,
                                           std::move(finish));
  if (const auto found = waiting_reads_.find(wait); found != waiting_reads_.end())
    found->second.waiter = waiter;
}

void Connection::read_arrived(uint64_t wait, Result<> arrived) {
  auto taken = waiting_reads_.extract(wait);
  auto answer = [read = std::move(taken.mapped()),
                 arrived = std::move(arrived)](Connection& connection) mutable {
    connection.ended(read.key_bytes);
    connection.status_.look_anew();  // what it waited for has come in this turn
    if (arrived) arrived = connection.check_health();
    if (arrived) arrived = connection.check_point(read.needs);
    read.then(connection, std::move(arrived));
  };
  answer_when_room(std::move(answer));
}

void Connection::handle_get(uint64_t id, wire::Get::Reader request) {
  const Asked asked{id, RequestKind::kGet, arrived_};
  const ByteSpan key = to_span(request.getKey());
  // No such key can exist: whoever asks for it has made a mistake, and is told.
  if (const auto checked = statemachine::validate_key(key); !checked)
    return reply_error(asked, checked.error());
  const ReadNeeds needs = needs_of(request);
  if (refuse_read(asked, needs)) return;
  if (readable_now(needs)) {
    if (const auto named = check_point(needs); !named) return reply_error(asked, named.error());
    return answer_get(asked, key, needs);
  }
  auto then = [asked, name = to_string(key), needs](Connection& self, Result<> arrived) {
    if (arrived)
      self.answer_get(asked, as_bytes(name), needs);
    else
      self.reply_unreadable(asked, needs.level, arrived.error());
  };
  when_readable(needs, key.size(), std::move(then));
}

void Connection::answer_get(const Asked& asked, ByteSpan key, const ReadNeeds& needs) {
  OutgoingMessage message;
  // The point first: the state that is read then is this one or newer.
  auto response = begin_response(message, asked.id, shown_point(), staleness_bound_ms());
  std::string value;
  using Outcome = statemachine::StateMachine::ReadOutcome;
  const auto found = context_.to.state_machine->try_read(key, value);
  if (!found) return reply_error(asked, found.error());
  if (*found == Outcome::kCold) {
    began(key.size());
    return answer_cold_get(asked, to_string(key), needs.level);
  }
  if (value.size() > kLargeValueBytes && !has_room_for(value.size()))
    return answer_get_later(asked, key, needs, value.size());
  thread_.counts().read(counted_level(needs.level), ReadFrom::kMemory);
  auto answer = response.initGet();
  answer.setFound(*found == Outcome::kFound);
  if (*found == Outcome::kFound) answer.setValue(to_data(value));
  reply(asked, message);
}

/// Once there is room for it. It is read again then: a newer state is as good.
void Connection::answer_get_later(const Asked& asked, ByteSpan key, const ReadNeeds& needs,
                                  size_t value_bytes) {
  began(key.size());
  auto answer = [asked, name = to_string(key), needs](Connection& self) {
    self.ended(name.size());
    // It may have become too old meanwhile.
    const bool bounded = needs.level == wire::ReadLevel::BOUNDED;
    if (!bounded || !self.refuse_read(asked, needs)) self.answer_get(asked, as_bytes(name), needs);
  };
  to_answer_.push_back({value_bytes, std::move(answer)});
}

bool Connection::has_room_for_cold_read() {
  if (unsent_bytes() == 0 && cold_in_flight_ == 0) return true;
  return has_room_for_answer() && has_room_for(context_.options.max_value_bytes);
}

void Connection::answer_cold_get(const Asked& asked, std::string key, wire::ReadLevel level) {
  auto start = [weak = weak_from_this(), asked, name = std::move(key), level] {
    const auto self = std::static_pointer_cast<Connection>(weak.lock());
    if (!self || self->closed()) return false;
    if (self->has_room_for_cold_read()) {
      self->read_cold(asked, name, level);
      return true;
    }
    auto again = [asked, name, level](Connection& connection) {
      connection.answer_cold_get(asked, name, level);
    };
    self->to_answer_.push_back({0, std::move(again)});
    self->thread_.look_again(self, false);
    return false;
  };
  thread_.cold_reads().begin(std::move(start));
}

void Connection::read_cold(const Asked& asked, const std::string& key, wire::ReadLevel level) {
  ++cold_in_flight_;
  const ShownState shown = shown_state();
  auto done = [&thread = thread_, poster = thread_.poster(), back = come_back(), asked, shown,
               level, key_bytes = key.size()](Result<bool> found, std::string value) {
    poster->post([&thread] { thread.cold_reads().ended(); });
    back([asked, shown, level, key_bytes, found = std::move(found),
          value = std::move(value)](Connection& self) {
      self.ended(key_bytes);
      --self.cold_in_flight_;
      if (!found) return self.reply_error(asked, found.error());
      self.thread_.counts().read(counted_level(level), ReadFrom::kDisk);
      OutgoingMessage message;
      auto answer = self.begin_read(message, asked.id, shown).initGet();
      answer.setFound(*found);
      if (*found) answer.setValue(to_data(value));
      self.reply(asked, message);
    });
  };
  context_.to.state_machine->read_async(as_bytes(key), std::move(done));
}

}  // namespace tailrace::rpc
