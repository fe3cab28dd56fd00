#include "app/log_load.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "core/random.h"
#include "fasterlog/log.h"

namespace tailrace::app {

namespace {

using Clock = std::chrono::steady_clock;
using fasterlog::Log;
using fasterlog::LogOptions;
using fasterlog::RecordKind;

constexpr uint64_t kKeptBytes = 1ull << 30;      // of a log that is truncated behind the writers
constexpr uint64_t kRecoveryBytes = 1ull << 30;  // scanned by the recovery that is timed
constexpr size_t kCommits = 2000;

double seconds_since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

LogOptions log_options(const storage::Path& directory) {
  LogOptions options;
  options.directory = directory;
  options.owner = "bench";
  return options;
}

Result<std::unique_ptr<Log>> open_writer(storage::FileSystem& file_system, LogOptions options) {
  auto log = Log::open(file_system, std::move(options));
  if (!log) return log;
  TAILRACE_RETURN_IF_ERROR((*log)->become_writer(Epoch{1}));
  return log;
}

std::string payload_of(uint32_t bytes) {
  std::string payload(bytes, '\0');
  Random random(1);
  random.fill({reinterpret_cast<std::byte*>(payload.data()), payload.size()});
  return payload;
}

/// Writers at full speed; a thread of its own truncates behind them, as a service would.
Result<> durable_append(storage::FileSystem& file_system, const LogLoadOptions& options,
                        LogLoadResult& result) {
  auto opened = open_writer(file_system, log_options(options.directory / "durable"));
  if (!opened) return tl::unexpected(std::move(opened).error());
  Log& log = **opened;
  const std::string payload = payload_of(options.record_bytes);
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> records{0};
  std::atomic<bool> failed{false};
  std::thread truncator([&] {
    while (!stop.load()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      const Address durable = log.durable();
      if (durable - log.begin() > kKeptBytes) (void)log.truncate_before(durable - kKeptBytes / 2);
    }
  });
  const Clock::time_point began = Clock::now();
  const Address first = log.tail();
  std::vector<std::thread> writers;
  for (uint32_t i = 0; i < options.threads; ++i) {
    writers.emplace_back([&] {
      uint64_t mine = 0;
      for (; !stop.load(std::memory_order_relaxed); ++mine) {
        if (!log.enqueue(RecordKind::kData, as_bytes(payload))) {
          failed.store(true);
          break;
        }
      }
      records.fetch_add(mine);
    });
  }
  std::this_thread::sleep_for(std::chrono::duration<double>(options.seconds));
  stop.store(true);
  for (std::thread& writer : writers)
    writer.join();
  const auto waited = log.wait_durable(log.tail());
  const double seconds = seconds_since(began);
  truncator.join();
  if (!waited) return waited;
  if (failed.load()) return make_error(ErrorCode::kIo, "a record was refused");
  result.durable_bytes_per_s = static_cast<double>(log.durable() - first) / seconds;
  result.durable_records_per_s = static_cast<double>(records.load()) / seconds;
  return log.close();
}

/// Rounds of enqueueing as much as the buffer takes, nothing of it flushed until the round is over.
Result<> enqueue_only(storage::FileSystem& file_system, const LogLoadOptions& options,
                      LogLoadResult& result) {
  LogOptions log_of = log_options(options.directory / "enqueue");
  log_of.commit = fasterlog::CommitPolicy::on_request();
  log_of.pressure_fraction = 0.5;
  log_of.buffer_pages = 64;
  auto opened = open_writer(file_system, log_of);
  if (!opened) return tl::unexpected(std::move(opened).error());
  Log& log = **opened;
  const std::string payload = payload_of(options.record_bytes);
  // A quarter of the memory: below what presses the flusher.
  const uint64_t round_bytes = uint64_t{log_of.page_bytes} * log_of.buffer_pages / 4;
  const uint64_t round = round_bytes / (options.record_bytes + 32);
  double seconds = 0;
  uint64_t records = 0;
  for (int i = 0; i < 20; ++i) {
    const Clock::time_point began = Clock::now();
    for (uint64_t done = 0; done < round; ++done) {
      if (auto range = log.try_enqueue(RecordKind::kData, as_bytes(payload)); !range)
        return tl::unexpected(std::move(range).error());
    }
    // The first rounds touch the memory for the first time.
    if (i >= 8) {
      seconds += seconds_since(began);
      records += round;
    }
    TAILRACE_RETURN_IF_ERROR(log.wait_durable(log.tail()));
    TAILRACE_RETURN_IF_ERROR(log.wait_durable(log.request_commit()));
    if (auto cut = log.truncate_before(log.durable()); !cut)
      return tl::unexpected(std::move(cut).error());
  }
  result.enqueue_records_per_s = static_cast<double>(records) / seconds;
  return log.close();
}

/// What each of kCommits commits took, ascending.
Result<std::vector<double>> commit_one_by_one(Log& log, const std::string& payload) {
  std::vector<double> took_us;
  for (size_t i = 0; i < kCommits; ++i) {
    const Clock::time_point began = Clock::now();
    auto range = log.enqueue(RecordKind::kData, as_bytes(payload));
    if (!range) return tl::unexpected(std::move(range).error());
    TAILRACE_RETURN_IF_ERROR(log.wait_durable(range->end));
    took_us.push_back(seconds_since(began) * 1e6);
  }
  std::sort(took_us.begin(), took_us.end());
  return took_us;
}

Result<> commit_latency(storage::FileSystem& file_system, const LogLoadOptions& options,
                        LogLoadResult& result) {
  auto opened = open_writer(file_system, log_options(options.directory / "commit"));
  if (!opened) return tl::unexpected(std::move(opened).error());
  Log& log = **opened;
  const std::string payload = payload_of(options.record_bytes);
  auto fresh = commit_one_by_one(log, payload);
  if (!fresh) return tl::unexpected(std::move(fresh).error());
  result.fresh_commit_p50_us = (*fresh)[fresh->size() / 2];

  // Four segments and a half, truncated on the way: the tail is in a recycled one then.
  const uint64_t segment_bytes = LogOptions().segment_bytes;
  while (log.tail().value < segment_bytes * 9 / 2) {
    if (auto range = log.enqueue(RecordKind::kData, as_bytes(payload)); !range)
      return tl::unexpected(std::move(range).error());
    if (log.durable() - log.begin() < segment_bytes * 3 / 2) continue;
    if (auto cut = log.truncate_before(log.durable()); !cut)
      return tl::unexpected(std::move(cut).error());
  }
  TAILRACE_RETURN_IF_ERROR(log.wait_durable(log.tail()));
  auto steady = commit_one_by_one(log, payload);
  if (!steady) return tl::unexpected(std::move(steady).error());
  result.commit_p50_us = (*steady)[steady->size() / 2];
  result.commit_p99_us = (*steady)[steady->size() * 99 / 100];
  return log.close();
}

/// Counts the records from `from` to durable; the seconds that it took.
Result<std::pair<uint64_t, double>> scan_all(Log& log, Address from) {
  const Clock::time_point began = Clock::now();
  const auto scanner = log.scan(from);
  uint64_t records = 0;
  for (;;) {
    auto record = scanner->next(Address::max());
    if (!record) return tl::unexpected(std::move(record).error());
    if (!*record) return std::pair{records, seconds_since(began)};
    ++records;
  }
}

Result<> recovery_and_scan(storage::FileSystem& file_system, const LogLoadOptions& options,
                           LogLoadResult& result) {
  const LogOptions log_of = log_options(options.directory / "recovery");
  const std::string payload = payload_of(options.record_bytes);
  {
    auto opened = open_writer(file_system, log_of);
    if (!opened) return tl::unexpected(std::move(opened).error());
    Log& log = **opened;
    while (log.tail().value < kRecoveryBytes) {
      if (auto range = log.enqueue(RecordKind::kData, as_bytes(payload)); !range)
        return tl::unexpected(std::move(range).error());
    }
    TAILRACE_RETURN_IF_ERROR(log.wait_durable(log.tail()));
    // What the buffer still holds for readers: at least an eighth of it.
    const uint64_t in_memory = uint64_t{log_of.page_bytes} * log_of.buffer_pages / 8;
    const Address target = log.durable() - in_memory;
    auto from = log.scan(target - target.value % log_of.page_bytes + log_of.page_bytes);
    double seconds = 0;
    uint64_t records = 0;
    for (int i = 0; i < 10; ++i) {
      auto scanned = scan_all(log, from->position());
      if (!scanned) return tl::unexpected(std::move(scanned).error());
      records += scanned->first;
      seconds += scanned->second;
    }
    result.scan_records_per_s = static_cast<double>(records) / seconds;
    TAILRACE_RETURN_IF_ERROR(log.close());
  }
  const Clock::time_point began = Clock::now();
  auto log = Log::open(file_system, log_of);
  if (!log) return tl::unexpected(std::move(log).error());
  result.recovery_bytes_per_s =
      static_cast<double>((*log)->recovery().scanned_bytes) / seconds_since(began);
  auto scanned = scan_all(**log, (*log)->begin());
  if (!scanned) return tl::unexpected(std::move(scanned).error());
  result.scan_disk_bytes_per_s =
      static_cast<double>((*log)->durable() - (*log)->begin()) / scanned->second;
  return (*log)->close();
}

}  // namespace

Result<LogLoadResult> run_log_load(storage::FileSystem& file_system, const LogLoadOptions& options,
                                   const std::function<void(const std::string&)>& stage) {
  LogLoadResult result;
  stage("enqueue into memory");
  TAILRACE_RETURN_IF_ERROR(enqueue_only(file_system, options, result));
  stage("commit of one record");
  TAILRACE_RETURN_IF_ERROR(commit_latency(file_system, options, result));
  stage("durable append");
  TAILRACE_RETURN_IF_ERROR(durable_append(file_system, options, result));
  stage("recovery and scan");
  TAILRACE_RETURN_IF_ERROR(recovery_and_scan(file_system, options, result));
  return result;
}

}  // namespace tailrace::app
