#include "app/bench/service/service_load.h"

#include <algorithm>
#include <future>
#include <memory>
#include <thread>

#include <fmt/format.h>
#include <sys/resource.h>

#include "app/bench/service/load_thread.h"

namespace tailrace::app {

namespace {

using Clock = std::chrono::steady_clock;

/// Clients that connect at once; a server's queue of connections has an end.
constexpr size_t kConnectAtOnce = 64;

/// What an event takes beside its bytes, about.
constexpr uint64_t kEventBytes = 16;

/// Of a transaction of EventLoad: two events and a value.
constexpr uint64_t kValuesOfTxn = 3;

double cpu_us_of_process() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  const auto us = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_usec);
  };
  return us(used.ru_utime) + us(used.ru_stime);
}

/// Makes the clients and has each read one key, which opens its connection. An unreachable service
/// is an error, not a measurement.
Result<std::vector<std::unique_ptr<rpc::Client>>> connected_clients(
    const rpc::ClientOptions& client_options, const LoadOptions& options) {
  std::vector<std::unique_ptr<rpc::Client>> clients;
  std::vector<std::future<Result<>>> answers;
  const auto connect = [&](size_t i) {
    // The client's thread may still be in set_value() when this one has the answer and goes on.
    const auto answer = std::make_shared<std::promise<Result<>>>();
    answers.push_back(answer->get_future());
    clients[i]->async_get(as_bytes("bench/0"), options.read,
                          [answer](const Result<rpc::ReadAnswer>& read) {
                            answer->set_value(read ? Result<>() : tl::unexpected(read.error()));
                          });
  };
  for (uint32_t i = 0; i < options.clients; ++i) {
    rpc::ClientOptions mine = client_options;
    mine.runtime_thread = i % options.threads;
    mine.share_connection = options.share_connections;
    std::rotate(mine.servers.begin(), mine.servers.begin() + i % mine.servers.size(),
                mine.servers.end());
    TAILRACE_ASSIGN_OR_RETURN(auto client, rpc::Client::create(std::move(mine)));
    clients.push_back(std::move(client));
  }
  for (size_t first = 0; first < clients.size(); first += kConnectAtOnce) {
    const size_t end = std::min(clients.size(), first + kConnectAtOnce);
    for (size_t i = first; i < end; ++i)
      connect(i);
    Result<> result;
    for (size_t i = first; i < end; ++i) {
      Result<> one = answers[i].get();
      if (!one) result = std::move(one);
    }
    TAILRACE_RETURN_IF_ERROR(result);
  }
  return clients;
}

void throw_failure(const std::vector<std::unique_ptr<LoadThread>>& threads) {
  for (const auto& thread : threads)
    if (thread->wait_until(Clock::now()) && thread->failure())
      std::rethrow_exception(thread->failure());
}

uint64_t operations_of(const std::vector<std::unique_ptr<LoadThread>>& threads) {
  uint64_t sum = 0;
  for (const auto& thread : threads)
    sum += thread->operations();
  return sum;
}

/// Clients end before their runtime, and that before what its timers have.
struct RunningLoad {
  explicit RunningLoad(std::shared_ptr<rpc::Runtime> its_runtime)
      : runtime(std::move(its_runtime)) {}
  RunningLoad(const RunningLoad&) = delete;
  RunningLoad& operator=(const RunningLoad&) = delete;
  ~RunningLoad() {
    for (const auto& thread : threads)
      thread->stop();
    runtime.reset();
  }

  std::shared_ptr<rpc::Runtime> runtime;
  std::vector<std::unique_ptr<LoadThread>> threads;
};

/// Throws what a thread has thrown.
void wait_for_all(const std::vector<std::unique_ptr<LoadThread>>& threads) {
  constexpr std::chrono::milliseconds kLook{100};
  for (const auto& thread : threads) {
    while (!thread->wait_until(Clock::now() + kLook))
      throw_failure(threads);
  }
  throw_failure(threads);
}

}  // namespace

Result<> check_load(const LoadOptions& options) {
  using Operation = LoadOptions::Operation;
  const uint64_t requests = uint64_t{options.clients} * options.in_flight;
  if (requests > kMostRequestsInFlight)
    return make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("--clients {} times --in-flight {} are {} requests at once, and at most {} are "
                    "made; lower one of them",
                    options.clients, options.in_flight, requests, kMostRequestsInFlight));
  const bool events = options.operation == Operation::kEvents;
  if (options.operation == Operation::kGet) return {};
  if (events && options.events.operation == EventLoad::Operation::kRead) return {};
  const bool appends = options.operation == Operation::kAppend ||
                       (events && options.events.operation == EventLoad::Operation::kAppend);
  const uint64_t values = appends ? options.batch : events ? kValuesOfTxn : 1;
  const uint64_t each = values * (options.value_bytes + kEventBytes);
  if (each <= kMostBytesInFlight / requests) return {};
  return make_error(
      ErrorCode::kInvalidArgument,
      fmt::format("{} requests at once of {} bytes each are more than the {} bytes that are kept "
                  "in flight; lower {}--value-bytes, --clients or --in-flight",
                  requests, each, kMostBytesInFlight, appends ? "--batch, " : ""));
}

Result<LoadResult> run_load(const rpc::ClientOptions& client_options, const LoadOptions& options,
                            const std::function<void(double, uint64_t)>& on_progress) {
  TAILRACE_ASSIGN_OR_RETURN(auto runtime, rpc::Runtime::create({.threads = options.threads}));
  rpc::ClientOptions on_runtime = client_options;
  on_runtime.runtime = runtime;
  RunningLoad load(std::move(runtime));
  TAILRACE_ASSIGN_OR_RETURN(auto clients, connected_clients(on_runtime, options));
  on_runtime.runtime.reset();
  auto& threads = load.threads;
  for (uint32_t i = 0; i < options.threads; ++i)
    threads.push_back(std::make_unique<LoadThread>(*load.runtime, i, options));
  for (uint32_t i = 0; i < options.clients; ++i)
    threads[i % options.threads]->add(std::move(clients[i]));

  const double cpu_us_before = cpu_us_of_process();
  const SteadyTime began = Clock::now();
  const SteadyTime deadline = began + std::chrono::duration_cast<Clock::duration>(
                                          std::chrono::duration<double>(options.seconds));
  for (auto& thread : threads)
    thread->start(began, deadline);
  for (SteadyTime now = began; now < deadline; now = Clock::now()) {
    on_progress(std::chrono::duration<double>(now - began).count() / options.seconds,
                operations_of(threads));
    throw_failure(threads);
    std::this_thread::sleep_for(
        std::min<Clock::duration>(std::chrono::milliseconds(500), deadline - now));
  }
  wait_for_all(threads);

  LoadResult result;
  const double cpu_us = cpu_us_of_process() - cpu_us_before;
  SteadyTime last = deadline;
  for (const auto& thread : threads)
    last = std::max(last, thread->add_to(result));
  result.seconds = std::chrono::duration<double>(last - began).count();
  if (result.operations > 0)
    result.cpu_us_per_operation = cpu_us / static_cast<double>(result.operations);
  on_progress(1, result.operations);
  return result;
}

}  // namespace tailrace::app
