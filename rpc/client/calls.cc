#include <future>

#include <asio/post.hpp>
#include <fmt/format.h>

#include "net/listen.h"
#include "rpc/client/impl.h"
#include "rpc/wire/message.h"
#include "rpc/wire/operation.h"

namespace tailrace::rpc {
namespace {

Result<CommandAnswer> read_command(const Reply& reply) {
  TAILRACE_RETURN_IF_ERROR(reply);
  if (!reply->isCommand()) return tl::unexpected(unexpected_answer());
  const auto from = reply->getCommand();
  CommandAnswer answer;
  answer.epoch = Epoch{reply->getEpoch()};
  answer.range = AddressRange{Address{from.getFirst()}, Address{from.getEnd()}};
  answer.last = Address{from.getLast()};
  answer.answer.outcome = static_cast<statemachine::Outcome>(from.getOutcome());
  answer.answer.has_value = from.getHasValue();
  if (from.getHasValue()) answer.answer.value = to_string(from.getValue());
  answer.answer.withheld_bytes = from.getWithheldBytes();
  return answer;
}

/// Of an append, which may have become a transaction on its way (RequestQueue::make_txn).
Result<CommandAnswer> read_append(const Reply& reply) {
  TAILRACE_ASSIGN_OR_RETURN(auto answer, read_command(reply));
  if (answer.answer.outcome == statemachine::Outcome::kTxnFailed)
    return make_error(ErrorCode::kFailedPrecondition,
                      "the stream takes no more events: it was tombstoned, or is full");
  return answer;
}

Result<ReadAnswer> read_get(const Reply& reply) {
  TAILRACE_RETURN_IF_ERROR(reply);
  if (!reply->isGet()) return tl::unexpected(unexpected_answer());
  const auto from = reply->getGet();
  ReadAnswer answer;
  answer.found = from.getFound();
  if (answer.found) answer.value = to_string(from.getValue());
  answer.epoch = Epoch{reply->getEpoch()};
  answer.applied = Address{reply->getApplied()};
  answer.staleness_bound_ms = reply->getStalenessBoundMs();
  return answer;
}

Result<> read_done(const Reply& reply) {
  TAILRACE_RETURN_IF_ERROR(reply);
  if (!reply->isDone()) return tl::unexpected(unexpected_answer());
  return {};
}

Result<DigestAnswer> read_digest(const Reply& reply) {
  TAILRACE_RETURN_IF_ERROR(reply);
  if (!reply->isDigest()) return tl::unexpected(unexpected_answer());
  const auto from = reply->getDigest();
  return DigestAnswer{Address{from.getBegin()}, from.getStateHigh(), from.getStateLow(),
                      from.getPairs(),          from.getLogHigh(),   from.getLogLow()};
}

/// A copy, with zeros up to the end of the last word.
SharedBytes whole_words(ByteSpan bytes) {
  const size_t size = align_up(bytes.size(), sizeof(capnp::word));
  auto words = std::make_shared<std::vector<std::byte>>();
  words->reserve(size);
  words->insert(words->end(), bytes.begin(), bytes.end());
  words->resize(size);
  return words;
}

}  // namespace

Result<std::unique_ptr<Client>> Client::create(ClientOptions options) {
  if (options.servers.empty())
    return make_error(ErrorCode::kInvalidArgument, "a client needs at least one server");
  for (const std::string& server : options.servers) {
    TAILRACE_RETURN_IF_ERROR(net::parse_endpoint(server));
  }
  std::shared_ptr<Runtime> runtime = options.runtime;
  if (!runtime) {
    TAILRACE_ASSIGN_OR_RETURN(runtime, Runtime::create());
  }
  if (options.runtime_thread.value_or(0) >= runtime->threads())
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("a client on thread {} of a runtime whose last thread is {}",
                                  *options.runtime_thread, runtime->threads() - 1));
  return std::make_unique<ClientImpl>(std::move(runtime), std::move(options));
}

ClientImpl::ClientImpl(std::shared_ptr<Runtime> runtime, ClientOptions options)
    : runtime_(std::move(runtime)),
      context_(std::make_shared<ClientContext>(*runtime_->loop_of(options.runtime_thread),
                                               std::move(options))),
      options_(context_->options),
      leader_(
          std::make_shared<RequestQueue>(context_, RequestQueue::Route::kLeader, options_.servers)),
      any_(std::make_shared<RequestQueue>(context_, RequestQueue::Route::kAny, options_.servers)) {}

ClientImpl::~ClientImpl() {
  closing_.request_stop();
  asio::io_context& io = context_->loop.io();
  if (context_->loop.on_thread()) {
    shut_queues();
  } else {
    // The loop may still be in set_value() when this goes on.
    const auto closed = std::make_shared<std::promise<void>>();
    auto is_closed = closed->get_future();
    asio::post(io, [this, closed] {
      shut_queues();
      closed->set_value();
    });
    is_closed.wait();
  }
  {
    MutexLock lock(calls_mutex_);
    calls_changed_.wait(lock, [this]() TAILRACE_REQUIRES(calls_mutex_) { return calls_ == 0; });
  }
  // An answer of theirs may be what ends the client: they last until it has returned.
  const MutexLock lock(servers_mutex_);
  asio::post(io, [leader = leader_, any = any_, servers = std::move(servers_)] {});
}

void ClientImpl::shut_queues() {
  leader_->shut_down();
  any_->shut_down();
  std::vector<std::shared_ptr<RequestQueue>> servers;
  {
    const MutexLock lock(servers_mutex_);
    for (const auto& [address, queue] : servers_)
      servers.push_back(queue);
  }
  for (const auto& queue : servers)
    queue->shut_down();
  leader_->fail_late();
  any_->fail_late();
}

Result<> ClientImpl::check_thread() const {
  if (runtime_->own_thread()) return tl::unexpected(own_thread());
  return {};
}

void ClientImpl::count_call(int more) {
  const MutexLock lock(calls_mutex_);
  calls_ += more;
  calls_changed_.notify_all();
}

RequestQueue& ClientImpl::queue_to(const std::string& server) {
  const MutexLock lock(servers_mutex_);
  auto& queue = servers_[server];
  if (!queue) {
    queue = std::make_shared<RequestQueue>(context_, RequestQueue::Route::kOne,
                                           std::vector<std::string>{server});
    // The end of the client has passed those that were there, and may wait for this call on the
    // loop's thread: nothing is left to that one.
    if (closing_.stop_requested()) queue->close_inbox();
  }
  return *queue;
}

RequestQueue& ClientImpl::queue_for(const ReadOptions& options) {
  return options.level == ReadOptions::Level::kLinearizable ? *leader_ : *any_;
}

ClientRequest ClientImpl::request_of(ClientRequest::Verb verb, ByteSpan key) const {
  ClientRequest request;
  request.verb = verb;
  request.key = to_string(key);
  request.deadline = std::chrono::steady_clock::now() + options_.timeout;
  return request;
}

ClientRequest ClientImpl::write_request(const Write& write) const {
  ClientRequest request = request_of(ClientRequest::Verb::kCommand, write.key);
  request.operation = to_wire(write.operation);
  if (write.value.size() >= kLeastLentBytes) {
    request.words = whole_words(write.value);
    request.words_used = write.value.size();
  } else {
    request.value = to_string(write.value);
  }
  request.expected = to_string(write.expected);
  request.delta = write.delta;
  request.time_to_live_ms = static_cast<uint64_t>(write.time_to_live.count());
  return request;
}

ClientRequest ClientImpl::append_request(std::string_view stream,
                                         const std::vector<ByteSpan>& events) const {
  ClientRequest request = request_of(ClientRequest::Verb::kAppend, as_bytes(stream));
  size_t bytes = 0;
  for (const ByteSpan event : events)
    bytes += event.size();
  request.value.reserve(bytes);
  request.event_sizes.reserve(events.size());
  for (const ByteSpan event : events) {
    request.value += as_text(event);
    request.event_sizes.push_back(static_cast<uint32_t>(event.size()));
  }
  return request;
}

ClientRequest ClientImpl::get_request(ByteSpan key, ReadOptions options) const {
  ClientRequest request = request_of(ClientRequest::Verb::kGet, key);
  request.read = options;
  return request;
}

Result<CommandAnswer> ClientImpl::wait_for_command(ClientRequest request) {
  return wait_for<CommandAnswer>(*leader_, std::move(request), read_command);
}

namespace {

Result<> check_time_to_live(const Client::Write& write) {
  if (write.time_to_live.count() >= 0) return {};
  return make_error(ErrorCode::kInvalidArgument, "a time to live is not negative");
}

}  // namespace

Result<CommandAnswer> ClientImpl::write(const Write& write) {
  TAILRACE_RETURN_IF_ERROR(check_time_to_live(write));
  return wait_for_command(write_request(write));
}

Result<CommandAnswer> ClientImpl::append(std::string_view stream,
                                         const std::vector<ByteSpan>& events) {
  return wait_for<CommandAnswer>(*leader_, append_request(stream, events), read_append);
}

Result<ReadAnswer> ClientImpl::get(ByteSpan key, ReadOptions options) {
  return wait_for<ReadAnswer>(queue_for(options), get_request(key, options), read_get);
}

void ClientImpl::async_write(const Write& write, CommandCallback done) {
  if (const auto checked = check_time_to_live(write); !checked)
    return asio::post(context_->loop.io(), [done = std::move(done), error = checked.error()] {
      done(tl::unexpected(error));
    });
  ClientRequest request = write_request(write);
  request.done = [done = std::move(done)](Reply reply) { done(read_command(reply)); };
  leader_->submit(std::move(request));
}

void ClientImpl::async_append(std::string_view stream, const std::vector<ByteSpan>& events,
                              CommandCallback done) {
  ClientRequest request = append_request(stream, events);
  request.done = [done = std::move(done)](Reply reply) { done(read_append(reply)); };
  leader_->submit(std::move(request));
}

void ClientImpl::async_get(ByteSpan key, ReadOptions options,
                           std::function<void(Result<ReadAnswer>)> done) {
  ClientRequest request = get_request(key, options);
  request.done = [done = std::move(done)](Reply reply) { done(read_get(reply)); };
  queue_for(options).submit(std::move(request));
}

Result<> ClientImpl::transfer(NodeId node) {
  ClientRequest request = request_of(ClientRequest::Verb::kTransfer);
  request.node = node;
  return wait_for<void>(*leader_, std::move(request), read_done);
}

Result<> ClientImpl::set_member(const NodeStatusAnswer::Member& member) {
  ClientRequest request = request_of(ClientRequest::Verb::kSetMember);
  request.member = member;
  return wait_for<void>(*leader_, std::move(request), read_done);
}

Result<> ClientImpl::remove_member(NodeId node) {
  ClientRequest request = request_of(ClientRequest::Verb::kRemoveMember);
  request.node = node;
  return wait_for<void>(*leader_, std::move(request), read_done);
}

Result<> ClientImpl::promote(const std::string& server) {
  ClientRequest request = request_of(ClientRequest::Verb::kPromote);
  return wait_for<void>(queue_to(server), std::move(request), read_done);
}

Result<Address> ClientImpl::checkpoint(const std::string& server) {
  ClientRequest request = request_of(ClientRequest::Verb::kCheckpoint);
  const auto read = [](const Reply& reply) -> Result<Address> {
    TAILRACE_RETURN_IF_ERROR(reply);
    if (!reply->isCheckpoint()) return tl::unexpected(unexpected_answer());
    return Address{reply->getCheckpoint()};
  };
  return wait_for<Address>(queue_to(server), std::move(request), read);
}

Result<Address> ClientImpl::request_digest() {
  TAILRACE_ASSIGN_OR_RETURN(auto answer, write({.operation = statemachine::Operation::kDigest}));
  return answer.range.end;
}

Result<DigestAnswer> ClientImpl::digest(const std::string& server, Address address,
                                        Address log_from) {
  ClientRequest request = request_of(ClientRequest::Verb::kDigest);
  request.address = address;
  request.log_from = log_from;
  return wait_for<DigestAnswer>(queue_to(server), std::move(request), read_digest);
}

}  // namespace tailrace::rpc
