#include "rpc/server/connection.h"

#include <algorithm>
#include <limits>

#include <asio/post.hpp>
#include <fmt/format.h>

#include "core/host_port.h"
#include "observability/logging.h"
#include "rpc/wire/hello.h"
#include "rpc/wire/operation.h"
#include "rpc/wire/wire_error.h"

namespace tailrace::rpc {
namespace {

constexpr std::chrono::milliseconds kLongestWait{30000};
// A request waits so long for the place of a connection that is idle.
constexpr std::chrono::milliseconds kLongestWaitForPlace{1500};
// Of the addresses that a hello tells, as a message has them: a client takes no longer hello.
constexpr size_t kMostToldBytes = kMostHelloBytes / 4 * 3;

// Answers that wait to be counted: at most, and kept room for.
constexpr size_t kMostAnswered = 4096, kKeptAnswered = 256;

/// Older logs may have members with addresses that are none.
bool can_be_told(const std::string& address) {
  return !address.empty() && address.size() <= kMostHostPortBytes;
}

/// Nothing: a command, which says itself what it is, or no request that is answered.
std::optional<RequestKind> kind_of_request(wire::Request::Reader request) {
  switch (request.which()) {
    case wire::Request::APPEND:
      return RequestKind::kAppend;
    case wire::Request::GET:
      return RequestKind::kGet;
    case wire::Request::SCAN:
      return RequestKind::kScan;
    case wire::Request::TAIL:
      return RequestKind::kTail;
    case wire::Request::STATUS:
      return RequestKind::kStatus;
    case wire::Request::CHECKPOINT:
      return RequestKind::kCheckpoint;
    case wire::Request::DIGEST:
      return RequestKind::kDigest;
    case wire::Request::TRANSFER:
      return RequestKind::kTransfer;
    case wire::Request::PROMOTE:
      return RequestKind::kPromote;
    case wire::Request::CHANGE_MEMBER:
      return RequestKind::kChangeMember;
    case wire::Request::READ_STREAM:
      return RequestKind::kReadStream;
    case wire::Request::LIST_STREAMS:
      return RequestKind::kListStreams;
    case wire::Request::MGET:
      return RequestKind::kMget;
    case wire::Request::HISTORY:
      return RequestKind::kHistory;
    case wire::Request::HELLO:
    case wire::Request::COMMAND:
    case wire::Request::CREDIT:
    case wire::Request::CANCEL_TAIL:
      break;
  }
  return std::nullopt;  // or of a newer client
}

/// What a request that is refused before it is looked at is counted as.
RequestKind counted_as(wire::Request::Reader request) {
  if (const auto kind = kind_of_request(request)) return *kind;
  if (!request.isCommand()) return RequestKind::kStatus;
  const auto operation = from_wire(request.getCommand().getOperation());
  return operation ? kind_of(*operation) : RequestKind::kPut;
}

/// As many as a client takes, first those that may lead.
std::vector<const std::string*> told_servers(const replication::Members& members) {
  std::vector<const std::string*> told;
  size_t bytes = 0;
  for (const bool voters : {true, false})
    for (const replication::Member& member : members) {
      if (member.voter != voters || !can_be_told(member.client_address)) continue;
      bytes += align_up(member.client_address.size() + 1, 8) + 8;
      if (bytes > kMostToldBytes) return told;
      told.push_back(&member.client_address);
    }
  return told;
}

}  // namespace

Connection::Connection(asio::ip::tcp::socket socket, IoThread& thread)
    : FramedSocket(std::move(socket), thread.context().options.max_frame_bytes,
                   thread.context().probe.traffic),
      thread_(thread),
      context_(thread.context()),
      hello_timer_(executor()),
      number_(thread.next_number()),
      asker_(thread.context().reads.new_asker()),
      memory_(thread.context().memory) {}

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
  taken_ = std::chrono::steady_clock::now();
  // What stands behind a held frame came before it was looked at.
  if (!frame_held_) arrived_ = heard();
  const Take take = take_frame(message);
  frame_held_ = take == Take::kHold;
  return take;
}

FramedSocket::Take Connection::take_frame(capnp::MessageReader& message) {
  if (held_for_limits()) {
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
  const Place place = place_for(request);
  if (place != Place::kHas) return place == Place::kWaits ? Take::kHold : Take::kDone;
  if (const auto kind = kind_of_request(request);
      kind && info_of(*kind).answered_by == AnsweredBy::kLeader)
    if (refuse_unless_leader({id, *kind, arrived_})) return Take::kDone;
  switch (request.which()) {
    case wire::Request::HELLO:
      handle_hello(id, request.getHello());
      return Take::kDone;
    case wire::Request::COMMAND:
      return handle_command(id, request.getCommand());
    case wire::Request::APPEND:
      return handle_append(id, request.getAppend());
    case wire::Request::GET:
      handle_get(id, request.getGet());
      return Take::kDone;
    case wire::Request::SCAN:
      return handle_scan(id, request.getScan());
    case wire::Request::TAIL:
      handle_tail(id, request.getTail());
      return Take::kDone;
    case wire::Request::CREDIT:
      handle_credit(id, request.getCredit().getBytes());
      return Take::kDone;
    case wire::Request::CANCEL_TAIL:
      cancel_tail(id);
      return Take::kDone;
    case wire::Request::STATUS:
      handle_status(id);
      return Take::kDone;
    case wire::Request::CHECKPOINT:
      handle_checkpoint(id);
      return Take::kDone;
    case wire::Request::DIGEST:
      return handle_digest(id, request.getDigest());
    case wire::Request::TRANSFER:
      handle_transfer(id, NodeId{request.getTransfer()});
      return Take::kDone;
    case wire::Request::PROMOTE:
      handle_promote(id);
      return Take::kDone;
    case wire::Request::CHANGE_MEMBER:
      handle_change_member(id, request.getChangeMember());
      return Take::kDone;
    case wire::Request::READ_STREAM:
      return handle_read_stream(id, request.getReadStream());
    case wire::Request::LIST_STREAMS:
      return handle_list_streams(id, request.getListStreams());
    case wire::Request::MGET:
      return handle_mget(id, request.getMget());
    case wire::Request::HISTORY:
      return handle_history(id, request.getHistory());
  }
  // Of a newer client.
  const Asked asked{id, RequestKind::kStatus, arrived_};
  reply_error(asked, Error{ErrorCode::kUnsupported, "this server does not know the request"});
  return Take::kDone;
}

Connection::Place Connection::place_for(wire::Request::Reader request) {
  if (has_place_) return Place::kHas;
  const auto kind = kind_of_request(request);
  if (request.isHello() || (kind && info_of(*kind).of_operators)) return Place::kHas;
  const int64_t most = context_.options.max_connections;
  if (context_.probe.connections.load() - context_.unplaced.load() < most) {
    has_place_ = true;
    leave_unplaced();
    return Place::kHas;
  }
  const SteadyTime now = std::chrono::steady_clock::now();
  if (!place_wanted_since_) place_wanted_since_ = now;
  if (now - *place_wanted_since_ < kLongestWaitForPlace) {
    context_.want_place();
    thread_.look_again(std::static_pointer_cast<Connection>(shared_from_this()), false);
    return Place::kWaits;
  }
  const Asked asked{request.getId(), counted_as(request), arrived_};
  reply_error(asked,
              Error{ErrorCode::kResourceExhausted,
                    fmt::format("{} connections are in use, the most that this server takes, "
                                "and {} tails are open on them; only what operators ask is "
                                "answered. Close a connection, or end a tail, or raise "
                                "server.max_connections in the node's file",
                                most, context_.tails.load(std::memory_order_relaxed))});
  return Place::kRefused;
}

void Connection::leave_unplaced() {
  if (thread_.forget_unplaced(number_)) context_.unplaced.fetch_sub(1);
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
  if (can_be_told(now.leader_client_address))
    ours.setLeaderAddress(now.leader_client_address.c_str());
  ours.setMaxFrameBytes(context_.options.max_frame_bytes);
  ours.setClusterVersion(now.cluster_version);
  ours.setClusterIdentity(now.identity.known() ? text_of(now.identity).c_str() : kNoIdentity);
  if (const auto rules = context_.to.state_machine->rules(); rules.in_log) {
    const uint64_t log_time_ns = context_.to.state_machine->log_time_ns();
    ours.setLogTimeNs(log_time_ns);
    ours.setSessionTtlNs(rules.bound_window_ns(log_time_ns));
  }
  const auto told = told_servers(now.members);
  auto servers = ours.initServers(static_cast<unsigned>(told.size()));
  for (unsigned i = 0; i < told.size(); ++i)
    servers.set(i, told[i]->c_str());
}

void Connection::tell_members() {
  if (!greeted_ || closed()) return;
  OutgoingMessage message;
  fill_hello(begin_response(message, 0).initHello());
  send(message.builder());
  if (const auto member = check_member(); !member) end_tails(member.error());
  flush();
}

void Connection::on_frames_taken() {
  used_ = std::chrono::steady_clock::now();
  flush();
  account();
}

void Connection::on_written() {
  answer_what_waits();
  flush();
  account();
  pump_tails();
  answered();
}

void Connection::forget_answered() {
  tell_answered();
  for (const Answered& each : answered_)
    thread_.counts().answered_unseen(each.kind, each.place);
  answered_.clear();
}

bool Connection::wants_written() const {
  return !to_answer_.empty() || !subscriptions_.empty() || held_for_limit_;
}

void Connection::answered() {
  touched_ = false;
  status_.look_anew();  // for what was held since an earlier one
  if (!held_for_limit_ || held_for_limits()) return;
  held_for_limit_ = false;
  resume();
}

void Connection::try_again() {
  if (closed()) return;
  answer_what_waits();
  flush();
  if (tail_has_no_room_) pump_tails();
  resume();
}

void Connection::on_closed(const std::string& reason) {
  observability::log_debug("client {}: closed: {}", remote(), reason);
  hello_timer_.cancel();
  context_.tails.fetch_sub(subscriptions_.size(), std::memory_order_relaxed);
  subscriptions_.clear();
  for (const auto& [wait, read] : std::exchange(waiting_reads_, {}))
    thread_.forget_waiter(read.waiter);
  to_answer_.clear();
  context_.reads.drop(asker_);
  leave_unplaced();
  context_.probe.connections.fetch_sub(1);
  thread_.counts().ended(in_flight_);
  in_flight_ = 0;
  forget_answered();
  thread_.forget(std::static_pointer_cast<Connection>(shared_from_this()));
}

const replication::NodeStatus& Connection::status() {
  return status_.get(*context_.to.node, thread_.turn());
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

void Connection::reply(const Asked& asked, OutgoingMessage& message, StageTimes::Sample sample) {
  if (closed()) return;
  send(message.builder());
  answered_with(asked, RequestCounts::kOk, sample);
}

void Connection::answered_with(const Asked& asked, RequestCounts::Place place,
                               StageTimes::Sample sample) {
  // How long more of them take, of one that reads nothing, is not kept.
  if (answered_.size() >= kMostAnswered) return thread_.counts().answered_unseen(asked.kind, place);
  answered_.push_back({stream_end(), asked.started, sample, place, asked.kind});
}

void Connection::tell_answered() {
  if (answered_.empty()) return;
  const SteadyTime now = std::chrono::steady_clock::now();
  auto each = answered_.begin();
  for (; each != answered_.end() && each->end <= sent_bytes(); ++each) {
    thread_.counts().answered(each->kind, each->place, now - each->started);
    thread_.stages().sent(each->sample, now);
  }
  answered_.erase(answered_.begin(), each);
  if (answered_.empty() && answered_.capacity() > kKeptAnswered) answered_.shrink_to_fit();
}

std::string Connection::shown(const std::string& message) const {
  return without_folders(message, context_.options.data_directory);
}

Error Connection::told(const Error& error) {
  std::string message = shown(error.message);
  const bool of_the_disk = error.code == ErrorCode::kCorruption || error.code == ErrorCode::kIo;
  if (!of_the_disk && message == error.message) return error;
  if (context_.withheld.is_news(error.message, std::chrono::steady_clock::now()))
    observability::log_warning("clients are told, without the folders: {}", error.message);
  const std::string self = fmt::format("node {}", status().self.value);
  if (!message.starts_with(self + " ")) message = self + ": " + message;
  return {error.code, message + " (see the node's log)"};
}

void Connection::reply_error(const Asked& asked, const Error& error, bool try_another) {
  if (closed()) return;
  const bool elsewhere = try_another || (error.code == ErrorCode::kUnavailable &&
                                         (status().removed || !status().unhealthy.empty()));
  send_error(asked, error, elsewhere);
  answered_with(asked, elsewhere ? RequestCounts::kElsewhere : RequestCounts::place_of(error.code));
}

void Connection::send_error(const Asked& asked, const Error& error, bool elsewhere) {
  if (closed()) return;
  OutgoingMessage message;
  auto response = begin_response(message, asked.id);
  const bool of_leader = error.code == ErrorCode::kNotLeader;
  auto to = response.initError();
  write_error(told(error), of_leader ? status().leader_client_address : std::string(), to);
  to.setTryAnother(elsewhere);
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
