// tail(): one subscription at a time; records come on the io thread, the caller's thread visits
// them and gives the credit back.
#include <condition_variable>
#include <deque>

#include <asio/post.hpp>
#include <fmt/format.h>

#include "rpc/client_impl.h"
#include "rpc/wire_error.h"

namespace tailrace::rpc {
namespace {

constexpr uint64_t kCreditBytes = 8u << 20;
constexpr uint64_t kSubscription = 1;
// As the server counts a record against the credit.
constexpr size_t kRecordOverhead = 48;

/// What one subscription has brought; between the io thread and the caller's.
struct Arrivals {
  std::mutex mutex;
  std::condition_variable changed;
  // Guarded by mutex:
  std::deque<TailRecord> records;
  std::optional<Address> from, to, end;
  std::optional<Error> refusal;  // the server's answer
  std::optional<Error> broken;   // the connection's end

  void fail(const Error& error) {
    const std::lock_guard lock(mutex);
    if (!broken) broken = error;
    changed.notify_all();
  }

  void take(wire::Response::Reader response) {
    const std::lock_guard lock(mutex);
    switch (response.which()) {
      case wire::Response::TAIL_START:
        from = Address{response.getTailStart().getFrom()};
        to = Address{response.getTailStart().getTo()};
        break;
      case wire::Response::RECORDS:
        for (const auto one : response.getRecords())
          records.push_back(TailRecord{
              Address{one.getAddress()}, Address{one.getEnd()}, Epoch{one.getEpoch()},
              static_cast<fasterlog::RecordKind>(one.getKind()), to_string(one.getPayload())});
        break;
      case wire::Response::TAIL_END:
        end = Address{response.getTailEnd()};
        break;
      case wire::Response::ERROR:
        refusal = read_error(response.getError());
        break;
      default:
        break;
    }
    changed.notify_all();
  }
};

/// The connection of one subscription; its members are used on the io thread only.
struct Link {
  std::shared_ptr<ClientConnection> connection;
  bool abandoned = false;
};

template <typename Fill>
void request(ClientConnection& connection, Fill fill) {
  OutgoingMessage message;
  auto to = message.init<wire::Request>();
  to.setId(kSubscription);
  fill(to);
  connection.send(message.builder());
  connection.flush();
}

}  // namespace

Result<Address> ClientImpl::tail(const TailOptions& options,
                                 const std::function<bool(const TailRecord&)>& visit) {
  // What is still wanted; absolute as soon as a server has said what the words mean.
  Address from = options.from.value_or(Address{});
  Address to = options.to.value_or(Address{});
  bool from_end = options.from_end;
  Error problem{ErrorCode::kUnavailable, "no server could be reached"};
  SteadyTime give_up = std::chrono::steady_clock::now() + options_.timeout;

  for (size_t attempt = 0;; ++attempt) {
    if (std::chrono::steady_clock::now() >= give_up) return tl::unexpected(problem);
    if (attempt > 0 && attempt % options_.servers.size() == 0)
      std::this_thread::sleep_for(kRetryPause);
    const std::string& server = options_.servers[attempt % options_.servers.size()];
    auto arrivals = std::make_shared<Arrivals>();
    auto link = std::make_shared<Link>();
    const auto ask = [=](wire::Request::Builder out) {
      auto tail = out.initTail();
      tail.setFrom(from.value);
      tail.setTo(to.value);
      tail.setFromEnd(from_end);
      tail.setFollow(options.follow);
      tail.setCreditBytes(kCreditBytes);
    };
    auto made = [=](Result<std::shared_ptr<ClientConnection>> connection) {
      if (!connection) return arrivals->fail(connection.error());
      if (link->abandoned) return (*connection)->detach();
      link->connection = std::move(*connection);
      ClientConnection::Events events;
      events.ready = [link, ask](const ServerHello&) { request(*link->connection, ask); };
      events.response = [arrivals](wire::Response::Reader response) { arrivals->take(response); };
      events.closed = [arrivals, link](const Error& error) {
        link->connection.reset();
        arrivals->fail(error);
      };
      link->connection->begin(std::move(events), kDialTime);
    };
    asio::post(io_, [this, server, made] {
      ClientConnection::dial(io_, server, kDialTime, options_.max_frame_bytes, traffic_, made);
    });
    const auto leave = [&] {
      asio::post(io_, [link] {
        link->abandoned = true;
        if (link->connection) std::exchange(link->connection, nullptr)->detach();
      });
    };

    bool next_server = false;
    while (!next_server) {
      std::deque<TailRecord> records;
      std::optional<Address> end;
      {
        std::unique_lock lock(arrivals->mutex);
        const auto something = [&] {
          return !arrivals->records.empty() || arrivals->end || arrivals->refusal ||
                 arrivals->broken || (from_end && arrivals->from);
        };
        if (options.follow && arrivals->from)
          arrivals->changed.wait(lock, something);
        else if (!arrivals->changed.wait_until(lock, give_up, something))
          arrivals->broken = Error{ErrorCode::kTimedOut, server + " sends no records in time"};
        if (arrivals->from) {
          if (from.value == 0 || from_end) from = *arrivals->from;
          if (*arrivals->to != Address::max()) to = *arrivals->to;
          from_end = false;
        }
        records.swap(arrivals->records);
        if (records.empty()) {
          end = arrivals->end;
          if (!end && arrivals->refusal) {
            problem = *arrivals->refusal;
            lock.unlock();
            leave();
            return tl::unexpected(problem);
          }
          if (!end && arrivals->broken) {
            problem = *arrivals->broken;
            next_server = true;
          }
        }
      }
      uint64_t visited_bytes = 0;
      for (const TailRecord& record : records) {
        visited_bytes += record.payload.size() + kRecordOverhead;
        from = record.end;
        if (!visit(record)) {
          leave();
          return from;
        }
      }
      if (end) {
        leave();
        return std::max(from, *end);
      }
      if (records.empty()) continue;
      give_up = std::chrono::steady_clock::now() + options_.timeout;
      asio::post(io_, [link, visited_bytes] {
        if (!link->connection) return;
        request(*link->connection,
                [=](wire::Request::Builder out) { out.initCredit().setBytes(visited_bytes); });
      });
    }
    leave();
  }
}

}  // namespace tailrace::rpc
