#include "app/bench/service_load.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>

#include "core/mutex.h"
#include "core/random.h"

namespace tailrace::app {

namespace {

using Clock = std::chrono::steady_clock;

/// One client: its callbacks all run on its own thread, which starts the next request.
class RequestLoop {
 public:
  RequestLoop(std::unique_ptr<rpc::Client> client, const LoadOptions& options, uint64_t seed)
      : client_(std::move(client)),
        options_(options),
        random_(seed),
        key_(20, '\0'),
        value_(options.value_bytes, '\0') {
    random_.fill({reinterpret_cast<std::byte*>(value_.data()), value_.size()});
    events_.assign(options.batch, as_bytes(value_));
    latencies_us_.reserve(1u << 20);
  }

  /// The deadline is the load's, not a request's.
  void start(Clock::time_point deadline) {
    deadline_ = deadline;
    for (uint32_t i = 0; i < options_.in_flight; ++i) {
      const MutexLock lock(mutex_);
      ++outstanding_;
      issue();
    }
  }

  void wait() {
    MutexLock lock(mutex_);
    idle_.wait(lock, [&]() TAILRACE_REQUIRES(mutex_) { return outstanding_ == 0; });
  }

  uint64_t operations() const { return operations_.load(std::memory_order_relaxed); }
  /// What came of it, into `result` and `latencies_us`; returns when the last answer came.
  Clock::time_point add_to(LoadResult& result, std::vector<float>& latencies_us) const {
    const MutexLock lock(mutex_);
    latencies_us.insert(latencies_us.end(), latencies_us_.begin(), latencies_us_.end());
    if (result.errors == 0) result.first_error = first_error_;
    result.errors += errors_;
    return last_answer_;
  }

 private:
  void issue() TAILRACE_REQUIRES(mutex_) {
    const Clock::time_point began = Clock::now();
    const auto written = [this, began](const Result<rpc::CommandAnswer>& answer) {
      answered(began, answer ? nullptr : &answer.error());
    };
    const auto read = [this, began](const Result<rpc::ReadAnswer>& answer) {
      answered(began, answer ? nullptr : &answer.error());
    };
    using Kind = LoadOptions::Operation;
    Kind operation = options_.operation;
    if (operation == Kind::kMixed) operation = random_.chance(1, 2) ? Kind::kPut : Kind::kGet;
    if (operation == Kind::kAppend) return client_->async_append("bench", events_, written);
    const std::string key = "bench/" + std::to_string(random_.below(options_.keys));
    if (operation == Kind::kGet) return client_->async_get(as_bytes(key), options_.read, read);
    if (operation == Kind::kOwn)
      return client_->async_put(as_bytes(key), as_bytes(value_),
                                [this, key](const Result<rpc::CommandAnswer>& answer) {
                                  if (!answer) return answered(Clock::now(), &answer.error());
                                  read_own(key, *answer);
                                });
    client_->async_put(as_bytes(key), as_bytes(value_), written);
  }

  void read_own(const std::string& key, const rpc::CommandAnswer& written) {
    rpc::ReadOptions own;
    own.level = rpc::ReadOptions::Level::kAtLeast;
    own.epoch = written.epoch;
    own.address = written.range.end;
    client_->async_get(as_bytes(key), own,
                       [this, began = Clock::now()](const Result<rpc::ReadAnswer>& answer) {
                         answered(began, answer ? nullptr : &answer.error());
                       });
  }

  void answered(Clock::time_point began, const Error* error) {
    const Clock::time_point now = Clock::now();
    const MutexLock lock(mutex_);
    last_answer_ = now;
    if (error == nullptr) {
      operations_.fetch_add(1, std::memory_order_relaxed);
      latencies_us_.push_back(std::chrono::duration<float, std::micro>(now - began).count());
    } else if (errors_++ == 0) {
      first_error_ = *error;
    }
    if (now < deadline_) return issue();
    if (--outstanding_ == 0) idle_.notify_all();
  }

  const std::unique_ptr<rpc::Client> client_;
  const LoadOptions& options_;
  Clock::time_point deadline_;
  std::atomic<uint64_t> operations_{0};

  // Nobody contends for it once all loops have started.
  mutable Mutex mutex_;
  Condition idle_;
  Random random_ TAILRACE_GUARDED_BY(mutex_);
  std::string key_ TAILRACE_GUARDED_BY(mutex_);
  std::string value_ TAILRACE_GUARDED_BY(mutex_);
  std::vector<ByteSpan> events_ TAILRACE_GUARDED_BY(mutex_);
  uint32_t outstanding_ TAILRACE_GUARDED_BY(mutex_) = 0;
  uint64_t errors_ TAILRACE_GUARDED_BY(mutex_) = 0;
  std::optional<Error> first_error_ TAILRACE_GUARDED_BY(mutex_);
  std::vector<float> latencies_us_ TAILRACE_GUARDED_BY(mutex_);
  Clock::time_point last_answer_ TAILRACE_GUARDED_BY(mutex_);
};

double percentile(const std::vector<float>& sorted, double share) {
  if (sorted.empty()) return 0;
  const auto index = static_cast<size_t>(share * static_cast<double>(sorted.size() - 1));
  return sorted[index];
}

}  // namespace

void set_latencies(LoadResult& result, std::vector<float> latencies_us) {
  std::sort(latencies_us.begin(), latencies_us.end());
  result.p50_us = percentile(latencies_us, 0.5);
  result.p99_us = percentile(latencies_us, 0.99);
  result.p999_us = percentile(latencies_us, 0.999);
  result.max_us = percentile(latencies_us, 1);
}

Result<LoadResult> run_load(const rpc::ClientOptions& client_options, const LoadOptions& options,
                            const std::function<void(double, uint64_t)>& on_progress) {
  // An unreachable service is an error, not a measurement. This also opens the connections.
  std::vector<std::unique_ptr<RequestLoop>> loops;
  for (uint32_t i = 0; i < options.clients; ++i) {
    rpc::ClientOptions mine = client_options;
    std::rotate(mine.servers.begin(), mine.servers.begin() + i % mine.servers.size(),
                mine.servers.end());
    TAILRACE_ASSIGN_OR_RETURN(auto client, rpc::Client::create(mine));
    TAILRACE_RETURN_IF_ERROR(client->get(as_bytes("bench/0"), options.read));
    loops.push_back(std::make_unique<RequestLoop>(std::move(client), options, random_seed()));
  }

  const Clock::time_point began = Clock::now();
  const auto length =
      std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options.seconds));
  const Clock::time_point deadline = began + length;
  for (auto& loop : loops)
    loop->start(deadline);
  const auto operations = [&] {
    uint64_t sum = 0;
    for (const auto& loop : loops)
      sum += loop->operations();
    return sum;
  };
  for (Clock::time_point now = began; now < deadline; now = Clock::now()) {
    on_progress(std::chrono::duration<double>(now - began).count() / options.seconds, operations());
    std::this_thread::sleep_for(
        std::min<Clock::duration>(std::chrono::milliseconds(500), deadline - now));
  }
  for (auto& loop : loops)
    loop->wait();

  LoadResult result;
  Clock::time_point last = deadline;
  std::vector<float> latencies;
  for (const auto& loop : loops) {
    last = std::max(last, loop->add_to(result, latencies));
  }
  result.seconds = std::chrono::duration<double>(last - began).count();
  result.operations = operations();
  const bool appends = options.operation == LoadOptions::Operation::kAppend;
  result.records = result.operations * (appends ? options.batch : 1);
  set_latencies(result, std::move(latencies));
  on_progress(1, result.operations);
  return result;
}

}  // namespace tailrace::app
