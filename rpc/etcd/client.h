#pragma once
// etcd's calls, over the JSON gateway that its client port has beside gRPC.

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/result.h"
#include "observability/metrics.h"
#include "rpc/etcd/http.h"
#include "rpc/etcd/messages.h"

namespace tailrace::rpc {

struct EtcdClientOptions {
  std::vector<HttpEndpoint> endpoints;  // at least one
  std::chrono::milliseconds call_timeout{1000};
  std::shared_ptr<asio::ssl::context> tls;  // may be null without https
  std::string username, password;           // empty: no authentication
  /// Told after every call, before its own callback.
  std::function<void(const Result<>&)> on_outcome;
};

/// All on the io thread; callbacks come there and never from within the call itself. Errors:
/// kUnavailable and kTimedOut when no endpoint answered (what was sent may still be done),
/// kNotFound (no such lease), kFailedPrecondition (etcd refused), kCorruption, kResourceExhausted.
/// Destroyed, as its watches are, before the io_context and once that runs nothing any more.
class EtcdClient {
 public:
  template <typename T>
  using Done = std::function<void(Result<T>)>;

  EtcdClient(asio::io_context& io, EtcdClientOptions options);

  /// The key, or all from it up to but without `range_end`.
  void range(const std::string& key, const std::string& range_end, Done<EtcdRange> done);
  void put(const std::string& key, const std::string& value, int64_t lease, Done<int64_t> done);
  void transact(const EtcdTransaction& transaction, Done<EtcdTransactionResult> done);
  void grant_lease(std::chrono::seconds ttl, Done<EtcdLeaseGrant> done);
  /// The seconds that the lease now has; 0 when there is none such any more.
  void keep_alive(int64_t lease, Done<int64_t> done);
  void time_to_live(int64_t lease, Done<int64_t> done);
  void revoke(int64_t lease, Done<void> done);

  struct WatchEvents {
    std::function<void(EtcdWatchPart)> part;
    /// Once, and the last: the connection broke, or etcd ended the watch.
    std::function<void(const Error&)> ended;
  };
  /// Ends, silently, when the last reference is gone.
  class Watch;
  std::shared_ptr<Watch> watch(const std::string& key, const std::string& range_end, int64_t from,
                               WatchEvents events);

  /// The endpoint that answered last.
  size_t preferred() const { return preferred_; }
  uint64_t calls() const { return calls_.value(); }        // any thread
  uint64_t failures() const { return failures_.value(); }  // any thread
  const observability::Counter& call_counter() const { return calls_; }
  const observability::Counter& failure_counter() const { return failures_; }

 private:
  struct Call;
  void call(std::string path, std::string body, Done<std::string> done);
  template <typename T>
  void call(const char* path, std::string body, Result<T> (*decode)(std::string_view),
            Done<T> done);
  void attempt(const std::shared_ptr<Call>& call);
  static SteadyTime attempt_deadline(const Call& call);
  void authenticate(const std::shared_ptr<Call>& call);
  void answered(const std::shared_ptr<Call>& call, size_t endpoint, Result<HttpAnswer> answer);
  void finish(const std::shared_ptr<Call>& call, Result<std::string> result);
  template <typename T>
  void report(const Result<T>& result);
  void leave(size_t endpoint);

  asio::io_context& io_;
  const EtcdClientOptions options_;
  size_t preferred_ = 0;
  std::string token_;
  observability::Counter calls_, failures_;
};

}  // namespace tailrace::rpc
