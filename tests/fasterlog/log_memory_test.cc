// What the log promises about memory: enqueueing allocates nothing, and the whole log takes what
// its options say. A program of its own, because it replaces the global operator new.

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <thread>

#include <unistd.h>

#include "tests/fasterlog/log_fixture.h"

namespace {

thread_local bool counts_allocations = false;
thread_local uint64_t allocations = 0;

void* allocate(std::size_t bytes) {
  if (counts_allocations) ++allocations;
  void* memory = std::malloc(bytes == 0 ? 1 : bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* allocate(std::size_t bytes, std::align_val_t alignment) {
  if (counts_allocations) ++allocations;
  const auto unit = static_cast<std::size_t>(alignment);
  void* memory = std::aligned_alloc(unit, (bytes + unit - 1) / unit * unit);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// The forms for arrays and without exceptions come down to these.
void* operator new(std::size_t bytes) {
  return allocate(bytes);
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return allocate(bytes, alignment);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace tailrace::fasterlog {
namespace {

class LogMemory : public LogFixture {};

/// How often the calls of `work` on this thread allocate.
template <typename Work>
uint64_t allocations_of(Work work) {
  allocations = 0;
  counts_allocations = true;
  work();
  counts_allocations = false;
  return allocations;
}

TEST_F(LogMemory, TheCountSeesAllocations) {
  EXPECT_EQ(allocations_of([] { std::string(100, 'x').clear(); }), 1u);
}

TEST_F(LogMemory, EnqueueAllocatesNothing) {
  auto log = open_writer(options());
  const std::string payload(100, 'x');
  const ByteSpan bytes = as_bytes(payload);
  const ByteSpan parts_array[] = {bytes.first(30), bytes.subspan(30)};
  const std::span<const ByteSpan> parts = parts_array;
  const RecordView batch[] = {{RecordKind::kData, bytes},
                              {RecordKind::kEpochStart, bytes.first(8)}};
  std::vector<Address> addresses;
  addresses.reserve(2);
  // A thread's first enqueue takes its place in the epoch table.
  ASSERT_TRUE(log->enqueue(RecordKind::kData, bytes).has_value());

  // Far more than the buffer holds, so that the waiting forms do wait and the others are refused.
  constexpr int kTimes = 20'000;
  int refused = 0;
  bool failed = false;
  const auto note = [&](const Result<AddressRange>& range) {
    if (range) return;
    ++refused;
    failed = failed || range.error().code != ErrorCode::kWouldBlock;
  };
  const auto repeat = [](auto call) {
    return allocations_of([&] {
      for (int i = 0; i < kTimes; ++i)
        call();
    });
  };
  EXPECT_EQ(repeat([&] { note(log->try_enqueue(RecordKind::kData, bytes)); }), 0u);
  EXPECT_EQ(repeat([&] { note(log->try_enqueue(RecordKind::kData, parts)); }), 0u);
  EXPECT_EQ(repeat([&] { note(log->try_enqueue_batch(batch)); }), 0u);
  EXPECT_EQ(repeat([&] { note(log->try_enqueue_batch(batch, &addresses)); }), 0u);
  EXPECT_EQ(repeat([&] { note(log->try_enqueue_in(Epoch{1}, batch)); }), 0u);
  EXPECT_GT(refused, 0) << "the buffer never was full";
  refused = 0;
  const auto deadline = SteadyTime::max();
  const auto soon = system_clock().now() + std::chrono::seconds(60);
  EXPECT_EQ(repeat([&] { note(log->enqueue(RecordKind::kData, bytes, deadline)); }), 0u);
  EXPECT_EQ(repeat([&] { note(log->enqueue(RecordKind::kData, parts, soon)); }), 0u);
  EXPECT_EQ(repeat([&] { note(log->enqueue_batch(batch, deadline)); }), 0u);
  EXPECT_EQ(repeat([&] { note(log->enqueue_batch(batch, soon, &addresses)); }), 0u);
  EXPECT_EQ(refused, 0);
  EXPECT_FALSE(failed);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // their memory is not ours

uint64_t resident_bytes() {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  unsigned long all = 0;
  unsigned long resident = 0;
  const int read = file != nullptr ? std::fscanf(file, "%lu %lu", &all, &resident) : 0;
  if (file != nullptr) std::fclose(file);
  EXPECT_EQ(read, 2) << "no /proc/self/statm";
  return resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

TEST_F(LogMemory, ALogUnderLoadTakesItsOptionWithinOnePercent) {
  LogOptions with = options();
  with.page_bytes = 4u << 20;
  with.buffer_pages = 64;
  with.segment_bytes = 64u << 20;
  const uint64_t option_bytes = uint64_t{with.page_bytes} * with.buffer_pages;
  {
    // What the first log of a process takes once and for all: code, log lines, arenas.
    LogOptions small = options("warm");
    auto warm = open_writer(small);
    append(*warm, "warm");
    (void)payloads(*warm);
  }
  const uint64_t before = resident_bytes();
  auto log = open_writer(with);
  const std::string payload(1000, 'x');
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> most{0};
  // What a scanner reads ahead is an option of its own, small here.
  const Log::ScanOptions small_scan{false, false, 64u << 10};
  // A reader that tails from memory, one that begins again at the beginning, and who truncates.
  std::thread tails([&] {
    const auto scanner = log->scan(log->begin(), small_scan);
    while (!stop.load()) {
      auto record = scanner->next(Address::max());
      if (!record) break;
      if (!*record) (void)scanner->wait(system_clock().now() + std::chrono::milliseconds(10));
    }
  });
  std::thread rereads([&] {
    std::vector<std::byte> buffer;
    while (!stop.load()) {
      const auto scanner = log->scan(log->begin(), small_scan);
      for (int i = 0; i < 1000; ++i) {
        auto record = scanner->next(Address::max());
        if (!record || !*record) break;
        (void)log->read((*record)->address, buffer);
      }
      most.store(std::max(most.load(), resident_bytes()));
    }
  });
  while (log->tail().value < 3 * option_bytes) {
    const auto range = log->enqueue(RecordKind::kData, as_bytes(payload));
    ASSERT_TRUE(range.has_value());
    if (log->durable() - log->begin() > option_bytes) {
      ASSERT_TRUE(log->truncate_before(log->durable() - option_bytes / 2).has_value());
    }
  }
  EXPECT_TRUE(log->wait_durable(log->tail()).has_value());
  stop.store(true);
  tails.join();
  rereads.join();
  most.store(std::max(most.load(), resident_bytes()));
  const double ratio =
      static_cast<double>(most.load() - before) / static_cast<double>(option_bytes);
  RecordProperty("memory_ratio", std::to_string(ratio));
  EXPECT_GE(ratio, 0.99);
  EXPECT_LE(ratio, 1.01) << (most.load() - before) << " bytes for an option of " << option_bytes;
}

#endif

}  // namespace
}  // namespace tailrace::fasterlog
