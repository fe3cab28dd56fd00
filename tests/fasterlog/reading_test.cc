#include <algorithm>
#include <thread>

#include "core/random.h"
#include "tests/fasterlog/fault_options.h"
#include "tests/fasterlog/log_fixture.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::fasterlog {
namespace {

class ReadingTest : public LogFixture {};

TEST_F(ReadingTest, ABatchOfAddressesIsReadFromMemoryAndDiskInTheOrderGiven) {
  auto log = open_writer(options());
  std::vector<Address> addresses;
  std::vector<std::string> expected;
  for (int i = 0; i < 300; ++i) {  // more than the memory holds
    expected.push_back(std::to_string(i) + std::string(4000, 'a'));
    addresses.push_back(append(*log, expected.back()).first);
  }
  std::vector<std::string> got;
  size_t most = SIZE_MAX;
  const auto take = [&](const Record& record) {
    got.push_back(to_string(record.payload));
    return got.size() < most;
  };
  ASSERT_TRUE(log->read_batch(addresses, take).has_value());
  EXPECT_EQ(got, expected);
  const Address some[] = {addresses[299], addresses[0], addresses[150], addresses[0]};
  got.clear();
  ASSERT_TRUE(log->read_batch(some, take).has_value());
  EXPECT_EQ(got,
            (std::vector<std::string>{expected[299], expected[0], expected[150], expected[0]}));

  const Address bad[] = {addresses[1], addresses[2] + 8};
  got.clear();
  most = 1;
  EXPECT_TRUE(log->read_batch(bad, take)) << "what the visitor did not want was read";
  EXPECT_EQ(got, std::vector<std::string>{expected[1]});
  most = SIZE_MAX;
  got.clear();
  EXPECT_EQ(log->read_batch(bad, take).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(got, std::vector<std::string>{expected[1]});
  ASSERT_TRUE(log->truncate_before(addresses[100]).has_value());
  EXPECT_EQ(log->read_batch(some, take).error().code, ErrorCode::kTruncated);
}

// Positions come from clients, too: one that no log can have has nothing behind it.
TEST_F(ReadingTest, FromAnAddressBeyondTheLogNothingComesHoweverGreatItIs) {
  auto log = open_writer(options());
  append(*log, "record");
  for (const uint64_t beyond : {uint64_t{1} << 40, uint64_t{1} << 63, UINT64_MAX - 63,
                                UINT64_MAX - 8, UINT64_MAX - 7, UINT64_MAX}) {
    const auto scanner = log->scan(Address{beyond});
    const auto next = scanner->next(Address::max());
    ASSERT_TRUE(next) << beyond << ": " << next.error().message;
    EXPECT_FALSE(*next) << beyond;
    EXPECT_EQ(scanner->position(), Address{beyond});
    EXPECT_FALSE(scanner->wait(system_clock().now()));
    std::vector<std::byte> buffer;
    EXPECT_EQ(log->read(Address{beyond}, buffer).error().code, ErrorCode::kOutOfRange);
    EXPECT_EQ(log->read_raw(Address{beyond}, 4096, buffer).error().code, ErrorCode::kOutOfRange);
    EXPECT_EQ(log->mark_end_at(Address{beyond}).error().code, ErrorCode::kOutOfRange);
  }
}

TEST_F(ReadingTest, AScannerOfUnflushedBytesSeesWholeBatchesAndNeverMoreThanWasEnqueued) {
  auto log = open_writer(options());
  std::atomic<int> enqueued{0};
  std::thread writer([&] {
    for (int i = 0; i < 2000; ++i) {
      enqueued.store(i + 1);
      ASSERT_TRUE(log->enqueue(RecordKind::kData, as_bytes(std::to_string(i))).has_value());
    }
  });
  Log::ScanOptions unflushed;
  unflushed.with_unflushed = true;
  const auto scanner = log->scan(log->begin(), unflushed);
  int next = 0;
  while (next < 2000) {
    ASSERT_TRUE(scanner->wait(system_clock().now() + std::chrono::seconds(30)).has_value());
    auto record = scanner->next(Address::max());
    ASSERT_TRUE(record.has_value()) << record.error().message;
    if (!*record) continue;
    ASSERT_EQ(to_string((*record)->payload), std::to_string(next));
    ASSERT_LT(next, enqueued.load());
    ++next;
  }
  writer.join();
}

// Whole batches and no more than was asked for, unless one batch is more; however long the batches,
// and the records behind them, are beside what is read ahead.
TEST_F(ReadingTest, RawBatchesAreWholeWhateverTheirSizes) {
  LogOptions large = options();
  large.page_bytes = 512u << 10;
  large.segment_bytes = 1u << 20;
  auto log = open_writer(large);
  Random random(1);
  for (int i = 0; i < 120; ++i) {  // more than the memory holds
    const size_t bytes = random.chance(1, 3) ? random.below(200'000) : random.below(2000);
    const std::string text(bytes, static_cast<char>('a' + i % 26));
    for (uint64_t records = random.below(4); records > 0; --records)
      ASSERT_TRUE(log->enqueue(RecordKind::kData, as_bytes(text)));
    append(*log, text);
  }
  const Address end = log->durable();
  std::vector<std::byte> all, some, single;
  ASSERT_TRUE(log->read_raw(log->begin(), SIZE_MAX, all));
  ASSERT_EQ(log->begin() + all.size(), end);
  for (int round = 0; round < 12; ++round) {
    const size_t most = 1 + random.below(round % 2 == 0 ? 300'000 : 3000);
    for (Address at = log->begin(); at < end; at = at + some.size()) {
      ASSERT_TRUE(log->read_raw(at, most, some));
      ASSERT_FALSE(some.empty());
      const auto from = all.begin() + static_cast<ptrdiff_t>(at - log->begin());
      ASSERT_TRUE(std::equal(some.begin(), some.end(), from)) << "from " << at.value;
      ASSERT_EQ(log->mark_end_at(at + some.size()).value(), at + some.size());
      if (some.size() <= most) continue;
      ASSERT_TRUE(log->read_raw(at, 1, single));
      ASSERT_EQ(single.size(), some.size()) << "more than one batch, and more than was asked for";
    }
  }
  ASSERT_TRUE(log->read_raw(end, 1000, some));
  EXPECT_TRUE(some.empty());
}

// What a leader ships in parallel with its own flush is what it then has on its disk.
TEST_F(ReadingTest, WhatIsBeingFlushedCanBeReadBeforeItIsDurable) {
  auto log = open_writer(options());
  std::vector<std::byte> early;
  uint64_t begun = 0;
  {
    // On the flusher's thread: nothing becomes durable meanwhile.
    const auto listener = log->add_flush_listener([&](Address durable, const Error* failure) {
      ASSERT_EQ(failure, nullptr);
      const Address flushing = log->flushing();
      ASSERT_GE(flushing, durable);
      // It is told of moves of durable, too.
      const Address from = log->begin() + early.size();
      if (flushing == durable || flushing == from) return;
      ++begun;
      std::vector<std::byte> more, less;
      ASSERT_TRUE(log->read_raw_flushing(from, 1u << 20, more).has_value());
      ASSERT_TRUE(from > durable || log->read_raw(from, 1u << 20, less).has_value());
      EXPECT_EQ(from + more.size(), flushing) << "whole batches, up to where flushes have begun";
      EXPECT_LT(less.size(), more.size()) << "and none of them is durable";
      early.insert(early.end(), more.begin(), more.end());
    });
    for (int i = 0; i < 200; ++i) {
      ASSERT_TRUE(log->enqueue(RecordKind::kData, as_bytes(std::to_string(i))).has_value());
      if (i % 7 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ASSERT_TRUE(log->become_copy().has_value());
  }
  EXPECT_GT(begun, 0u);
  std::vector<std::byte> durable;
  ASSERT_TRUE(log->read_raw(log->begin(), 1u << 20, durable).has_value());
  ASSERT_LE(early.size(), durable.size());
  EXPECT_TRUE(std::equal(early.begin(), early.end(), durable.begin()));
}

TEST(FlushingFault, AfterAFailedFlushOnlyWhatIsDurableIsReadRaw) {
  tailrace::testing::FaultFileSystem disk(1);
  LogOptions with = fault_options();
  with.commit = CommitPolicy::on_request();
  auto log = Log::open(disk, with);
  ASSERT_TRUE(log.has_value());
  ASSERT_TRUE((*log)->become_writer(Epoch{1}).has_value());
  const auto lost = (*log)->enqueue(RecordKind::kData, as_bytes("lost"));
  ASSERT_TRUE(lost.has_value());
  disk.fail_next("fdatasync", with.directory / "0000000000000000.seg",
                 tailrace::testing::FaultKind::kError);
  // With a deadline, so that the flusher's thread does it.
  EXPECT_FALSE(
      (*log)->wait_durable(lost->end, system_clock().now() + std::chrono::seconds(30)).has_value());
  EXPECT_GT((*log)->flushing(), (*log)->durable());
  std::vector<std::byte> bytes(1);
  ASSERT_TRUE((*log)->read_raw_flushing((*log)->durable(), 1u << 20, bytes).has_value());
  EXPECT_TRUE(bytes.empty());
}

// Who reads behind the writers by no more than half of the memory costs the disk nothing.
TEST(ReadingMemory, HalfOfTheMemoryIsReadWithoutTheDisk) {
  testing::FaultFileSystem disk(random_seed());
  LogOptions options = fault_options();
  options.page_bytes = 64u << 10;
  options.buffer_pages = 8;
  options.segment_bytes = 1u << 20;
  auto log = Log::open(disk, options).value();
  ASSERT_TRUE(log->become_writer(Epoch{1}));
  std::vector<AddressRange> ranges;
  for (int i = 0; i < 100; ++i) {  // more than the memory holds
    ranges.push_back(*log->enqueue(RecordKind::kData, as_bytes(std::string(9000, 'm'))));
    ASSERT_TRUE(log->wait_durable(ranges.back().end));
  }
  const uint64_t memory = uint64_t{options.page_bytes} * options.buffer_pages;
  const Address kept{align_up(log->tail().value, options.page_bytes) - memory / 2};
  const uint64_t reads = disk.reads();
  std::vector<std::byte> bytes;
  size_t found = 0;
  for (const AddressRange& range : ranges) {
    if (range.first < kept + storage::kBlockBytes) continue;  // whole blocks are read
    ASSERT_TRUE(log->read(range.first, bytes));
    const auto next = log->scan(range.first)->next(Address::max());
    ASSERT_TRUE(next && *next);
    EXPECT_EQ((*next)->address, range.first);
    ++found;
  }
  EXPECT_GE(found, 20u);
  EXPECT_EQ(disk.reads(), reads);
}

// A copy takes up to three quarters of its memory at once, if its sender was that far ahead.
TEST_F(ReadingTest, ACopyMakesRoomForThreeQuartersOfItsMemory) {
  LogOptions large = options();
  large.buffer_pages = 8;
  auto log = open_writer(large);
  std::vector<std::byte> bytes;
  const uint64_t most = uint64_t{large.page_bytes} * large.buffer_pages / 4 * 3;
  for (int i = 0; i < 60; ++i)
    append(*log, std::string(9000, 'c'));
  ASSERT_TRUE(log->read_raw(log->begin(), most, bytes));
  ASSERT_GT(bytes.size(), uint64_t{large.page_bytes} * large.buffer_pages / 2 + large.page_bytes);
  LogOptions small = options("copy");
  small.buffer_pages = 8;
  auto copy = open(small);
  ASSERT_TRUE(copy->become_copy());
  const SteadyTime deadline = system_clock().now() + std::chrono::seconds(10);
  Result<> taken = copy->try_append_raw(copy->tail(), bytes);
  while (!taken && taken.error().code == ErrorCode::kWouldBlock && system_clock().now() < deadline)
    taken = copy->try_append_raw(copy->tail(), bytes);
  ASSERT_TRUE(taken) << taken.error().message;
  ASSERT_TRUE(copy->wait_durable(copy->tail()));
  std::vector<std::byte> back;
  ASSERT_TRUE(copy->read_raw(copy->begin(), SIZE_MAX, back));
  EXPECT_TRUE(back == bytes);
}

TEST_F(ReadingTest, WaitingFormsOfPartsAndBatchesWaitForRoomAndTimeOut) {
  LogOptions with = options();
  with.commit = CommitPolicy::on_request();
  auto log = open_writer(with);
  const std::string half(15'000, 'p');
  const ByteSpan parts[] = {as_bytes(half), as_bytes(half)};
  const RecordView batch[] = {{RecordKind::kData, as_bytes(half)},
                              {RecordKind::kData, as_bytes(half)}};
  uint64_t records = 0;
  for (int i = 0; i < 60; ++i) {
    auto one = log->enqueue(RecordKind::kData, std::span<const ByteSpan>(parts),
                            system_clock().now() + std::chrono::seconds(30));
    ASSERT_TRUE(one.has_value()) << one.error().message;
    std::vector<Address> addresses;
    auto two =
        log->enqueue_batch(batch, system_clock().now() + std::chrono::seconds(30), &addresses);
    ASSERT_TRUE(two.has_value()) << two.error().message;
    ASSERT_EQ(addresses.size(), 2u);
    EXPECT_EQ(addresses[0], two->first);
    records += 3;
  }
  ASSERT_TRUE(log->wait_durable(log->tail()).has_value());
  EXPECT_EQ(payloads(*log).size(), records);
}

}  // namespace
}  // namespace tailrace::fasterlog
