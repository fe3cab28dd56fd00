// tail(): one subscription at a time; records come on the io thread, the caller's thread visits
// them and gives the credit back. A quiet server may be frozen: it is asked for a sign of life.
#include <algorithm>
#include <condition_variable>
#include <deque>
#include <set>

#include <asio/post.hpp>
#include <fmt/format.h>

#include "core/mutex.h"
#include "rpc/client/impl.h"
#include "rpc/client/server_search.h"
#include "rpc/wire/hello.h"
#include "rpc/wire/wire_error.h"

namespace tailrace::rpc {
namespace {

constexpr uint64_t kCreditBytes = 8u << 20;
constexpr uint64_t kSubscription = 1, kSignOfLife = 2;
// As the server counts a record against the credit.
constexpr size_t kRecordOverhead = 48;
// A server that is asked for a sign of life may be busy with reading for others.
constexpr std::chrono::milliseconds kPatience = 3 * kSilence;
// A server that has heard nothing of a leader for so long may be the one that is cut off.
constexpr uint64_t kNoNewsMs = 10000;
constexpr std::chrono::milliseconds kNews{kNoNewsMs};

/// What one subscription has brought; between the io thread and the caller's.
struct Arrivals {
  Mutex mutex;
  std::condition_variable_any changed;  // no Condition, for a std::stop_token ends its waits too
  std::string server TAILRACE_GUARDED_BY(mutex);    // that answers; empty: none yet
  SteadyTime since TAILRACE_GUARDED_BY(mutex);      // it does
  SteadyTime heard TAILRACE_GUARDED_BY(mutex);      // from it, last
  uint64_t news_ms TAILRACE_GUARDED_BY(mutex) = 0;  // so old is what it knows of the leader
  std::deque<TailRecord> records TAILRACE_GUARDED_BY(mutex);
  std::optional<Address> from TAILRACE_GUARDED_BY(mutex);
  std::optional<Address> to TAILRACE_GUARDED_BY(mutex);
  std::optional<Address> end TAILRACE_GUARDED_BY(mutex);
  std::optional<Error> refusal TAILRACE_GUARDED_BY(mutex);     // the server's answer
  std::optional<Error> broken TAILRACE_GUARDED_BY(mutex);      // the connection's end
  std::optional<Error> unreached TAILRACE_GUARDED_BY(mutex);   // the last attempt to find a server
  std::set<std::string> not_there TAILRACE_GUARDED_BY(mutex);  // what these attempts said

  void take(wire::Response::Reader response) {
    const MutexLock lock(mutex);
    heard = std::chrono::steady_clock::now();
    news_ms = response.getStalenessBoundMs();
    switch (response.which()) {
      case wire::Response::TAIL_START:
        from = Address{response.getTailStart().getFrom()};
        to = Address{response.getTailStart().getTo()};
        break;
      case wire::Response::RECORDS:
        for (const auto one : response.getRecords())
          records.push_back(
              TailRecord{Address{one.getAddress()}, Address{one.getEnd()}, Epoch{one.getEpoch()},
                         static_cast<RecordKind>(one.getKind()), to_string(one.getPayload())});
        break;
      case wire::Response::TAIL_END:
        end = Address{response.getTailEnd()};
        break;
      case wire::Response::ERROR:
        if (!refusal) refusal = read_error(response.getError());
        break;
      case wire::Response::HELLO:
      case wire::Response::COMMAND:
      case wire::Response::GET:
      case wire::Response::STATUS:
      case wire::Response::CHECKPOINT:
      case wire::Response::DIGEST:
      case wire::Response::SCAN:
      case wire::Response::STREAM:
      case wire::Response::STREAMS:
      case wire::Response::MGET:
      case wire::Response::HISTORY:
      case wire::Response::DONE:
        break;  // nothing that a tail asks for
    }
    changed.notify_all();
  }
};

template <typename Fill>
void request(ClientConnection& connection, uint64_t id, Fill fill) {
  OutgoingMessage message;
  auto to = message.init<wire::Request>();
  to.setId(id);
  fill(to);
  connection.send(message.builder());
  connection.flush();
}

struct Wanted {
  Address from, to;
  bool from_end = false, follow = false;
};

/// The search for a server, then the connection to it. All but arrivals() on the io thread.
class Subscription : public std::enable_shared_from_this<Subscription> {
 public:
  Subscription(std::shared_ptr<ClientContext> context, const Wanted& wanted)
      : context_(std::move(context)), wanted_(wanted) {}

  void open(std::vector<std::string> order) {
    ServerSearch::Events events;
    events.answers = [self = shared_from_this()](const ServerSearch::Connection& connection,
                                                 const ServerHello&) {
      self->subscribe(connection);
      return true;
    };
    events.failed = [self = shared_from_this()](const Error& error) {
      const MutexLock lock(self->arrivals_.mutex);
      self->arrivals_.unreached = error;
      self->arrivals_.not_there.insert(error.message);
      if (error.code == ErrorCode::kUnsupported) self->arrivals_.refusal = error;
      self->arrivals_.changed.notify_all();
    };
    Loop& loop = context_->loop;
    search_ =
        std::make_shared<ServerSearch>(loop.io(), context_->options.max_frame_bytes, loop.traffic(),
                                       &context_->cluster, std::move(order), std::move(events));
    search_->start();
  }
  void give_credit(uint64_t bytes) {
    if (connection_)
      request(*connection_, kSubscription,
              [=](wire::Request::Builder out) { out.initCredit().setBytes(bytes); });
  }
  /// A hello is answered by hello, at once, and asks nothing of the node.
  void ask_for_life() {
    if (connection_)
      request(*connection_, kSignOfLife, [](wire::Request::Builder out) {
        out.initHello().setProtocolVersion(kProtocolVersion);
      });
  }
  void leave() {
    if (search_) std::exchange(search_, nullptr)->stop();
    if (connection_) std::exchange(connection_, nullptr)->detach();
  }
  Arrivals& arrivals() { return arrivals_; }

 private:
  void ask_for_identity() {
    const SteadyTime now = std::chrono::steady_clock::now();
    if (context_->cluster.known() || now - asked_for_identity_ < kSilence) return;
    asked_for_identity_ = now;
    ask_for_life();
  }
  void subscribe(const ServerSearch::Connection& connection) {
    search_.reset();
    connection_ = connection;
    ClientConnection::Events events;
    // A log that was young when the tail began has an identity by and by, and hellos say it.
    events.response = [self = shared_from_this(),
                       server = connection->address()](wire::Response::Reader response) {
      if (response.isHello())
        (void)self->context_->cluster.meet(to_string(response.getHello().getClusterIdentity()),
                                           server);
      self->arrivals_.take(response);
      self->ask_for_identity();
    };
    events.closed = [self = shared_from_this()](const Error& error) {
      self->connection_.reset();
      const MutexLock lock(self->arrivals_.mutex);
      self->arrivals_.broken = error;
      self->arrivals_.changed.notify_all();
    };
    connection->set_events(std::move(events));
    {
      const MutexLock lock(arrivals_.mutex);
      arrivals_.server = connection->address();
      arrivals_.since = arrivals_.heard = std::chrono::steady_clock::now();
      arrivals_.changed.notify_all();
    }
    request(*connection, kSubscription, [this](wire::Request::Builder out) {
      auto tail = out.initTail();
      tail.setFrom(wanted_.from.value);
      tail.setTo(wanted_.to.value);
      tail.setFromEnd(wanted_.from_end);
      tail.setFollow(wanted_.follow);
      tail.setCreditBytes(kCreditBytes);
    });
  }

  const std::shared_ptr<ClientContext> context_;
  const Wanted wanted_;
  Arrivals arrivals_;
  std::shared_ptr<ServerSearch> search_;
  ServerSearch::Connection connection_;
  SteadyTime asked_for_identity_;
};

/// Another server may take what this one does not take now.
bool passes(const Error& error) {
  return error.code == ErrorCode::kUnavailable || error.code == ErrorCode::kTimedOut ||
         error.code == ErrorCode::kClosed || error.code == ErrorCode::kResourceExhausted ||
         error.code == ErrorCode::kWouldBlock;
}

/// One call of tail(), over as many subscriptions as it takes.
class Tailing {
 public:
  using Visit = std::function<bool(const TailRecord&)>;
  Tailing(std::shared_ptr<ClientContext> context, const Client::TailOptions& options,
          const Visit& visit, std::stop_token stop)
      : context_(std::move(context)),
        io_(context_->loop.io()),
        client_(context_->options),
        options_(options),
        visit_(visit),
        stop_(std::move(stop)),
        from_(options.from.value_or(Address{})),
        to_(options.to.value_or(Address{})),
        from_end_(options.from_end),
        promised_(options.to.has_value()),
        server_count_(
            std::set<std::string>(client_.servers.begin(), client_.servers.end()).size()) {}

  Result<Address> run() {
    progress();
    for (size_t attempt = 1;; ++attempt) {
      auto subscription = std::make_shared<Subscription>(
          context_, Wanted{from_, to_, from_end_, options_.follow || promised_});
      std::vector<std::string> order = client_.servers;
      std::rotate(order.begin(), order.begin() + static_cast<long>(first_), order.end());
      asio::post(io_, [subscription, order] { subscription->open(order); });
      const auto ended = read(*subscription);
      // Until then the subscription and its connection hold each other.
      context_->loop.run_surely([subscription] { subscription->leave(); });
      if (ended) return *ended;
      {
        const MutexLock lock(subscription->arrivals().mutex);
        if (const auto late = look_at_time(subscription->arrivals())) return *late;
      }
      if (attempt % client_.servers.size() == 0) pause();
    }
  }

 private:
  using Ended = std::optional<Result<Address>>;

  void progress() {
    give_up_ = std::chrono::steady_clock::now() + client_.timeout;
    refused_.clear();
    refusal_.reset();
    put_off_.reset();
  }
  void pause() {
    Mutex mutex;
    MutexLock lock(mutex);
    std::condition_variable_any().wait_for(lock, stop_, kRetryPause, [] { return false; });
  }

  /// Until this subscription is over: nothing then if another server is to be tried.
  Ended read(Subscription& subscription) {
    Arrivals& arrivals = subscription.arrivals();
    std::optional<SteadyTime> asked;  // for a sign of life
    for (;;) {
      std::deque<TailRecord> records;
      bool starts = false;
      {
        MutexLock lock(arrivals.mutex);
        // From then on its silence counts.
        const bool connects = arrivals.server.empty();
        const auto something = [&]() TAILRACE_REQUIRES(arrivals.mutex) {
          return (connects && !arrivals.server.empty()) || !arrivals.records.empty() ||
                 arrivals.end || arrivals.refusal || arrivals.broken || (arrivals.from && !begun_);
        };
        if (!arrivals.changed.wait_until(lock, stop_, wake_up(arrivals, asked), something)) {
          if (stop_.stop_requested())
            return make_error(ErrorCode::kCancelled, "the tail was ended");
          if (const auto ended = look_at_time(arrivals)) return *ended;
          if (!check_life(subscription, arrivals, asked)) return leave(arrivals);
          continue;
        }
        if (arrivals.from) starts = take_start(arrivals);
        records.swap(arrivals.records);
        if (records.empty() && !starts) {  // where it starts is told first
          if (arrivals.end) return Result<Address>(std::max(from_, *arrivals.end));
          if (arrivals.refusal) return refused(arrivals);
          if (arrivals.broken) {
            problem_ = *arrivals.broken;
            return leave(arrivals);
          }
        }
      }
      if (starts && options_.started) options_.started(from_);
      if (const auto ended = visit(subscription, records)) return *ended;
    }
  }

  SteadyTime wake_up(const Arrivals& arrivals, const std::optional<SteadyTime>& asked) const
      TAILRACE_REQUIRES(arrivals.mutex) {
    SteadyTime time = waits_for_ever() ? SteadyTime::max() : give_up_;
    if (arrivals.server.empty()) return time;
    const bool owed = asked && *asked > arrivals.heard;
    return std::min(time, owed ? *asked + kPatience : arrivals.heard + kSilence);
  }
  /// With a refusal in hand a tail ends in time whether it follows or not.
  bool waits_for_ever() const { return options_.follow && !refusal_; }

  Ended look_at_time(const Arrivals& arrivals) TAILRACE_REQUIRES(arrivals.mutex) {
    if (waits_for_ever() || std::chrono::steady_clock::now() < give_up_) return std::nullopt;
    if (refusal_) return tl::unexpected(*refusal_);
    if (arrivals.broken) {
      problem_ = *arrivals.broken;
    } else if (!arrivals.server.empty() && !arrivals.from && put_off_) {
      problem_ = *put_off_;
    } else if (!arrivals.server.empty()) {
      problem_ = Error{ErrorCode::kTimedOut,
                       fmt::format("{} sends no records in time: read up to address {}{}",
                                   arrivals.server, from_.value, promise())};
    } else if (arrivals.unreached) {
      problem_ = *arrivals.unreached;
    } else if (problem_.message.empty()) {
      problem_.message = fmt::format("no answer from {}", fmt::join(client_.servers, ", "));
    }
    return tl::unexpected(problem_);
  }
  std::string promise() const {
    return promised_ ? fmt::format(", and the end is at {}", to_.value) : "";
  }

  /// False when the server is to be left: silent, or cut off while another may have news.
  bool check_life(Subscription& subscription, const Arrivals& arrivals,
                  std::optional<SteadyTime>& asked) TAILRACE_REQUIRES(arrivals.mutex) {
    if (arrivals.server.empty()) return true;
    const SteadyTime now = std::chrono::steady_clock::now();
    if (asked && *asked > arrivals.heard) {
      if (now - *asked < kPatience) return true;
      problem_ = Error{ErrorCode::kUnavailable, arrivals.server + " does not answer"};
      return false;
    }
    if (now - arrivals.heard < kSilence) return true;
    if (arrivals.news_ms > kNoNewsMs && now - arrivals.since > kNews && server_count_ > 1) {
      problem_ = Error{ErrorCode::kUnavailable, arrivals.server + " has no news of a leader"};
      return false;
    }
    asked = now;
    asio::post(io_, [self = subscription.shared_from_this()] { self->ask_for_life(); });
    return true;
  }

  /// Makes absolute what the words mean; true the first time.
  bool take_start(const Arrivals& arrivals) TAILRACE_REQUIRES(arrivals.mutex) {
    if (std::exchange(begun_, true)) return false;
    if (from_.value == 0 || from_end_) from_ = *arrivals.from;
    from_end_ = false;
    // That end stands: who comes next may not have it yet, and is waited for.
    promised_ = *arrivals.to != Address::max();
    if (promised_) to_ = *arrivals.to;
    return true;
  }

  Ended visit(Subscription& subscription, const std::deque<TailRecord>& records) {
    if (records.empty()) return std::nullopt;
    uint64_t bytes = 0;
    for (const TailRecord& record : records) {
      if (stop_.stop_requested()) return make_error(ErrorCode::kCancelled, "the tail was ended");
      bytes += record.payload.size() + kRecordOverhead;
      from_ = record.end;
      if (!visit_(record)) return Result<Address>(from_);
    }
    if (options_.caught_up && !options_.caught_up()) return Result<Address>(from_);
    progress();
    asio::post(io_, [self = subscription.shared_from_this(), bytes] { self->give_credit(bytes); });
    return std::nullopt;
  }

  /// What is wrong with the address is wrong everywhere; else each server is asked, for another may
  /// keep more of the log.
  Ended refused(const Arrivals& arrivals) TAILRACE_REQUIRES(arrivals.mutex) {
    const Error& error = *arrivals.refusal;
    if (passes(error)) {
      problem_ = error;
      put_off_ = error;
      return leave(arrivals);
    }
    if (!refusal_) give_up_ = std::chrono::steady_clock::now() + client_.timeout;
    refusal_ = error;
    refused_.insert(arrivals.server);
    const bool gone = !options_.follow || server_count_ == 1;
    const size_t asked = refused_.size() + (gone ? arrivals.not_there.size() : 0);
    if (error.code == ErrorCode::kInvalidArgument || error.code == ErrorCode::kUnsupported ||
        asked >= server_count_)
      return tl::unexpected(error);
    return leave(arrivals);
  }

  /// The next search begins behind this server.
  Ended leave(const Arrivals& arrivals) TAILRACE_REQUIRES(arrivals.mutex) {
    const auto at = std::ranges::find(client_.servers, arrivals.server);
    const auto next = static_cast<size_t>(at - client_.servers.begin()) + 1;
    first_ = next < client_.servers.size() ? next : 0;
    return std::nullopt;
  }

  const std::shared_ptr<ClientContext> context_;
  asio::io_context& io_;
  const ClientOptions& client_;
  const Client::TailOptions& options_;
  const Visit& visit_;
  const std::stop_token stop_;
  // What is still wanted.
  Address from_, to_;
  bool from_end_;
  bool begun_ = false;             // a server has said what the words mean
  bool promised_ = false;          // to_ is the end
  const size_t server_count_;      // different ones
  size_t first_ = 0;               // server to be tried
  std::set<std::string> refused_;  // since the last progress
  std::optional<Error> refusal_;   // the last of them said this
  /// Since the last progress a server said that it cannot now: why the next one is silent, too.
  std::optional<Error> put_off_;
  Error problem_{ErrorCode::kUnavailable, ""};
  SteadyTime give_up_;
};

}  // namespace

Result<Address> ClientImpl::tail(const TailOptions& options,
                                 const std::function<bool(const TailRecord&)>& visit) {
  TAILRACE_RETURN_IF_ERROR(check_thread());
  const Call call(*this);
  std::stop_source stop;
  const auto end = [&stop] { stop.request_stop(); };
  const std::stop_callback asked(options.stop, end);
  const std::stop_callback closing(closing_.get_token(), end);
  Tailing tailing(context_, options, visit, stop.get_token());
  Result<Address> reached = tailing.run();
  if (!reached && reached.error().code == ErrorCode::kCancelled && !options.stop.stop_requested())
    return make_error(ErrorCode::kClosed, "the client was closed");
  return reached;
}

}  // namespace tailrace::rpc
