// The store alone beside Microsoft's C++ FASTER, in one process, in turns: docs/benchmarks.md has
// what it is built of and what it has shown.
//
// The host's speed changes from one second to the next. So the stores take turns of a tenth of a
// second, in a random order, and what is told is the median of the turns' ratios. Other work on the
// host takes processors away, so a rate is of processor time: only the threads of the store whose
// turn it is run, and the process's clock is theirs.

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <ctime>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <pthread.h>
#include <unistd.h>

#include "app/bench/key_sequence.h"
#include "app/bench/measuring.h"
#include "core/random.h"
#include "storage/file_system.h"
#include "tests/load/faster/side.h"

namespace beside {

namespace {

using tailrace::app::KeyDistribution;
using tailrace::app::KeySequence;

struct Options {
  uint64_t keys = 10'000'000, index_buckets = 0, seed = 0;
  uint32_t turns = 25, batch = 32;
  double seconds = 0.12, unseen_seconds = 0.04;
  std::vector<uint32_t> threads = {1, 2};
  std::vector<std::string> distributions = {"uniform", "zipf"};
  std::vector<std::string> workloads = {"c", "b", "a", "rmw"};
  std::string directory = ".";
  bool json = false;
};

struct Workload {
  const char* name;
  const char* title;
  double writes;
  bool rmw;
};
// Named as `bench kv` does.
constexpr Workload kWorkloads[] = {{"c", "reads", 0, false},
                                   {"b", "95:5", 0.05, false},
                                   {"a", "50:50", 0.5, false},
                                   {"rmw", "read-modify-write", 1, true}};

const Workload& workload_of(const std::string& name) {
  for (const Workload& one : kWorkloads) {
    if (one.name == name) return one;
  }
  throw std::runtime_error("no such workload: " + name);
}

double process_cpu_s() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

/// Where FASTER makes 64 MiB of buckets, g++ 12 gives the function a frame of that size, and two
/// such functions call each other. What is not touched costs nothing.
void give_threads_large_stacks() {
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setstacksize(&attributes, size_t{512} << 20);
  ::pthread_setattr_default_np(&attributes);
  ::pthread_attr_destroy(&attributes);
}

/// Runs it on so many threads; the first exception is thrown here.
void each_thread(uint32_t count, const std::function<void(uint32_t)>& work) {
  std::vector<std::exception_ptr> failures(count);
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      try {
        work(i);
      } catch (...) {
        failures[i] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

/// A store and a way of calling it.
struct Contender {
  Side* side;
  uint32_t batch;
};
constexpr size_t kFaster = 0, kSingle = 1, kBatches = 2, kContenders = 3;

struct alignas(64) Position {
  std::atomic<uint64_t> at{0};
};

struct Figures {
  double ratio = 0, low = 0, high = 0;  // to FASTER: the median and the quartiles of the turns
  double mega = 0;                      // million operations a second of processor time, median
};
struct Cell {
  uint32_t threads;
  std::string distribution;
  const Workload* workload;
  double faster_mega = 0;
  Figures single, batches;
};

double quantile(std::vector<double> values, double part) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(part * static_cast<double>(values.size() - 1) + 0.5)];
}

Figures figures_of(const std::vector<double>& rates, const std::vector<double>& faster) {
  std::vector<double> ratios;
  for (size_t i = 0; i < rates.size(); ++i)
    ratios.push_back(rates[i] / faster[i]);
  return {tailrace::app::median(ratios), quantile(ratios, 0.25), quantile(ratios, 0.75),
          tailrace::app::median(rates) / 1e6};
}

class Beside {
 public:
  Beside(const Options& options, const std::string& directory)
      : options_(options),
        most_threads_(*std::max_element(options.threads.begin(), options.threads.end())),
        random_(options.seed) {
    shape_.keys = options.keys;
    shape_.index_buckets = options.index_buckets;
    if (shape_.index_buckets == 0)
      shape_.index_buckets = std::bit_ceil(std::max<uint64_t>(options.keys / 3, 1024));
    shape_.directory = directory;
  }

  std::vector<Cell> run() {
    load();
    std::vector<Cell> cells;
    for (const std::string& distribution : options_.distributions) {
      for (const std::string& name : options_.workloads) {
        const Workload& workload = workload_of(name);
        draw(distribution, workload);
        for (const uint32_t threads : options_.threads)
          cells.push_back(measure(distribution, workload, threads));
      }
    }
    return cells;
  }

  uint64_t index_buckets() const { return shape_.index_buckets; }

 private:
  void load() {
    stage("loading keys");
    std::vector<uint64_t> keys(options_.keys);
    for (uint64_t i = 0; i < options_.keys; ++i)
      keys[i] = tailrace::app::key_of(i);
    each_thread(1, [&](uint32_t) { faster_ = open_faster(shape_); });
    tailrace_ = open_tailrace(shape_);
    for (Side* side : {faster_.get(), tailrace_.get()}) {
      each_thread(most_threads_, [&](uint32_t i) {
        const uint64_t first = options_.keys * i / most_threads_;
        const uint64_t end = options_.keys * (i + 1) / most_threads_;
        side->load(keys.data() + first, end - first, i);
      });
    }
    contenders_ = {{faster_.get(), 1}, {tailrace_.get(), 1}, {tailrace_.get(), options_.batch}};
    check(keys);
  }

  void draw(const std::string& distribution, const Workload& workload) {
    stage("drawing keys");
    const auto kind = distribution == "zipf" ? KeyDistribution::kZipf : KeyDistribution::kUniform;
    draws_.resize(most_threads_);
    each_thread(most_threads_, [&](uint32_t i) {
      auto drawn = KeySequence::make(kind, options_.keys, workload.writes, true, i + 1);
      if (!drawn) throw std::runtime_error(drawn.error().message);
      draws_[i] = std::move(*drawn);
    });
  }

  /// Adds on each store, and looks whether all that was added is in the values.
  void check(const std::vector<uint64_t>& keys) {
    stage("checking that no update is lost");
    draw("zipf", workload_of("rmw"));
    for (const Contender& contender : contenders_) {
      const uint64_t before = contender.side->sum_of_values(keys.data(), keys.size());
      const Turn turn = take_turn(contender, true, most_threads_, 0);
      const uint64_t after = contender.side->sum_of_values(keys.data(), keys.size());
      if (after - before != turn.operations) {
        throw std::runtime_error(fmt::format("{} additions were done, and {} are in the values",
                                             turn.operations, after - before));
      }
    }
  }

  Cell measure(const std::string& distribution, const Workload& workload, uint32_t threads) {
    stage(fmt::format("{} thread{}, {}, {}", threads, threads == 1 ? "" : "s", distribution,
                      workload.title));
    std::vector<double> rates[kContenders];
    for (uint32_t i = 0; i < options_.turns; ++i) {
      size_t order[kContenders] = {kFaster, kSingle, kBatches};
      std::shuffle(std::begin(order), std::end(order), random_);
      const uint64_t from = random_.below(KeySequence::kLength);
      for (const size_t which : order)
        rates[which].push_back(take_turn(contenders_[which], workload.rmw, threads, from).rate);
    }
    Cell cell{threads, distribution, &workload, {}, {}, {}};
    cell.faster_mega = tailrace::app::median(rates[kFaster]) / 1e6;
    cell.single = figures_of(rates[kSingle], rates[kFaster]);
    cell.batches = figures_of(rates[kBatches], rates[kFaster]);
    return cell;
  }

  struct Turn {
    uint64_t operations = 0;  // all, the unseen ones too
    double rate = 0;          // operations a second of processor time
  };
  /// Begins at place `from` of the draws.
  Turn take_turn(const Contender& contender, bool rmw, uint32_t threads, uint64_t from) {
    std::atomic<bool> stop{false};
    std::vector<Position> positions(threads);
    for (Position& position : positions)
      position.at.store(from);
    const auto done = [&] {
      uint64_t operations = 0;
      for (const Position& position : positions)
        operations += position.at.load(std::memory_order_relaxed) - from;
      return operations;
    };
    std::exception_ptr failure;
    std::thread working([&] {
      try {
        each_thread(threads, [&](uint32_t i) {
          Stretch stretch;
          stretch.draws = draws_[i].draws();
          stretch.mask = KeySequence::kLength - 1;
          stretch.write = KeySequence::kWrite;
          stretch.rmw = rmw;
          stretch.batch = contender.batch;
          stretch.thread = i;
          stretch.stop = &stop;
          stretch.at = &positions[i].at;
          contender.side->run(stretch);
        });
      } catch (...) {
        failure = std::current_exception();
      }
    });
    pass(options_.unseen_seconds);
    const uint64_t operations_from = done();
    const double cpu_from = process_cpu_s();
    pass(options_.seconds);
    const uint64_t operations_to = done();
    const double cpu_to = process_cpu_s();
    stop.store(true);
    working.join();
    if (failure) std::rethrow_exception(failure);
    if (operations_to == operations_from)
      throw std::runtime_error("a turn was too short for one operation: --seconds");
    return {done(), static_cast<double>(operations_to - operations_from) / (cpu_to - cpu_from)};
  }

  static void pass(double seconds) {
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  }
  static void stage(const std::string& what) {
    if (::isatty(STDERR_FILENO) == 1) fmt::print(stderr, "\r\033[K{} ...", what);
  }

  const Options& options_;
  const uint32_t most_threads_;
  tailrace::Random random_;
  Shape shape_;
  std::unique_ptr<Side> faster_, tailrace_;
  std::vector<Contender> contenders_;
  std::vector<KeySequence> draws_;
};

void print_table(const Options& options, const std::vector<Cell>& cells) {
  fmt::print("ratio to FASTER, median of {} turns (quartiles)\n", options.turns);
  fmt::print("{:<8} {:<8} {:<18} {:>20} {:>20}  {}\n", "threads", "keys", "workload",
             "single calls", fmt::format("batches of {}", options.batch),
             "M operations per processor-second: FASTER, single, batches");
  const auto text = [](const Figures& one) {
    return fmt::format("{:.2f} ({:.2f}-{:.2f})", one.ratio, one.low, one.high);
  };
  for (const Cell& cell : cells) {
    fmt::print("{:<8} {:<8} {:<18} {:>20} {:>20}  {:.2f} {:.2f} {:.2f}\n", cell.threads,
               cell.distribution, cell.workload->title, text(cell.single), text(cell.batches),
               cell.faster_mega, cell.single.mega, cell.batches.mega);
  }
}

void print_json(const Options& options, uint64_t index_buckets, const std::vector<Cell>& cells) {
  fmt::print(
      "{{\"keys\": {}, \"index_buckets\": {}, \"turns\": {}, \"seconds\": {}, "
      "\"batch\": {}, \"cells\": [",
      options.keys, index_buckets, options.turns, options.seconds, options.batch);
  const auto figures = [](const Figures& one) {
    return fmt::format(
        "{{\"ratio\": {:.3f}, \"lower_quartile\": {:.3f}, "
        "\"upper_quartile\": {:.3f}, \"ops_per_cpu_s\": {:.0f}}}",
        one.ratio, one.low, one.high, one.mega * 1e6);
  };
  const char* between = "";
  for (const Cell& cell : cells) {
    fmt::print(
        "{}\n  {{\"threads\": {}, \"distribution\": \"{}\", \"workload\": \"{}\", "
        "\"faster_ops_per_cpu_s\": {:.0f}, \"single\": {}, \"batches\": {}}}",
        between, cell.threads, cell.distribution, cell.workload->name, cell.faster_mega * 1e6,
        figures(cell.single), figures(cell.batches));
    between = ",";
  }
  fmt::print("\n]}}\n");
}

int run(const Options& options) {
  give_threads_large_stacks();
  auto& files = tailrace::storage::posix_file_system();
  const auto directory =
      tailrace::storage::Path(options.directory) / ("faster-beside-" + std::to_string(::getpid()));
  if (const auto made = files.make_directory(directory); !made)
    throw std::runtime_error(made.error().message);
  std::vector<Cell> cells;
  uint64_t index_buckets = 0;
  std::exception_ptr failure;
  try {
    Beside beside(options, directory.string());
    index_buckets = beside.index_buckets();
    cells = beside.run();
  } catch (...) {
    failure = std::current_exception();
  }
  const auto removed = files.remove_directory(directory);
  if (::isatty(STDERR_FILENO) == 1) fmt::print(stderr, "\r\033[K");
  if (failure) std::rethrow_exception(failure);
  if (!removed) throw std::runtime_error(removed.error().message);
  if (options.json)
    print_json(options, index_buckets, cells);
  else
    print_table(options, cells);
  return 0;
}

}  // namespace
}  // namespace beside

int main(int argc, char** argv) {
  CLI::App app(
      "Tailrace's store beside Microsoft's C++ FASTER, in turns: the ratios of operations per "
      "second of processor time. With the defaults it takes about five minutes and 2 GB");
  beside::Options options;
  app.add_option("--keys", options.keys, "Loaded first, of 8 bytes, with values of 8 bytes")
      ->check(CLI::Range(uint64_t{1000}, uint64_t{1} << 30))
      ->capture_default_str();
  app.add_option("--index-buckets", options.index_buckets,
                 "Of both, a power of two; 0: one for two or three keys")
      ->capture_default_str();
  app.add_option("--threads", options.threads, "Numbers of threads, as 1,2")
      ->delimiter(',')
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--distribution", options.distributions, "uniform, zipf (0.99, scattered)")
      ->delimiter(',')
      ->check(CLI::IsMember({"uniform", "zipf"}))
      ->capture_default_str();
  app.add_option("--workload", options.workloads,
                 "c: reads; b: 95 % reads, 5 % upserts; a: half each; rmw: adds 1")
      ->delimiter(',')
      ->check(CLI::IsMember({"c", "b", "a", "rmw"}))
      ->capture_default_str();
  app.add_option("--batch", options.batch, "Operations of one call in the batches")
      ->check(CLI::Range(2, 4096))
      ->capture_default_str();
  app.add_option("--turns", options.turns, "Of each of the three, in each cell")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  app.add_option("--seconds", options.seconds, "Timed, of one turn")
      ->check(CLI::Range(0.001, 60.0))
      ->capture_default_str();
  app.add_option("--unseen-seconds", options.unseen_seconds, "Before them")
      ->check(CLI::Range(0.001, 60.0))
      ->capture_default_str();
  app.add_option("--seed", options.seed, "Of the turns' order")->capture_default_str();
  app.add_option("--dir", options.directory, "Where Tailrace's store has its files meanwhile")
      ->capture_default_str();
  app.add_flag("--json", options.json, "One JSON object");
  CLI11_PARSE(app, argc, argv);
  try {
    return beside::run(options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "faster_beside: {}\n", error.what());
  }
  return 1;
}
