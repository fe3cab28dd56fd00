// Many clients that append to streams and send transactions, for tests that look at what became of
// each. Every line of standard output is one finished operation, written as a whole:
//
//   withdraw   Clients take 1 from an account whose stream is opened already (event 0); each append
//              expects the exact version. A client that lost reads the version from its answer and
//              goes on with that.
//                accepted CLIENT TRY VERSION
//                declined CLIENT TRY          (nothing is left)
//   events     Each client appends events with ids to one of the streams, and any version is
//              expected. After a lost answer the same event is sent again, until one is answered.
//                event CLIENT NUMBER VERSION REPLAYED ATTEMPTS
//   orders     One transaction: an order's own stream, one less in stock if there is any, a view,
//              and an event in the outbox.
//                sold ORDER SKU LEFT ATTEMPTS
//                out ORDER SKU                (nothing is in stock)
//   many       One event to each of as many streams as there are tries, whose text is the stream's
//              number. Nothing is printed.
//   many-look  That the servers have exactly that in each of these streams. Nothing is printed.
//   look       What one node has of these orders, at level any, in four looks: order streams, keys
//              (those of a SKU at one address), outbox, order streams.
//                first ORDER POSITION | stock SKU LEFT VIEWS | view ORDER POSITION |
//                outbox ORDER POSITION | last ORDER POSITION
//
// The clients with odd numbers have no session (but in `withdraw`): a lost answer is theirs to deal
// with, by ids and once keys. Ends with 0 when each try is done, or at the end of standard input
// when those that have begun are; with 1 at an answer that breaks a promise.
#include <atomic>
#include <cstdio>
#include <functional>
#include <iostream>
#include <limits>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "core/mutex.h"
#include "rpc/client/client.h"
#include "rpc/client/runtime.h"

namespace tailrace::test {
namespace {

using statemachine::CheckKind;
using statemachine::Expected;
using statemachine::TxnEffectKind;

struct Options {
  std::string servers = "127.0.0.1:7100";
  uint32_t clients = 64, streams = 4, skus = 2;
  uint64_t tries = 1000, balance = 500;
  double timeout_s = 60;
  uint32_t pause_ms = 0;  // of each client, after each order
};

/// So many events at most begin in a stream after one that is not finished: fewer than the ids that
/// a stream remembers.
constexpr uint64_t kMostAhead = 48;

template <typename... Arguments>
void print(fmt::format_string<Arguments...> text, Arguments&&... arguments) {
  const std::string line = fmt::format(text, std::forward<Arguments>(arguments)...) + "\n";
  std::fwrite(line.data(), 1, line.size(), stdout);  // locks the stream
}

[[noreturn]] void fail(std::string_view what) {
  std::fflush(stdout);
  fmt::print(stderr, "stream_clients: {}\n", what);
  std::_Exit(1);
}

/// Whether the same may be sent again: it may have happened, or could not be sent.
bool again(const Error& error) {
  switch (error.code) {
    case ErrorCode::kUnknownOutcome:
    case ErrorCode::kTimedOut:
    case ErrorCode::kClosed:
    case ErrorCode::kUnavailable:
    case ErrorCode::kNotLeader:
      return true;
    default:
      return false;
  }
}

std::unique_ptr<rpc::Client> connect(const Options& options, bool session,
                                     const std::shared_ptr<rpc::Runtime>& runtime = nullptr) {
  rpc::ClientOptions client;
  client.servers.clear();
  std::stringstream list(options.servers);
  for (std::string one; std::getline(list, one, ',');)
    client.servers.push_back(one);
  client.timeout = std::chrono::milliseconds(static_cast<int64_t>(options.timeout_s * 1000));
  client.exactly_once = session;
  client.runtime = runtime;
  auto connected = rpc::Client::create(std::move(client));
  if (!connected) fail(connected.error().message);
  return std::move(*connected);
}

/// The numbers of the tries, until there are no more or it is told to stop.
class Tries {
 public:
  explicit Tries(uint64_t count) : count_(count) {}
  std::optional<uint64_t> next() {
    const uint64_t number = next_.fetch_add(1);
    if (number >= count_) return std::nullopt;
    return number;
  }
  void stop() { next_.store(count_); }

 private:
  const uint64_t count_;
  std::atomic<uint64_t> next_{0};
};

using ClientWork = std::function<void(rpc::Client& client, uint32_t number, Tries& tries)>;

/// Each client on a thread that waits for its answers; those of even numbers, or all, have a
/// session.
int run_clients(const Options& options, bool all_sessions, const ClientWork& work) {
  auto runtime = rpc::Runtime::create({.threads = 2});
  if (!runtime) fail(runtime.error().message);
  Tries tries(options.tries);
  std::vector<std::unique_ptr<rpc::Client>> clients;
  for (uint32_t i = 0; i < options.clients; ++i)
    clients.push_back(connect(options, all_sessions || i % 2 == 0, *runtime));
  std::thread([&tries] {
    for (std::string line; std::getline(std::cin, line);) {
    }
    tries.stop();
  }).detach();
  {
    std::vector<std::jthread> threads;
    for (uint32_t i = 0; i < options.clients; ++i)
      threads.emplace_back([&, i] { work(*clients[i], i, tries); });
  }
  clients.clear();
  // The thread at standard input has `tries`.
  std::_Exit(std::fflush(stdout) == 0 ? 0 : 1);
}

// ---- Withdrawals.

int withdraw(const Options& options) {
  return run_clients(options, true, [&](rpc::Client& client, uint32_t number, Tries& tries) {
    uint64_t version = 0;  // which this client knows; as many withdrawals were accepted
    while (const auto attempt = tries.next()) {
      const std::string text = fmt::format("{}:{}", number, *attempt);
      const std::vector<rpc::NewEvent> events{{.data = as_bytes(text)}};
      bool accepted = false;
      while (!accepted && version < options.balance) {
        const auto answer = client.append("account", events, {Expected::kExact, version});
        if (!answer) fail(answer.error().message);
        accepted = answer->appended;
        if (accepted && (answer->first != version + 1 || answer->last != version + 1))
          fail(fmt::format("version {} was expected, and the event is at {} to {}", version,
                           answer->first, answer->last));
        if (!accepted && (answer->found.found != statemachine::FoundKind::kVersion ||
                          answer->found.number <= version))
          fail(fmt::format("version {} was expected, and {} is said to be there", version,
                           answer->found.number));
        version = accepted ? answer->last : answer->found.number;
        if (accepted) print("accepted {} {} {}", number, *attempt, version);
      }
      if (!accepted) print("declined {} {}", number, *attempt);
    }
  });
}

// ---- Events with ids.

/// Those of one stream that are not finished.
class Window {
 public:
  uint64_t begin() {
    MutexLock lock(mutex_);
    moved_.wait(lock, [&]() TAILRACE_REQUIRES(mutex_) {
      return open_.empty() || next_ - *open_.begin() < kMostAhead;
    });
    open_.insert(next_);
    return next_++;
  }
  void end(uint64_t number) {
    const MutexLock lock(mutex_);
    open_.erase(number);
    moved_.notify_all();
  }

 private:
  Mutex mutex_;
  Condition moved_;
  uint64_t next_ TAILRACE_GUARDED_BY(mutex_) = 0;
  std::set<uint64_t> open_ TAILRACE_GUARDED_BY(mutex_);
};

/// The client's number and the event's, both from 1 on.
statemachine::EventIdBytes id_of(uint32_t client, uint64_t number) {
  statemachine::EventIdBytes id{};
  for (size_t i = 0; i < 8; ++i) {
    id[7 - i] = static_cast<std::byte>((uint64_t{client} + 1) >> (8 * i));
    id[15 - i] = static_cast<std::byte>((number + 1) >> (8 * i));
  }
  return id;
}

int append_events(const Options& options) {
  std::vector<Window> windows(options.streams);
  return run_clients(options, false, [&](rpc::Client& client, uint32_t number, Tries& tries) {
    const std::string stream = fmt::format("events/{}", number % options.streams);
    Window& window = windows[number % options.streams];
    while (const auto event = tries.next()) {
      const std::string text = fmt::format("{}:{}", number, *event);
      const std::vector<rpc::NewEvent> events{
          {.data = as_bytes(text), .id = id_of(number, *event)}};
      const uint64_t place = window.begin();
      for (uint32_t attempts = 1;; ++attempts) {
        const auto answer = client.append(stream, events, {});
        if (answer && !answer->appended) fail(fmt::format("event {} was refused", text));
        if (answer) {
          print("event {} {} {} {} {}", number, *event, answer->first, answer->replayed ? 1 : 0,
                attempts);
          break;
        }
        if (!again(answer.error())) fail(fmt::format("{}: {}", text, answer.error().message));
      }
      window.end(place);
    }
  });
}

// ---- Many streams.

std::string many_stream(uint64_t number) {
  return fmt::format("many/{:08}", number);
}

int append_to_many(const Options& options) {
  return run_clients(options, true, [&](rpc::Client& client, uint32_t, Tries& tries) {
    while (const auto number = tries.next()) {
      const std::string text = fmt::format("{}", *number);
      const std::vector<rpc::NewEvent> events{{.data = as_bytes(text)}};
      const auto answer = client.append(many_stream(*number), events, {Expected::kNone, 0});
      if (!answer) fail(answer.error().message);
      if (!answer->appended) fail(fmt::format("{} was there already", many_stream(*number)));
    }
  });
}

int look_at_many(const Options& options) {
  return run_clients(options, false, [&](rpc::Client& client, uint32_t, Tries& tries) {
    rpc::Client::StreamReadOptions all;
    all.read.level = rpc::ReadOptions::Level::kAny;
    while (const auto number = tries.next()) {
      std::vector<std::string> found;
      const auto end =
          client.read_stream(many_stream(*number), all, [&](const rpc::StreamEvent& event) {
            found.push_back(fmt::format("{}:{}", event.version, as_text(event.event.data)));
            return true;
          });
      if (!end) fail(fmt::format("{}: {}", many_stream(*number), end.error().message));
      if (found != std::vector{fmt::format("0:{}", *number)})
        fail(fmt::format("{} has {} events, {}", many_stream(*number), found.size(),
                         found.empty() ? "" : found.back()));
    }
  });
}

// ---- Orders.

/// All that one order does. The texts outlive the transaction.
struct OrderTxn {
  OrderTxn(uint64_t order, uint64_t sku)
      : stream(fmt::format("order/{}", order)),
        stock(fmt::format("stock/{}", sku)),
        view(fmt::format("view/{}", order)),
        text(fmt::format("{}", order)) {
    txn.once = statemachine::OnceKey{.high = 7, .low = order + 1, .until_ns = kRememberedNs};
    txn.checks.push_back({.kind = CheckKind::kKeyNumber,
                          .name = as_bytes(stock),
                          .min = 1,
                          .max = std::numeric_limits<int64_t>::max()});
    append(stream, Expected::kNone);
    txn.then.push_back({.kind = TxnEffectKind::kAdd, .name = as_bytes(stock), .delta = -1});
    txn.then.push_back(
        {.kind = TxnEffectKind::kPut, .name = as_bytes(view), .value = as_bytes(text)});
    append("outbox", Expected::kAny);
  }
  void append(std::string_view to, Expected expected) {
    statemachine::TxnEffect effect{
        .kind = TxnEffectKind::kAppend, .name = as_bytes(to), .expected = expected};
    statemachine::TxnEvent event;
    event.data = as_bytes(text);
    txn.add_event(effect, event);
    txn.then.push_back(effect);
  }

  static constexpr uint64_t kRememberedNs = 3'600ull * 1'000'000'000;
  std::string stream, stock, view, text;
  statemachine::Txn txn;
};

/// What a finished order came to.
void tell_order(uint64_t order, uint64_t sku, const rpc::TxnAnswer& answer, uint32_t attempts) {
  if (!answer.result) fail(fmt::format("what order {} came to is not remembered", order));
  const statemachine::TxnResult& result = *answer.result;
  if (answer.succeeded) {
    if (result.results.size() != 4 || result.results[1].number < 0)
      fail(fmt::format("order {} left {} in stock", order,
                       result.results.size() == 4 ? result.results[1].number : 0));
    return print("sold {} {} {} {}", order, sku, result.results[1].number, attempts);
  }
  const auto& failed = result.failed;
  if (failed.size() != 1 || failed[0].list != statemachine::TxnList::kChecks ||
      as_text(failed[0].value) != "0")
    fail(fmt::format("order {} failed for another reason than its stock", order));
  print("out {} {}", order, sku);
}

int place_orders(const Options& options) {
  return run_clients(options, false, [&](rpc::Client& client, uint32_t, Tries& tries) {
    while (const auto order = tries.next()) {
      const uint64_t sku = *order % options.skus;
      const OrderTxn one(*order, sku);
      for (uint32_t attempts = 1;; ++attempts) {
        const auto answer = client.txn(one.txn);
        if (answer) {
          tell_order(*order, sku, *answer, attempts);
          break;
        }
        if (!again(answer.error()))
          fail(fmt::format("order {}: {}", *order, answer.error().message));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(options.pause_ms));
    }
  });
}

// ---- What a node has of the orders.

/// The looks of one node, each of a state that is not older than that of the look before.
class Look {
 public:
  explicit Look(const Options& options) : options_(options), client_(connect(options, false)) {
    any_.level = rpc::ReadOptions::Level::kAny;
  }
  int run() {
    order_streams("first");
    for (uint64_t sku = 0; sku < options_.skus; ++sku)
      keys_of(sku);
    stream("outbox", "outbox");
    order_streams("last");
    return std::fflush(stdout) == 0 ? 0 : 1;
  }

 private:
  void order_streams(std::string_view name) {
    for (uint64_t order = 0; order < options_.tries; ++order)
      stream(name, fmt::format("order/{}", order));
  }
  void stream(std::string_view name, const std::string& which) {
    rpc::Client::StreamReadOptions all;
    all.read = any_;
    const auto end = client_->read_stream(which, all, [&](const rpc::StreamEvent& event) {
      print("{} {} {}", name, as_text(event.event.data), event.position);
      return true;
    });
    if (!end) fail(fmt::format("{}: {}", which, end.error().message));
    goes_on(end->applied);
  }
  void keys_of(uint64_t sku) {
    std::vector<std::string> names{fmt::format("stock/{}", sku)};
    for (uint64_t order = sku; order < options_.tries; order += options_.skus)
      names.push_back(fmt::format("view/{}", order));
    std::vector<ByteSpan> keys;
    for (const std::string& name : names)
      keys.push_back(as_bytes(name));
    const auto answer = client_->mget(keys, any_);
    if (!answer) fail(answer.error().message);
    goes_on(answer->applied);
    uint64_t views = 0;
    for (size_t i = 1; i < keys.size(); ++i) {
      const rpc::KeyAnswer& view = answer->values[i];
      views += view.found ? 1 : 0;
      if (view.found) print("view {} {}", view.value, view.modified_at);
    }
    print("stock {} {} {}", sku, answer->values[0].found ? answer->values[0].value : "-", views);
  }
  /// The looks say something of each other only in this order.
  void goes_on(Address applied) {
    if (applied < seen_) fail("the node's state went back between two reads");
    seen_ = applied;
  }

  const Options& options_;
  const std::unique_ptr<rpc::Client> client_;
  rpc::ReadOptions any_;
  Address seen_;
};

int run(int argc, char** argv) {
  Options options;
  CLI::App app("Clients that say what became of each append and transaction", "stream_clients");
  app.require_subcommand(1);
  app.fallthrough();
  app.add_option("--server", options.servers, "HOST:PORT[,HOST:PORT...]");
  app.add_option("--clients", options.clients, "Each on a thread");
  app.add_option("--tries", options.tries, "Of all clients");
  app.add_option("--balance", options.balance, "How many withdrawals there may be");
  app.add_option("--streams", options.streams, "That the events go to");
  app.add_option("--skus", options.skus, "What is sold; of each at most 1,023 tries");
  app.add_option("--pause-ms", options.pause_ms, "Of each client after each order");
  app.add_option("--timeout", options.timeout_s, "Seconds for one operation");
  int code = 0;
  app.add_subcommand("withdraw")->callback([&] { code = withdraw(options); });
  app.add_subcommand("events")->callback([&] { code = append_events(options); });
  app.add_subcommand("many")->callback([&] { code = append_to_many(options); });
  app.add_subcommand("many-look")->callback([&] { code = look_at_many(options); });
  app.add_subcommand("orders")->callback([&] { code = place_orders(options); });
  app.add_subcommand("look")->callback([&] { code = Look(options).run(); });
  CLI11_PARSE(app, argc, argv);
  return code;
}

}  // namespace
}  // namespace tailrace::test

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 1u << 16);
  return tailrace::test::run(argc, argv);
}
