#include "app/bench/kv_load.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <ctime>
#include <fstream>
#include <future>
#include <thread>

#include <unistd.h>

#include "app/bench/add_one.h"
#include "app/bench/measuring.h"
#include "app/cli/metric_value.h"
#include "core/bytes.h"

namespace tailrace::app {

namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr uint32_t kSteadyWindows = 5;
constexpr uint32_t kCheckpoints = 3;
// One more than a store keeps.
constexpr uint32_t kFirstSnapshots = 3;
// What a call counts for: nothing, the steady windows together, or a checkpoint.
constexpr uint32_t kUnseen = 0, kSteady = 1, kFirstCheckpoint = 2;
constexpr uint32_t kWindows = kFirstCheckpoint + kCheckpoints;
constexpr uint64_t kRecordBytes = 32;
// Of single calls one in so many is timed, and the stop is looked for.
constexpr uint64_t kKvStretch = 64;

double process_cpu_s() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

uint64_t resident_bytes() {
  uint64_t virtual_pages = 0, resident_pages = 0;
  std::ifstream("/proc/self/statm") >> virtual_pages >> resident_pages;
  return resident_pages * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

double write_fraction(KvMix mix) {
  switch (mix) {
    case KvMix::kA:
      return 0.5;
    case KvMix::kB:
      return 0.05;
    case KvMix::kC:
      return 0;
    case KvMix::kRmw:
      return 1;
  }
  return 0;
}

kv::StoreOptions store_options(const KvLoadOptions& options) {
  kv::StoreOptions store;
  store.directory = options.directory / "store";
  store.owner = "bench";
  store.huge_pages = options.huge_pages;
  store.memory_bytes = options.memory_bytes;
  if (store.memory_bytes == 0) {
    store.memory_bytes = std::max<uint64_t>(options.keys * kRecordBytes * 2, 256u << 20);
  }
  // Pages of which there are at least sixteen.
  const uint64_t page = std::bit_floor(store.memory_bytes / 16);
  store.page_bytes = static_cast<uint32_t>(std::clamp<uint64_t>(page, 1u << 20, 16u << 20));
  store.index_buckets = options.index_buckets;
  if (store.index_buckets == 0) {
    store.index_buckets = std::bit_ceil(std::max<uint64_t>(options.keys / 3, 1024));
  }
  return store;
}

constexpr uint64_t kZero = 0;
constexpr AddOne kAddOne;

/// One thread of the load. What it counts is its own, a cache line away from the others'.
struct alignas(64) Worker {
  KeySequence keys;
  std::atomic<uint64_t> operations{0};
  Histogram took_ns[kWindows];
  Result<> result;
};

class KvLoad {
 public:
  KvLoad(storage::FileSystem& file_system, const KvLoadOptions& options)
      : file_system_(file_system), options_(options), workers_(options.threads) {}

  Result<> run(KvLoadResult& result, const std::function<void(const std::string&)>& stage) {
    stage("drawing keys");
    TAILRACE_RETURN_IF_ERROR(draw());
    const uint64_t resident_before = resident_bytes();
    TAILRACE_RETURN_IF_ERROR(open());
    stage("loading keys");
    TAILRACE_RETURN_IF_ERROR(load(result));
    const uint64_t resident_after = resident_bytes();
    result.memory_bytes = resident_after - std::min(resident_after, resident_before);
    const kv::Store::LogExtent extent = store_->log_extent();
    result.log_bytes = extent.tail - extent.begin;
    result.log_memory_bytes = extent.tail - extent.head;
    result.index_bytes = store_->index_buckets() * 64;
    TAILRACE_RETURN_IF_ERROR(timed(result, stage));
    if (options_.recovery) {
      stage("recovery");
      TAILRACE_RETURN_IF_ERROR(recover(result));
    }
    return {};
  }

 private:
  struct Mark {
    Clock::time_point at = Clock::now();
    uint64_t operations = 0;
    double cpu_s = process_cpu_s();
    double misses = 0;
  };

  Result<> draw() {
    return each_thread([&](uint32_t i) -> Result<> {
      TAILRACE_ASSIGN_OR_RETURN(
          workers_[i].keys,
          KeySequence::make(options_.distribution, options_.keys, write_fraction(options_.mix),
                            options_.huge_pages, i + 1));
      return {};
    });
  }

  Result<> open() {
    metrics_.emplace();
    TAILRACE_ASSIGN_OR_RETURN(store_, kv::Store::open(file_system_, store_options(options_)));
    store_->register_metrics(*metrics_);
    return {};
  }

  /// Each thread its share of the keys.
  Result<> load(KvLoadResult& result) {
    const Clock::time_point began = Clock::now();
    auto loaded = each_thread([&](uint32_t i) -> Result<> {
      TAILRACE_ASSIGN_OR_RETURN(auto session, store_->start_session(i + 1));
      const uint64_t first = options_.keys * i / options_.threads;
      const uint64_t end = options_.keys * (i + 1) / options_.threads;
      constexpr size_t kBatch = 32;
      uint64_t keys[kBatch];
      kv::Operation operations[kBatch];
      for (uint64_t at = first; at < end;) {
        size_t count = 0;
        for (; count < kBatch && at < end; ++count, ++at) {
          keys[count] = key_of(at);
          operations[count].kind = kv::OperationKind::kUpsert;
          operations[count].key = bytes_of(keys[count]);
          operations[count].value = bytes_of(kZero);
          operations[count].serial = at - first + 1;
        }
        TAILRACE_RETURN_IF_ERROR(session->run({operations, count}));
      }
      return {};
    });
    result.load_ops_per_s = static_cast<double>(options_.keys) / seconds_since(began);
    return loaded;
  }

  Result<> timed(KvLoadResult& result, const std::function<void(const std::string&)>& stage) {
    std::vector<std::thread> threads;
    for (uint32_t i = 0; i < options_.threads; ++i) {
      threads.emplace_back([this, i] {
        workers_[i].result = work(workers_[i], i + 1);
        if (!workers_[i].result) stop_.store(true);
      });
    }
    auto measured = measure(result, stage);
    stop_.store(true);
    for (std::thread& thread : threads)
      thread.join();
    for (const Worker& worker : workers_) {
      if (!worker.result) return worker.result;
    }
    for (const Worker& worker : workers_) {
      result.steady.latency_ns.add(worker.took_ns[kSteady]);
      for (size_t i = 0; i < result.checkpoints.size(); ++i)
        result.checkpoints[i].during.latency_ns.add(worker.took_ns[kFirstCheckpoint + i]);
    }
    return measured;
  }

  Result<> measure(KvLoadResult& result, const std::function<void(const std::string&)>& stage) {
    stage("warming up");
    pass(options_.seconds / 5);
    stage("measuring");
    std::vector<double> rates;
    const Mark begin = mark();
    for (uint32_t i = 0; i < kSteadyWindows && !stop_.load(); ++i) {
      const Mark from = mark();
      window_.store(kSteady);
      pass(options_.seconds / kSteadyWindows);
      rates.push_back(rate(from, mark()));
    }
    window_.store(kUnseen);
    const Mark end = mark();
    result.steady.ops_per_s = median(rates);
    const double cpu_s = end.cpu_s - begin.cpu_s;
    result.ops_per_cpu_s = static_cast<double>(end.operations - begin.operations) / cpu_s;
    result.misses_per_s = (end.misses - begin.misses) / Seconds(end.at - begin.at).count();
    if (options_.checkpoint == kv::CheckpointKind::kSnapshot) {
      // From then on they are written over the files of removed ones.
      stage("taking the first checkpoints");
      for (uint32_t i = 0; i < kFirstSnapshots; ++i) {
        TAILRACE_RETURN_IF_ERROR(take_checkpoint(kv::CheckpointKind::kSnapshot));
      }
    }
    for (uint32_t i = 0; options_.checkpoint && i < kCheckpoints && !stop_.load(); ++i) {
      stage("measuring while a checkpoint runs");
      TAILRACE_RETURN_IF_ERROR(checkpointed(result, kFirstCheckpoint + i));
      pass(options_.seconds / 5);
    }
    return {};
  }

  Result<> checkpointed(KvLoadResult& result, uint32_t window) {
    const Mark from = mark();
    window_.store(window);
    auto info = take_checkpoint(*options_.checkpoint);
    const Mark to = mark();
    window_.store(kUnseen);
    if (!info) return tl::unexpected(std::move(info).error());
    KvCheckpoint checkpoint;
    checkpoint.bytes = info->bytes;
    checkpoint.seconds = Seconds(to.at - from.at).count();
    checkpoint.during.ops_per_s = rate(from, to);
    result.checkpoints.push_back(checkpoint);
    return {};
  }

  Result<kv::CheckpointInfo> take_checkpoint(kv::CheckpointKind kind) {
    auto done = std::make_shared<std::promise<Result<kv::CheckpointInfo>>>();
    auto published = done->get_future();
    kv::CheckpointRequest request;
    request.kind = kind;
    request.hooks.done = [done](const Result<kv::CheckpointInfo>& info) { done->set_value(info); };
    TAILRACE_RETURN_IF_ERROR(store_->start_checkpoint(std::move(request)));
    return published.get();
  }

  Result<> recover(KvLoadResult& result) {
    TAILRACE_ASSIGN_OR_RETURN(auto info, take_checkpoint(kv::CheckpointKind::kFoldOver));
    result.recovery_bytes = info.end - info.begin + store_->index_buckets() * 64;
    metrics_.reset();
    store_.reset();
    const Clock::time_point began = Clock::now();
    TAILRACE_RETURN_IF_ERROR(open());
    result.recovery_seconds = seconds_since(began);
    std::string value;
    for (uint64_t i = 0; i < options_.keys; i += options_.keys / 1000 + 1) {
      const uint64_t key = key_of(i);
      if (auto read = store_->read(bytes_of(key), value); !read)
        return tl::unexpected(with_context("after recovery", std::move(read).error()));
    }
    return {};
  }

  Result<> work(Worker& worker, kv::SessionId id) {
    TAILRACE_ASSIGN_OR_RETURN(auto session, store_->start_session(id));
    if (options_.batch > 1) return batches(worker, *session);
    if (options_.pending > 0) return pending_reads(worker, *session);
    return single_calls(worker, *session);
  }

  Result<> write(kv::Session& session, const uint64_t& key, kv::Serial serial) const {
    if (options_.mix != KvMix::kRmw) return session.upsert(bytes_of(key), bytes_of(serial), serial);
    TAILRACE_RETURN_IF_ERROR(session.rmw(bytes_of(key), kAddOne, serial));
    return {};
  }

  Result<> single_calls(Worker& worker, kv::Session& session) {
    const kv::Serial serial = session.last_serial();
    std::string value;
    uint64_t at = 0;
    const auto one = [&]() -> Result<> {
      const uint64_t draw = worker.keys[at++];
      const uint64_t key = draw & ~KeySequence::kWrite;
      if ((draw & KeySequence::kWrite) == 0) return session.read(bytes_of(key), value);
      return write(session, key, serial + at);
    };
    while (!stop_.load(std::memory_order_relaxed)) {
      const Clock::time_point began = Clock::now();
      TAILRACE_RETURN_IF_ERROR(one());
      sample(worker, began, Clock::now());
      for (uint64_t i = 1; i < kKvStretch; ++i)
        TAILRACE_RETURN_IF_ERROR(one());
      worker.operations.store(at, std::memory_order_relaxed);
    }
    return {};
  }

  Result<> batches(Worker& worker, kv::Session& session) {
    const size_t batch = options_.batch;
    const kv::Serial serial = session.last_serial();
    std::vector<uint64_t> keys(batch);
    std::vector<std::string> values(batch);
    std::vector<kv::Operation> operations(batch);
    for (size_t i = 0; i < batch; ++i) {
      operations[i].key = bytes_of(keys[i]);
      operations[i].value = bytes_of(kZero);
      operations[i].modify = kv::Modify(kAddOne);
      operations[i].result = &values[i];
    }
    const kv::OperationKind writing =
        options_.mix == KvMix::kRmw ? kv::OperationKind::kRmw : kv::OperationKind::kUpsert;
    uint64_t at = 0;
    Clock::time_point began = Clock::now();
    while (!stop_.load(std::memory_order_relaxed)) {
      for (size_t i = 0; i < batch; ++i) {
        const uint64_t draw = worker.keys[at++];
        keys[i] = draw & ~KeySequence::kWrite;
        operations[i].kind = (draw & KeySequence::kWrite) != 0 ? writing : kv::OperationKind::kRead;
        operations[i].serial = serial + at;
      }
      TAILRACE_RETURN_IF_ERROR(session.run(operations));
      const Clock::time_point ended = Clock::now();
      sample(worker, began, ended);
      began = ended;
      worker.operations.store(at, std::memory_order_relaxed);
    }
    return {};
  }

  Result<> pending_reads(Worker& worker, kv::Session& session) {
    const kv::Serial serial = session.last_serial();
    std::optional<Error> failed;
    uint64_t at = 0, done = 0;
    while (!stop_.load(std::memory_order_relaxed) && !failed) {
      const uint64_t draw = worker.keys[at++];
      const uint64_t key = draw & ~KeySequence::kWrite;
      if ((draw & KeySequence::kWrite) != 0) {
        TAILRACE_RETURN_IF_ERROR(write(session, key, serial + at));
        ++done;
      } else {
        // The time is only taken of some.
        const bool timed = at % kKvStretch == 0;
        const Clock::time_point began = timed ? Clock::now() : Clock::time_point();
        session.read_async(bytes_of(key),
                           [&, began](const Result<bool>& found, const std::string&) {
                             if (!found) failed = found.error();
                             ++done;
                             if (began != Clock::time_point()) sample(worker, began, Clock::now());
                           });
        while (session.pending() >= options_.pending) {
          if (session.poll() == 0) std::this_thread::yield();
        }
      }
      if (at % kKvStretch == 0) {
        session.poll();
        worker.operations.store(done, std::memory_order_relaxed);
      }
    }
    TAILRACE_RETURN_IF_ERROR(session.wait_pending());
    if (failed) return tl::unexpected(std::move(*failed));
    return {};
  }

  void sample(Worker& worker, Clock::time_point from, Clock::time_point to) const {
    const uint32_t window = window_.load(std::memory_order_relaxed);
    if (window == kUnseen) return;
    const auto took = std::chrono::duration_cast<std::chrono::nanoseconds>(to - from).count();
    worker.took_ns[window].add(static_cast<uint64_t>(took));
  }

  /// Runs `work` on as many threads as the load has.
  Result<> each_thread(const std::function<Result<>(uint32_t)>& work) {
    std::vector<Result<>> results(options_.threads);
    std::vector<std::thread> threads;
    for (uint32_t i = 0; i < options_.threads; ++i)
      threads.emplace_back([&, i] { results[i] = work(i); });
    for (std::thread& thread : threads)
      thread.join();
    for (const Result<>& result : results) {
      if (!result) return result;
    }
    return {};
  }

  /// Lets the load run, until one of its threads has failed.
  void pass(double seconds) const {
    const Clock::time_point began = Clock::now();
    while (seconds_since(began) < seconds && !stop_.load())
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }

  static double rate(const Mark& from, const Mark& to) {
    return static_cast<double>(to.operations - from.operations) / Seconds(to.at - from.at).count();
  }

  Mark mark() const {
    Mark mark;
    for (const Worker& worker : workers_)
      mark.operations += worker.operations.load(std::memory_order_relaxed);
    mark.misses = metric_value(*metrics_, "tailrace_kv_cold_reads_total").value_or(0);
    return mark;
  }

  storage::FileSystem& file_system_;
  const KvLoadOptions& options_;
  std::vector<Worker> workers_;
  std::optional<observability::MetricRegistry> metrics_;
  std::unique_ptr<kv::Store> store_;
  std::atomic<uint32_t> window_{kUnseen};
  std::atomic<bool> stop_{false};
};

}  // namespace

Result<KvLoadResult> run_kv_load(storage::FileSystem& file_system, const KvLoadOptions& options,
                                 const std::function<void(const std::string&)>& stage) {
  KvLoadResult result;
  TAILRACE_RETURN_IF_ERROR(KvLoad(file_system, options).run(result, stage));
  return result;
}

}  // namespace tailrace::app
