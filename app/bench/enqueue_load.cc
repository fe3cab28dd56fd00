// Enqueueing into memory alone: one log for all threads, for one thread, and one for each.
#include <algorithm>
#include <barrier>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "app/bench/log_load.h"
#include "app/bench/measuring.h"
#include "fasterlog/batch_writer.h"
#include "fasterlog/log.h"

namespace tailrace::app {

namespace {

using Clock = std::chrono::steady_clock;
using fasterlog::BatchWriter;
using fasterlog::Log;
using fasterlog::LogOptions;
using fasterlog::RecordKind;

constexpr int kUnseenRounds = 4;  // touch the memory for the first time
constexpr int kRounds = 9;
constexpr uint32_t kBufferPages = 64;

/// Rounds of as much as the buffer takes; nothing is flushed until a round is over.
class Enqueuer {
 public:
  static Result<std::unique_ptr<Enqueuer>> create(storage::FileSystem& file_system,
                                                  const storage::Path& directory,
                                                  const LogLoadOptions& load, uint32_t pages) {
    LogOptions options;
    options.directory = directory;
    options.owner = "bench";
    options.commit = fasterlog::CommitPolicy::on_request();
    options.pressure_fraction = 0.5;
    options.buffer_pages = pages;
    TAILRACE_ASSIGN_OR_RETURN(auto log, Log::open(file_system, options));
    TAILRACE_RETURN_IF_ERROR(log->become_writer(Epoch{1}));
    // A quarter of the memory: below what presses the flusher.
    const uint64_t round_bytes = uint64_t{options.page_bytes} * pages / 4;
    return std::make_unique<Enqueuer>(std::move(log), load, round_bytes / (load.record_bytes + 32));
  }

  Enqueuer(std::unique_ptr<Log> log, const LogLoadOptions& load, uint64_t round)
      : log_(std::move(log)), load_(load), round_(round), payload_(load.record_bytes, 'x') {}

  uint64_t round_records() const { return round_; }

  /// One of `threads` threads' share of a round.
  Result<> write(uint32_t threads) {
    BatchWriter gathered(*log_, load_.gather_bytes);
    for (uint64_t done = 0; done < round_ / threads; ++done) {
      if (load_.gather_bytes > 0) {
        TAILRACE_RETURN_IF_ERROR(gathered.add(RecordKind::kData, as_bytes(payload_)));
      } else {
        TAILRACE_RETURN_IF_ERROR(log_->try_enqueue(RecordKind::kData, as_bytes(payload_)));
      }
    }
    TAILRACE_RETURN_IF_ERROR(gathered.enqueue());
    return {};
  }

  Result<> make_room() {
    TAILRACE_RETURN_IF_ERROR(log_->wait_durable(log_->request_commit()));
    TAILRACE_RETURN_IF_ERROR(log_->truncate_before(log_->durable()));
    return {};
  }

 private:
  const std::unique_ptr<Log> log_;
  const LogLoadOptions& load_;
  const uint64_t round_;
  const std::string payload_;
};

/// Seconds in which `threads` threads write one round, each into its own of `logs` if there are so
/// many.
Result<double> timed_round(const std::vector<std::unique_ptr<Enqueuer>>& logs, uint32_t threads) {
  const auto shares = static_cast<uint32_t>(threads / logs.size());
  std::vector<Result<>> results(threads);
  std::barrier start(threads + 1);
  std::vector<std::jthread> running;
  for (uint32_t i = 0; i < threads; ++i) {
    running.emplace_back([&, i] {
      start.arrive_and_wait();
      results[i] = logs[i % logs.size()]->write(shares);
    });
  }
  start.arrive_and_wait();
  const Clock::time_point began = Clock::now();
  running.clear();
  const double seconds = seconds_since(began);
  for (Result<>& result : results)
    TAILRACE_RETURN_IF_ERROR(std::move(result));
  for (const auto& log : logs)
    TAILRACE_RETURN_IF_ERROR(log->make_room());
  return seconds;
}

}  // namespace

Result<> measure_enqueue(storage::FileSystem& file_system, const LogLoadOptions& options,
                         LogLoadResult& result) {
  std::vector<std::unique_ptr<Enqueuer>> shared, apart;
  for (uint32_t i = 0; i <= options.threads; ++i) {
    if (i == 1 && options.threads == 1) break;
    const uint32_t pages = i == 0 ? kBufferPages : std::max(4u, kBufferPages / options.threads);
    TAILRACE_ASSIGN_OR_RETURN(
        auto log,
        Enqueuer::create(file_system, options.directory / ("enqueue-" + std::to_string(i)), options,
                         pages));
    (i == 0 ? shared : apart).push_back(std::move(log));
  }
  std::vector<double> together, one, each;
  for (int round = 0; round < kUnseenRounds + kRounds; ++round) {
    const auto take = [&](const auto& logs, uint32_t threads,
                          std::vector<double>& into) -> Result<> {
      TAILRACE_ASSIGN_OR_RETURN(auto seconds, timed_round(logs, threads));
      const auto records = static_cast<double>(logs[0]->round_records() * logs.size());
      if (round >= kUnseenRounds) into.push_back(records / seconds);
      return {};
    };
    TAILRACE_RETURN_IF_ERROR(take(shared, 1, one));
    if (options.threads == 1) continue;
    TAILRACE_RETURN_IF_ERROR(take(shared, options.threads, together));
    TAILRACE_RETURN_IF_ERROR(take(apart, options.threads, each));
  }
  result.enqueue_one_records_per_s = median(one);
  result.enqueue_records_per_s = options.threads == 1 ? median(one) : median(together);
  result.enqueue_apart_records_per_s = options.threads == 1 ? median(one) : median(each);
  return {};
}

}  // namespace tailrace::app
