#include "rpc/connection.h"

#include <limits>

#include <asio/post.hpp>
#include <fmt/format.h>

#include "observability/logging.h"
#include "rpc/hello.h"
#include "rpc/wire_error.h"

namespace tailrace::rpc {
namespace {

// A client that does not read its answers is not read either.
constexpr size_t kMostAnswersUnsentBytes = 8u << 20;
constexpr std::chrono::milliseconds kLongestWait{30000};

}  // namespace

Connection::Connection(asio::ip::tcp::socket socket, IoThread& thread)
    : FramedSocket(std::move(socket), thread.context().options.max_frame_bytes,
                   thread.context().probe.traffic),
      thread_(thread),
      context_(thread.context()),
      hello_timer_(executor()) {}

void Connection::begin() {
  hello_timer_.expires_after(context_.options.hello_timeout);
  auto late = [weak = weak_from_this()](const std::error_code& error) {
    const auto self = std::static_pointer_cast<Connection>(weak.lock());
    if (!error && self && !self->greeted_) self->close("no hello in time");
  };
  hello_timer_.async_wait(std::move(late));
  start();
}

FramedSocket::Take Connection::on_frame(capnp::MessageReader& message) {
  if (in_flight_ >= context_.options.max_in_flight || unsent_bytes() > kMostAnswersUnsentBytes) {
    held_for_limit_ = true;
    thread_.look_again(std::static_pointer_cast<Connection>(shared_from_this()), false);
    return Take::kHold;
  }
  return dispatch(message.getRoot<wire::Request>());
}

FramedSocket::Take Connection::dispatch(wire::Request::Reader request) {
  const uint64_t id = request.getId();
  if (!greeted_ && !request.isHello()) {
    close("the first message was no hello");
    return Take::kDone;
  }
  switch (request.which()) {
    case wire::Request::HELLO:
      handle_hello(id, request.getHello());
      break;
    case wire::Request::COMMAND:
      return handle_command(id, request.getCommand());
    case wire::Request::APPEND:
      return handle_append(id, request.getAppend());
    case wire::Request::GET:
      handle_get(id, request.getGet());
      break;
    case wire::Request::SCAN:
      handle_scan(id, request.getScan());
      break;
    case wire::Request::TAIL:
      handle_tail(id, request.getTail());
      break;
    case wire::Request::CREDIT:
      handle_credit(id, request.getCredit().getBytes());
      break;
    case wire::Request::CANCEL_TAIL:
      cancel_tail(id);
      break;
    case wire::Request::STATUS:
      handle_status(id);
      break;
    case wire::Request::CHECKPOINT:
      handle_checkpoint(id);
      break;
    case wire::Request::DIGEST:
      handle_digest(id, request.getDigest());
      break;
    case wire::Request::TRANSFER:
      handle_transfer(id, NodeId{request.getTransfer()});
      break;
    case wire::Request::PROMOTE:
      handle_promote(id);
      break;
    case wire::Request::CHANGE_MEMBER:
      handle_change_member(id, request.getChangeMember());
      break;
    default: {
      const Asked asked{id, RequestKind::kStatus, std::chrono::steady_clock::now()};
      reply_error(asked, Error{ErrorCode::kUnsupported, "this server does not know the request"});
    }
  }
  return Take::kDone;
}

void Connection::handle_hello(uint64_t id, wire::Hello::Reader hello) {
  const auto checked = check_protocol_version(hello.getProtocolVersion());
  OutgoingMessage message;
  auto ours = begin_response(message, id).initHello();
  fill_hello(ours);
  if (!checked) ours.setError(checked.error().message.c_str());
  send(message.builder());
  if (!checked) return close_after_sending(checked.error().message);
  greeted_ = true;
  take_large_frames();
  hello_timer_.cancel();
}

void Connection::fill_hello(wire::Hello::Builder ours) {
  const replication::NodeStatus& now = status();
  ours.setProtocolVersion(kProtocolVersion);
  ours.setNode(now.self.value);
  ours.setLeader(now.role == replication::Role::kLeader && now.serving);
  ours.setLeaderAddress(now.leader_client_address.c_str());
  ours.setMaxFrameBytes(context_.options.max_frame_bytes);
  if (const auto rules = context_.to.state_machine->rules(); rules.in_log) {
    ours.setLogTimeNs(context_.to.state_machine->log_time_ns());
    ours.setSessionTtlNs(rules.in_force.session_ttl_ns);
  }
  auto servers = ours.initServers(static_cast<unsigned>(now.members.size()));
  for (unsigned i = 0; i < now.members.size(); ++i)
    servers.set(i, now.members[i].client_address.c_str());
}

void Connection::tell_members() {
  if (!greeted_ || closed()) return;
  status_.reset();
  OutgoingMessage message;
  fill_hello(begin_response(message, 0).initHello());
  send(message.builder());
  if (const auto member = check_member(); !member) end_tails(member.error());
  flush();
  status_.reset();
}

void Connection::on_frames_taken() {
  status_.reset();
  flush();
}

void Connection::on_written() {
  pump_tails();
  answered();
}

void Connection::answered() {
  touched_ = false;
  status_.reset();
  if (!held_for_limit_ || in_flight_ >= context_.options.max_in_flight ||
      unsent_bytes() > kMostAnswersUnsentBytes)
    return;
  held_for_limit_ = false;
  resume();
}

void Connection::try_again() {
  if (closed()) return;
  status_.reset();
  resume();
}

void Connection::on_closed(const std::string& reason) {
  observability::log_debug("client {}: closed: {}", remote(), reason);
  hello_timer_.cancel();
  subscriptions_.clear();
  context_.probe.connections.fetch_sub(1, std::memory_order_relaxed);
  context_.probe.in_flight.fetch_sub(in_flight_, std::memory_order_relaxed);
  in_flight_ = 0;
  thread_.forget(std::static_pointer_cast<Connection>(shared_from_this()));
}

const replication::NodeStatus& Connection::status() {
  if (!status_) status_ = context_.to.node->status();
  return *status_;
}

SteadyTime Connection::deadline(uint32_t timeout_ms) const {
  const auto asked = std::chrono::milliseconds(timeout_ms);
  const bool usable = timeout_ms != 0 && asked < kLongestWait;
  return std::chrono::steady_clock::now() + (usable ? asked : kLongestWait);
}

wire::Response::Builder Connection::begin_response(OutgoingMessage& message, uint64_t id) {
  return begin_response(message, id, {status().epoch, context_.to.watermarks->applied()},
                        staleness_bound_ms());
}

wire::Response::Builder Connection::begin_response(OutgoingMessage& message, uint64_t id,
                                                   statemachine::LogPoint point,
                                                   uint64_t bound_ms) {
  auto response = message.init<wire::Response>();
  response.setId(id);
  response.setEpoch(point.epoch.value);
  response.setApplied(point.address.value);
  response.setStalenessBoundMs(bound_ms);
  return response;
}

uint64_t Connection::staleness_bound_ms() {
  const replication::NodeStatus& now = status();
  // Whatever this lead has acknowledged it has applied; what was acknowledged before it, perhaps
  // not yet.
  if (now.alone && now.serving && context_.to.watermarks->applied() >= now.lead_begins) return 0;
  if (!now.fresh_at) return std::numeric_limits<uint64_t>::max();
  const Nanoseconds age = system_clock().elapsed() - *now.fresh_at;
  return static_cast<uint64_t>(
      std::max<int64_t>(0, std::chrono::ceil<std::chrono::milliseconds>(age).count()));
}

void Connection::reply(const Asked& asked, OutgoingMessage& message) {
  if (closed()) return;
  context_.probe.count(asked.kind, RequestResult::kOk, asked.started);
  send(message.builder());
}

void Connection::reply_error(const Asked& asked, const Error& error, bool try_another) {
  if (closed()) return;
  context_.probe.count(asked.kind, result_of(error.code), asked.started);
  OutgoingMessage message;
  auto response = begin_response(message, asked.id);
  const bool elsewhere = error.code == ErrorCode::kNotLeader;
  auto to = response.initError();
  write_error(error, elsewhere ? status().leader_client_address : std::string(), to);
  to.setTryAnother(try_another || (error.code == ErrorCode::kUnavailable &&
                                   (status().removed || !status().unhealthy.empty())));
  send(message.builder());
}

std::function<void(std::function<void(Connection&)>)> Connection::come_back() {
  auto self = std::static_pointer_cast<Connection>(shared_from_this());
  const std::weak_ptr<Connection> weak = self;
  return [weak, poster = thread_.poster()](std::function<void(Connection&)> then) {
    poster->post([weak, then = std::move(then)] {
      const auto connection = weak.lock();
      if (!connection || connection->closed()) return;
      then(*connection);
      connection->flush();
      connection->answered();
    });
  };
}

}  // namespace tailrace::rpc
