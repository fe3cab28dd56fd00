// Event files alone: `build/release/bench/event_file_bench`. Events as a shop has them: 256 bytes
// of data, an id, one of 20 types, a tag; of 20,000 streams. `bytes_an_event` is what one takes on
// disk, `own_bytes` what it has itself: its header in the log, its type, tag and data.

#include <filesystem>
#include <string>

#include <benchmark/benchmark.h>
#include <unistd.h>

#include "core/random.h"
#include "history/event_cursor.h"
#include "history/event_file_writer.h"
#include "history/format/file_name.h"

namespace tailrace::history {
namespace {

constexpr uint32_t kEvents = 200'000;
constexpr uint64_t kStreams = 20'000;
constexpr size_t kDataBytes = 256;

class Directory {
 public:
  Directory()
      : path_(std::filesystem::temp_directory_path() /
              ("tailrace-event-file-bench-" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(path_);
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  const std::filesystem::path path_;
};

/// Text that compresses about as JSON does.
std::string some_data(Random& random) {
  std::string data = R"({"order":")";
  while (data.size() < kDataBytes - 2)
    data += random.chance(1, 3) ? std::to_string(random.below(1000)) : R"(","item":")";
  data.resize(kDataBytes - 2);
  return data + R"("})";
}

class Load {
 public:
  Load() : versions_(kStreams, 0) {
    for (int i = 0; i < 1000; ++i)
      data_.push_back(some_data(random_));
  }

  /// The next event, until the one after it.
  const EventEntry& next() {
    const uint64_t stream = random_.below(kStreams);
    stream_ = "order-" + std::to_string(100'000 + stream);
    type_ = "order-event-" + std::to_string(random_.below(20));
    text_ = "customer:" + std::to_string(random_.below(5000));
    tag_ = text_;
    entry_.stream = stream_;
    entry_.version = versions_[stream]++;
    entry_.record_address = Address{position_};
    entry_.position = Address{position_ + 100};
    position_ += 480;
    entry_.epoch = Epoch{3};
    entry_.time_ns = 1'700'000'000'000'000'000 + position_ * 1000;
    entry_.type = type_;
    random_.fill(entry_.id.emplace());
    entry_.tags = {&tag_, 1};
    entry_.content_type = statemachine::ContentType::kJson;
    entry_.data = as_bytes(data_[random_.below(data_.size())]);
    own_bytes_ += 12 + 16 + type_.size() + 1 + text_.size() + kDataBytes;
    return entry_;
  }
  Address position() const { return Address{position_}; }
  uint64_t own_bytes() const { return own_bytes_; }

 private:
  Random random_{1};
  std::vector<std::string> data_;
  std::vector<uint64_t> versions_;
  std::string stream_, type_, text_;
  std::string_view tag_;
  uint64_t position_ = 64, own_bytes_ = 0;
  EventEntry entry_;
};

EventFileInfo write_file(const Directory& directory, Compression compression, Load& load) {
  EventFileOptions options;
  options.compression = compression;
  auto writer =
      EventFileWriter::create(storage::posix_file_system(), directory.path(), Address{64}, options);
  if (!writer) return {};
  for (uint32_t event = 0; event < kEvents; ++event)
    if (!(*writer)->add(load.next())) return {};
  return (*writer)->finish(load.position(), Epoch{3}).value_or(EventFileInfo{});
}

void write(benchmark::State& state) {
  const Directory directory;
  EventFileInfo info;
  uint64_t own_bytes = 0;
  for (auto _ : state) {
    Load load;
    info = write_file(directory, Compression{static_cast<uint8_t>(state.range(0))}, load);
    if (info.bytes == 0) state.SkipWithError("the file cannot be written");
    own_bytes = load.own_bytes();
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()) * kEvents);
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * own_bytes));
  state.counters["bytes_an_event"] = static_cast<double>(info.bytes) / kEvents;
  state.counters["own_bytes"] = static_cast<double>(own_bytes) / kEvents;
}
BENCHMARK(write)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);

/// `read` says how many events it has read of the file, or 0 for an error.
template <typename Read>
void read_file(benchmark::State& state, Read read) {
  const Directory directory;
  Load load;
  const EventFileInfo info =
      write_file(directory, Compression{static_cast<uint8_t>(state.range(0))}, load);
  BlockCache cache(8u << 20);
  const auto file =
      EventFile::open(storage::posix_file_system(), directory.path() / name_of(info), cache);
  int64_t events = 0;
  for (auto _ : state) {
    const int64_t now = file ? read(**file) : 0;
    if (now == 0) state.SkipWithError("the file cannot be read");
    events += now;
  }
  state.SetItemsProcessed(events);
}

int64_t count(EventCursor cursor) {
  int64_t events = 0;
  for (auto next = cursor.next(); next; next = cursor.next(), ++events) {
    if (*next == nullptr) return events;
    benchmark::DoNotOptimize((*next)->data.data());
  }
  return 0;
}

void read_forwards(benchmark::State& state) {
  read_file(state,
            [](const EventFile& file) { return count(file.events(Address{}, Order::kForwards)); });
}
BENCHMARK(read_forwards)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);

// One of 20 types: each block has some of it.
void read_a_type(benchmark::State& state) {
  read_file(state, [](const EventFile& file) {
    return count(file.events_of(IndexKind::kType, "order-event-7", Address{}, Order::kForwards));
  });
}
BENCHMARK(read_a_type)->Arg(1)->Unit(benchmark::kMillisecond);

// About ten events, each in a block of its own.
void read_a_stream(benchmark::State& state) {
  Random random(2);
  read_file(state, [&](const EventFile& file) {
    return count(file.events_of_stream("order-" + std::to_string(100'000 + random.below(kStreams)),
                                       0, Order::kForwards)) +
           1;
  });
}
BENCHMARK(read_a_stream)->Arg(1)->Unit(benchmark::kMicrosecond);

void verify(benchmark::State& state) {
  read_file(state, [](const EventFile& file) { return file.verify() ? int64_t{kEvents} : 0; });
}
BENCHMARK(verify)->Arg(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace tailrace::history

BENCHMARK_MAIN();
