// The log's hot paths alone, one operation at a time: `build/release/bench/log_bench`.
// (`tailrace bench log` measures the whole log against the disk.)

#include <filesystem>

#include <benchmark/benchmark.h>
#include <unistd.h>

#include "fasterlog/format/record.h"
#include "fasterlog/log.h"

namespace tailrace::fasterlog {
namespace {

class Directory {
 public:
  Directory()
      : path_(std::filesystem::temp_directory_path() /
              ("tailrace-log-bench-" + std::to_string(::getpid()))) {}
  ~Directory() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  const std::filesystem::path path_;
};

std::unique_ptr<Log> open_log(const Directory& directory) {
  LogOptions options;
  options.directory = directory.path();
  options.owner = "bench";
  options.buffer_pages = 64;
  options.commit = CommitPolicy::on_request();
  options.pressure_fraction = 0.5;
  auto log = Log::open(storage::posix_file_system(), options);
  if (!log || !(*log)->become_writer(Epoch{1})) return nullptr;
  return std::move(*log);
}

// Into memory, nothing flushed meanwhile: the time of the flush between two rounds is not counted.
void enqueue(benchmark::State& state) {
  const Directory directory;
  const auto log = open_log(directory);
  const std::string payload(static_cast<size_t>(state.range(0)), 'x');
  const uint64_t round_bytes = 60u << 20;
  uint64_t done = 0;
  for (auto _ : state) {
    auto range = log->try_enqueue(RecordKind::kData, as_bytes(payload));
    benchmark::DoNotOptimize(range);
    done += payload.size() + kHeaderBytes;
    if (done < round_bytes) continue;
    state.PauseTiming();
    done = 0;
    if (!log->wait_durable(log->tail()) || !log->truncate_before(log->durable()))
      state.SkipWithError("the log failed");
    state.ResumeTiming();
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()));
}
BENCHMARK(enqueue)->Arg(16)->Arg(100)->Arg(1024);

// Records that are still in the log's buffer, round and round.
void scan_memory(benchmark::State& state) {
  const Directory directory;
  const auto log = open_log(directory);
  const std::string payload(static_cast<size_t>(state.range(0)), 'x');
  while (log->tail().value < (24u << 20)) {
    if (!log->enqueue(RecordKind::kData, as_bytes(payload))) state.SkipWithError("the log failed");
  }
  if (!log->wait_durable(log->tail())) state.SkipWithError("the log failed");
  auto scanner = log->scan(log->begin());
  for (auto _ : state) {
    auto record = scanner->next(Address::max());
    benchmark::DoNotOptimize(record);
    if (!record || !*record) scanner = log->scan(log->begin());
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()));
}
BENCHMARK(scan_memory)->Arg(16)->Arg(100)->Arg(1024);

void parse(benchmark::State& state) {
  const auto payload_bytes = static_cast<uint32_t>(state.range(0));
  std::vector<std::byte> bytes(record_bytes(payload_bytes));
  seal_record(bytes.data(), Address{64}, Epoch{1}, RecordKind::kData, payload_bytes);
  for (auto _ : state) {
    auto outcome = parse_record(Address{64}, bytes, 4u << 20);
    benchmark::DoNotOptimize(outcome);
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()));
}
BENCHMARK(parse)->Arg(16)->Arg(100)->Arg(1024);

}  // namespace
}  // namespace tailrace::fasterlog

BENCHMARK_MAIN();
