#include "rpc/etcd/client.h"

#include <utility>

#include <fmt/format.h>

namespace tailrace::rpc {

namespace {

constexpr size_t kMostWatchLine = 1 << 20;

bool worth_another_endpoint(unsigned status) {
  return status >= 500 || status == 429;  // a member without a leader, or one that is overrun
}

/// etcd answers an unknown or an outdated token with any of these.
bool may_be_the_token(unsigned status) {
  return status == 400 || status == 401 || status == 403;
}

Error refusal(const HttpEndpoint& endpoint, const std::string& path, const HttpAnswer& answer) {
  ErrorCode code = ErrorCode::kFailedPrecondition;
  if (answer.status == 404) code = ErrorCode::kNotFound;
  if (worth_another_endpoint(answer.status)) code = ErrorCode::kUnavailable;
  return {code, fmt::format("etcd at {} refuses {} (HTTP {}): {}", endpoint.text, path,
                            answer.status, decode_error(answer.body))};
}

}  // namespace

struct EtcdClient::Call {
  std::string path, body;
  SteadyTime deadline;
  size_t endpoints_left;
  bool authenticated_anew = false;
  Done<std::string> done;
};

EtcdClient::EtcdClient(asio::io_context& io, EtcdClientOptions options)
    : io_(io), options_(std::move(options)) {}

void EtcdClient::call(std::string path, std::string body, Done<std::string> done) {
  auto call = std::make_shared<Call>();
  call->path = std::move(path);
  call->body = std::move(body);
  call->deadline = system_clock().now() + options_.call_timeout;
  call->endpoints_left = options_.endpoints.size();
  call->done = std::move(done);
  calls_.add();
  attempt(call);
}

template <typename T>
void EtcdClient::report(const Result<T>& result) {
  if (!result) failures_.add();
  if (!options_.on_outcome) return;
  options_.on_outcome(result ? Result<>() : Result<>(tl::unexpected(result.error())));
}

template <typename T>
void EtcdClient::call(const char* path, std::string body, Result<T> (*decode)(std::string_view),
                      Done<T> done) {
  auto decoded = [this, path, decode, done = std::move(done)](Result<std::string> answer) {
    auto value = answer ? decode(*answer) : Result<T>(tl::unexpected(std::move(answer).error()));
    if (answer && !value) value = tl::unexpected(with_context(path, std::move(value).error()));
    report(value);
    done(std::move(value));
  };
  call(path, std::move(body), std::move(decoded));
}

void EtcdClient::attempt(const std::shared_ptr<Call>& call) {
  if (!options_.username.empty() && token_.empty()) return authenticate(call);
  const size_t endpoint = preferred_;
  HttpExchange::start(io_, options_.tls, options_.endpoints[endpoint],
                      HttpRequest{call->path, call->body, token_}, attempt_deadline(*call),
                      [this, call, endpoint](Result<HttpAnswer> answer) {
                        answered(call, endpoint, std::move(answer));
                      });
}

SteadyTime EtcdClient::attempt_deadline(const Call& call) {
  // One that hangs must leave time for the others.
  const SteadyTime now = system_clock().now();
  return call.endpoints_left > 1 ? now + (call.deadline - now) / 2 : call.deadline;
}

void EtcdClient::authenticate(const std::shared_ptr<Call>& call) {
  const size_t endpoint = preferred_;
  const char* const path = "/v3/auth/authenticate";
  auto then = [this, call, endpoint, path](Result<HttpAnswer> answer) {
    if (!answer || worth_another_endpoint(answer->status))
      return answered(call, endpoint, std::move(answer));
    if (answer->status != 200) {
      preferred_ = endpoint;
      return finish(call, tl::unexpected(refusal(options_.endpoints[endpoint], path, *answer)));
    }
    auto token = decode_token(answer->body);
    if (!token) return finish(call, tl::unexpected(with_context(path, std::move(token).error())));
    token_ = std::move(*token);
    attempt(call);
  };
  HttpExchange::start(
      io_, options_.tls, options_.endpoints[endpoint],
      HttpRequest{path, encode_authenticate(options_.username, options_.password), {}},
      attempt_deadline(*call), std::move(then));
}

void EtcdClient::answered(const std::shared_ptr<Call>& call, size_t endpoint,
                          Result<HttpAnswer> answer) {
  if (answer && answer->status == 200) {
    preferred_ = endpoint;
    return finish(call, std::move(answer->body));
  }
  if (answer && !worth_another_endpoint(answer->status)) {
    preferred_ = endpoint;
    if (!token_.empty() && !call->authenticated_anew && may_be_the_token(answer->status)) {
      call->authenticated_anew = true;
      token_.clear();
      return attempt(call);
    }
    return finish(call, tl::unexpected(refusal(options_.endpoints[endpoint], call->path, *answer)));
  }
  Error problem = answer ? refusal(options_.endpoints[endpoint], call->path, *answer)
                         : std::move(answer).error();
  leave(endpoint);
  --call->endpoints_left;
  if (call->endpoints_left == 0 || system_clock().now() >= call->deadline)
    return finish(call, tl::unexpected(std::move(problem)));
  attempt(call);
}

void EtcdClient::leave(size_t endpoint) {
  if (preferred_ != endpoint) return;
  preferred_ = (endpoint + 1) % options_.endpoints.size();
  token_.clear();  // simple tokens are known to the member that gave them, until it has told others
}

void EtcdClient::finish(const std::shared_ptr<Call>& call, Result<std::string> result) {
  if (const auto done = std::exchange(call->done, nullptr)) done(std::move(result));
}

void EtcdClient::range(const std::string& key, const std::string& range_end, Done<EtcdRange> done) {
  call("/v3/kv/range", encode_range(key, range_end), decode_range, std::move(done));
}

void EtcdClient::put(const std::string& key, const std::string& value, int64_t lease,
                     Done<int64_t> done) {
  call("/v3/kv/put", encode_put(key, value, lease), decode_put, std::move(done));
}

void EtcdClient::transact(const EtcdTransaction& transaction, Done<EtcdTransactionResult> done) {
  call("/v3/kv/txn", encode_transaction(transaction), decode_transaction, std::move(done));
}

void EtcdClient::grant_lease(std::chrono::seconds ttl, Done<EtcdLeaseGrant> done) {
  call("/v3/lease/grant", encode_lease_grant(ttl.count()), decode_lease_grant, std::move(done));
}

void EtcdClient::keep_alive(int64_t lease, Done<int64_t> done) {
  call("/v3/lease/keepalive", encode_lease(lease), decode_keep_alive, std::move(done));
}

void EtcdClient::time_to_live(int64_t lease, Done<int64_t> done) {
  call("/v3/lease/timetolive", encode_lease(lease), decode_time_to_live, std::move(done));
}

void EtcdClient::revoke(int64_t lease, Done<void> done) {
  auto revoked = [this, done = std::move(done)](const Result<std::string>& answer) {
    report(answer);
    done(answer ? Result<>() : Result<>(tl::unexpected(answer.error())));
  };
  call("/v3/lease/revoke", encode_lease(lease), std::move(revoked));
}

// ---- Watches.

class EtcdClient::Watch {
 public:
  explicit Watch(WatchEvents events) : events_(std::move(events)) {}
  ~Watch() {
    if (exchange_) exchange_->cancel();
  }

  /// `self` is what the exchange knows of us: a callback may drop the last reference.
  void begin(EtcdClient& client, const std::shared_ptr<Watch>& self, HttpRequest request) {
    const std::weak_ptr<Watch> weak = self;
    const size_t endpoint = client.preferred_;
    exchange_ = HttpExchange::start(
        client.io_, client.options_.tls, client.options_.endpoints[endpoint], std::move(request),
        system_clock().now() + client.options_.call_timeout,
        [weak, &client, endpoint](Result<HttpAnswer> answer) {
          const auto watch = weak.lock();
          if (!watch) return;
          if (!answer) return watch->end(answer.error());
          if (answer->status != 200) {
            client.token_.clear();  // whatever it was, the next call asks for a new one
            return watch->end(refusal(client.options_.endpoints[endpoint], "/v3/watch", *answer));
          }
          watch->end({ErrorCode::kUnavailable, "etcd closed the watch"});
        },
        [weak](std::string_view bytes) {
          if (const auto watch = weak.lock()) watch->take(bytes, watch);
        });
  }

 private:
  void take(std::string_view bytes, const std::shared_ptr<Watch>& self) {
    // Whoever gets a part may drop the watch: then `self` is the last reference.
    while (!bytes.empty() && !over_ && self.use_count() > 1) {
      const size_t stop = bytes.find('\n');
      line_.append(bytes.substr(0, stop));
      if (line_.size() > kMostWatchLine)
        return end({ErrorCode::kResourceExhausted, "etcd's watch sends a line without an end"});
      if (stop == std::string_view::npos) return;
      bytes.remove_prefix(stop + 1);
      const std::string line = std::exchange(line_, {});
      if (line.empty()) continue;
      auto part = decode_watch(line);
      if (!part) return end(part.error());
      const bool last = part->canceled;
      const Error why{ErrorCode::kUnavailable, "etcd ended the watch: " + part->cancel_reason};
      if (events_.part) events_.part(std::move(*part));
      if (last) end(why);
    }
  }

  void end(const Error& why) {
    if (std::exchange(over_, true)) return;
    if (exchange_) exchange_->cancel();
    events_.part = nullptr;
    if (const auto ended = std::exchange(events_.ended, nullptr)) ended(why);
  }

  WatchEvents events_;
  std::shared_ptr<HttpExchange> exchange_;
  std::string line_;
  bool over_ = false;
};

std::shared_ptr<EtcdClient::Watch> EtcdClient::watch(const std::string& key,
                                                     const std::string& range_end, int64_t from,
                                                     WatchEvents events) {
  auto watch = std::make_shared<Watch>(std::move(events));
  watch->begin(*this, watch, HttpRequest{"/v3/watch", encode_watch(key, range_end, from), token_});
  return watch;
}

}  // namespace tailrace::rpc
