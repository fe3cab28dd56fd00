#include "app/bench/log_load.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "app/bench/measuring.h"
#include "app/bench/raw_disk.h"
#include "core/random.h"
#include "fasterlog/batch_writer.h"
#include "fasterlog/log.h"

namespace tailrace::app {

namespace {

using Clock = std::chrono::steady_clock;
using fasterlog::BatchWriter;
using fasterlog::Log;
using fasterlog::LogOptions;
using fasterlog::RecordKind;

constexpr uint64_t kKeptBytes = 1ull << 30;      // of a log that is truncated behind the writers
constexpr uint64_t kRecoveryBytes = 1ull << 30;  // scanned by the recovery that is timed
constexpr int kTurns = 5;
constexpr size_t kFreshCommits = 1000;
constexpr int kCommitTurns = 20;
constexpr size_t kCommitsATurn = 100;

LogOptions log_options(const storage::Path& directory) {
  LogOptions options;
  options.directory = directory;
  options.owner = "bench";
  return options;
}

Result<std::unique_ptr<Log>> open_writer(storage::FileSystem& file_system, LogOptions options) {
  TAILRACE_ASSIGN_OR_RETURN(auto log, Log::open(file_system, std::move(options)));
  TAILRACE_RETURN_IF_ERROR(log->become_writer(Epoch{1}));
  return log;
}

std::string payload_of(uint32_t bytes) {
  std::string payload(bytes, '\0');
  Random random(1);
  random.fill({reinterpret_cast<std::byte*>(payload.data()), payload.size()});
  return payload;
}

/// Writers at full speed for `seconds`, until all that they wrote is durable.
Result<uint64_t> write_records(Log& log, const LogLoadOptions& options, double seconds) {
  const std::string payload = payload_of(options.record_bytes);
  std::atomic<bool> stop{false}, failed{false};
  std::atomic<uint64_t> records{0};
  std::vector<std::thread> writers;
  for (uint32_t i = 0; i < options.threads; ++i) {
    writers.emplace_back([&] {
      BatchWriter gathered(log, options.gather_bytes);
      uint64_t mine = 0;
      bool good = true;
      for (; good && !stop.load(std::memory_order_relaxed); ++mine) {
        if (options.gather_bytes > 0)
          good = gathered.add(RecordKind::kData, as_bytes(payload)).has_value();
        else
          good = log.enqueue(RecordKind::kData, as_bytes(payload)).has_value();
      }
      if (!good || !gathered.enqueue()) failed.store(true);
      records.fetch_add(mine);
    });
  }
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  stop.store(true);
  for (std::thread& writer : writers)
    writer.join();
  TAILRACE_RETURN_IF_ERROR(log.wait_durable(log.tail()));
  if (failed.load()) return make_error(ErrorCode::kIo, "a record was refused");
  return records.load();
}

/// The disk alone and the log, in turns; a thread of its own truncates behind the writers, as a
/// service would. The first turn, into segments never written before, is not counted.
Result<> durable_append(storage::FileSystem& file_system, const LogLoadOptions& options,
                        RawDisk& raw, LogLoadResult& result) {
  TAILRACE_ASSIGN_OR_RETURN(auto opened,
                            open_writer(file_system, log_options(options.directory / "durable")));
  Log& log = *opened;
  std::jthread truncator([&](std::stop_token stop) {
    while (!stop.stop_requested()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      const Address durable = log.durable();
      if (durable - log.begin() > kKeptBytes) (void)log.truncate_before(durable - kKeptBytes / 2);
    }
  });
  TAILRACE_RETURN_IF_ERROR(write_records(log, options, options.seconds / 10));
  std::vector<double> raw_rates, rates, record_rates;
  for (int turn = 0; turn < kTurns; ++turn) {
    TAILRACE_ASSIGN_OR_RETURN(auto raw_rate, raw.write_bytes_per_s(options.seconds / kTurns / 2));
    const Clock::time_point began = Clock::now();
    const Address first = log.tail();
    TAILRACE_ASSIGN_OR_RETURN(auto records, write_records(log, options, options.seconds / kTurns));
    const double seconds = seconds_since(began);
    raw_rates.push_back(raw_rate);
    rates.push_back(static_cast<double>(log.durable() - first) / seconds);
    record_rates.push_back(static_cast<double>(records) / seconds);
    result.durable_ratios.push_back(rates.back() / raw_rate);
  }
  truncator.request_stop();
  truncator.join();
  result.durable_bytes_per_s = median(rates);
  result.durable_records_per_s = median(record_rates);
  result.raw_bytes_per_s = median(raw_rates);
  return log.close();
}

/// Appends what each of so many commits took, one after the other.
Result<> commit_one_by_one(Log& log, const std::string& payload, size_t commits,
                           std::vector<double>& took_us) {
  for (size_t i = 0; i < commits; ++i) {
    const Clock::time_point began = Clock::now();
    TAILRACE_ASSIGN_OR_RETURN(auto range, log.enqueue(RecordKind::kData, as_bytes(payload)));
    TAILRACE_RETURN_IF_ERROR(log.wait_durable(range.end));
    took_us.push_back(seconds_since(began) * 1e6);
  }
  return {};
}

Result<> commit_latency(storage::FileSystem& file_system, const LogLoadOptions& options,
                        RawDisk& raw, LogLoadResult& result) {
  TAILRACE_ASSIGN_OR_RETURN(auto opened,
                            open_writer(file_system, log_options(options.directory / "commit")));
  Log& log = *opened;
  const std::string payload = payload_of(options.record_bytes);
  std::vector<double> fresh;
  TAILRACE_RETURN_IF_ERROR(commit_one_by_one(log, payload, kFreshCommits, fresh));
  result.fresh_commit_p50_us = median(fresh);

  // Four segments and a half, truncated on the way: the tail is in a recycled one then.
  const uint64_t segment_bytes = LogOptions().segment_bytes;
  while (log.tail().value < segment_bytes * 9 / 2) {
    TAILRACE_RETURN_IF_ERROR(log.enqueue(RecordKind::kData, as_bytes(payload)));
    if (log.durable() - log.begin() < segment_bytes * 3 / 2) continue;
    TAILRACE_RETURN_IF_ERROR(log.truncate_before(log.durable()));
  }
  TAILRACE_RETURN_IF_ERROR(log.wait_durable(log.tail()));
  std::vector<double> all_raw;
  for (int turn = 0; turn < kCommitTurns; ++turn) {
    std::vector<double> ours, raws;
    TAILRACE_RETURN_IF_ERROR(raw.commit(kCommitsATurn, raws));
    TAILRACE_RETURN_IF_ERROR(commit_one_by_one(log, payload, kCommitsATurn, ours));
    result.commit_ratios.push_back(median(ours) / median(raws));
    for (const double us : ours)
      result.commit_ns.add(static_cast<uint64_t>(us * 1e3));
    all_raw.insert(all_raw.end(), raws.begin(), raws.end());
  }
  result.raw_commit_p50_us = median(all_raw);
  return log.close();
}

/// Counts the records from `from` to durable; the seconds that it took.
Result<std::pair<uint64_t, double>> scan_all(Log& log, Address from) {
  const Clock::time_point began = Clock::now();
  const auto scanner = log.scan(from);
  uint64_t records = 0;
  for (;;) {
    TAILRACE_ASSIGN_OR_RETURN(auto record, scanner->next(Address::max()));
    if (!record) return std::pair{records, seconds_since(began)};
    ++records;
  }
}

Result<> recovery_and_scan(storage::FileSystem& file_system, const LogLoadOptions& options,
                           LogLoadResult& result) {
  const LogOptions log_of = log_options(options.directory / "recovery");
  const std::string payload = payload_of(options.record_bytes);
  {
    TAILRACE_ASSIGN_OR_RETURN(auto opened, open_writer(file_system, log_of));
    Log& log = *opened;
    while (log.tail().value < kRecoveryBytes) {
      TAILRACE_RETURN_IF_ERROR(log.enqueue(RecordKind::kData, as_bytes(payload)));
    }
    TAILRACE_RETURN_IF_ERROR(log.wait_durable(log.tail()));
    // What the buffer still holds for readers: at least an eighth of it.
    const uint64_t in_memory = uint64_t{log_of.page_bytes} * log_of.buffer_pages / 8;
    const Address target = log.durable() - in_memory;
    auto from = log.scan(target - target.value % log_of.page_bytes + log_of.page_bytes);
    double seconds = 0;
    uint64_t records = 0;
    for (int i = 0; i < 10; ++i) {
      TAILRACE_ASSIGN_OR_RETURN(auto scanned, scan_all(log, from->position()));
      records += scanned.first;
      seconds += scanned.second;
    }
    result.scan_records_per_s = static_cast<double>(records) / seconds;
    TAILRACE_RETURN_IF_ERROR(log.close());
  }
  const Clock::time_point began = Clock::now();
  TAILRACE_ASSIGN_OR_RETURN(auto log, Log::open(file_system, log_of));
  result.recovery_bytes_per_s =
      static_cast<double>(log->recovery().scanned_bytes) / seconds_since(began);
  TAILRACE_ASSIGN_OR_RETURN(auto scanned, scan_all(*log, log->begin()));
  result.scan_disk_bytes_per_s =
      static_cast<double>(log->durable() - log->begin()) / scanned.second;
  return log->close();
}

}  // namespace

Result<LogLoadResult> run_log_load(storage::FileSystem& file_system, const LogLoadOptions& options,
                                   const std::function<void(const std::string&)>& stage) {
  LogLoadResult result;
  stage("the disk alone");
  TAILRACE_ASSIGN_OR_RETURN(auto raw, RawDisk::create(file_system, options.directory));
  result.raw_fresh_bytes_per_s = raw.fresh_write_bytes_per_s();
  const double seconds = std::min(1.0, options.seconds);
  TAILRACE_ASSIGN_OR_RETURN(result.raw_read_bytes_per_s, raw.read_bytes_per_s(seconds));
  TAILRACE_ASSIGN_OR_RETURN(result.memcpy_bytes_per_s, memcpy_bytes_per_s(seconds / 2));
  stage("enqueue into memory");
  TAILRACE_RETURN_IF_ERROR(measure_enqueue(file_system, options, result));
  stage("commit of one record");
  TAILRACE_RETURN_IF_ERROR(commit_latency(file_system, options, raw, result));
  stage("durable append");
  TAILRACE_RETURN_IF_ERROR(durable_append(file_system, options, raw, result));
  stage("recovery and scan");
  TAILRACE_RETURN_IF_ERROR(recovery_and_scan(file_system, options, result));
  return result;
}

}  // namespace tailrace::app
