// Where bytes are checked: once, when they come from a disk (or a socket, see log_test.cc and
// tests/rpc/peer/peer_frame_test.cc), and not again while they stay in this process's memory.

#include <cstring>

#include <gtest/gtest.h>

#include "core/random.h"
#include "fasterlog/engine/log_source.h"
#include "observability/logging.h"
#include "tests/fasterlog/saved_log.h"

namespace tailrace::fasterlog {

struct CheckedBytesForTests {
  static CheckedBytes of(ByteSpan bytes) { return CheckedBytes(bytes); }
};

namespace {

/// What an open log has in memory, without its threads.
class InMemory : public ::testing::Test {
 protected:
  void SetUp() override {
    observability::set_log_level(observability::LogLevel::kOff);
    ASSERT_TRUE(PageRing::allocate(core_.ring, core_.options.page_bytes, core_.options.buffer_pages,
                                   false));
    core_.begin.store(kFirstAddress.value);
    core_.ring.set_tail(kFirstAddress);
  }
  void TearDown() override { observability::set_log_level(observability::LogLevel::kInfo); }

  /// A sound record at the tail; where it begins.
  Address put(std::string_view text) {
    const Address at = core_.ring.tail();
    std::memset(core_.ring.at(at), 0, record_bytes(text.size()));
    std::memcpy(core_.ring.at(at) + kHeaderBytes, text.data(), text.size());
    seal_record(core_.ring.at(at), at, Epoch{1}, RecordKind::kData,
                static_cast<uint32_t>(text.size()));
    core_.ring.set_tail(at + record_bytes(text.size()));
    core_.flushing.store(core_.ring.tail().value);
    return at;
  }
  /// As only a fault of this machine could: nothing has come in since it was sealed.
  void spoil_checksum(Address record) { core_.ring.at(record)[0] ^= std::byte{1}; }
  RecordReader::Status next(RecordReader& reader) {
    const auto step = reader.next(core_.ring.tail());
    EXPECT_TRUE(step) << step.error().message;
    return step ? step->status : RecordReader::Status::kBad;
  }

  testing::FaultFileSystem disk_{1};
  LogCore core_{disk_, saved_log_options(), system_clock(), LogMetadata{}};
};

// Promise: a record that this process has sealed or checked costs no second checksum. Only where a
// reader begins is one computed: it shows that a record begins there.
TEST_F(InMemory, OnlyTheFirstRecordOfAReaderIsCheckedAgain) {
  put("one");
  const Address two = put("two");
  put("three");
  spoil_checksum(two);
  LogSource source(core_);
  RecordReader reader(source, core_.options.page_bytes, 4096);
  reader.seek(kFirstAddress);
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(next(reader), RecordReader::Status::kRecord) << i;
  EXPECT_EQ(next(reader), RecordReader::Status::kEnd);
  reader.seek(two);
  EXPECT_EQ(next(reader), RecordReader::Status::kBad);
}

// Promise: once the log was cut, its memory is of another log than the reader came from, until the
// reader has looked at the cut: nothing there is taken for a record unseen.
TEST_F(InMemory, AfterACutAReaderChecksWhatItFinds) {
  put("one");
  LogSource source(core_);
  RecordReader reader(source, core_.options.page_bytes, 4096);
  reader.seek(kFirstAddress);
  ASSERT_EQ(next(reader), RecordReader::Status::kRecord);
  spoil_checksum(put("two"));
  core_.cut_count.store(1);
  EXPECT_EQ(next(reader), RecordReader::Status::kBad);
  // It has looked, and is where a record begins; then it goes on as before.
  source.pass_cuts(1);
  reader.forget();
  reader.seek(kFirstAddress);
  EXPECT_EQ(next(reader), RecordReader::Status::kRecord);
  EXPECT_EQ(next(reader), RecordReader::Status::kRecord);
}

// Promise: whatever stands in a record's header, nothing outside the bytes and the page is read.
TEST_F(InMemory, AHeaderThatLiesLeadsNowhere) {
  Random random(7);
  const uint64_t page = core_.options.page_bytes;
  uint64_t sound = 0;
  for (int round = 0; round < 200'000; ++round) {
    const size_t size = random.below(200);
    const auto bytes = std::make_unique<std::byte[]>(size);  // for the address sanitizer
    random.fill({bytes.get(), size});
    if (size >= kHeaderBytes) {
      RecordHeader header;
      header.payload_bytes = static_cast<uint32_t>(
          random.chance(1, 8) ? random.below(uint64_t{1} << 32) : random.below(2 * size));
      header.kind = static_cast<uint8_t>(random.below(20));
      store(bytes.get(), header);
    }
    const Address address{8 * random.below(2 * page / 8)};
    const ParseOutcome outcome =
        view_record(address, CheckedBytesForTests::of({bytes.get(), size}), page);
    if (outcome.status == ParseStatus::kNeedMore) {
      EXPECT_GT(outcome.needed_bytes, size);
      continue;
    }
    if (outcome.status == ParseStatus::kBad) continue;
    const ParsedRecord& record = outcome.record;
    ++sound;
    ASSERT_LE(record.end - address, size);
    ASSERT_LE(record.end.value, align_down(address.value, page) + page);
    ASSERT_GE(record.payload.data(), bytes.get() + kHeaderBytes);
    ASSERT_LE(record.payload.data() + record.payload.size(), bytes.get() + size);
    if (record.kind == RecordKind::kCommitMark) (void)mark_of(record);  // reads 16 bytes
  }
  EXPECT_GT(sound, 1000u);
}

// Promise: the page that an open reads back into memory, after recovery has read it, is checked as
// well; what is there already at that moment is believed by all readers.
TEST_F(InMemory, ThePageThatAnOpenReadsBackIsChecked) {
  const SavedLog saved{100, 1000};
  const Address tail = saved.durable();
  const uint64_t page = align_down(tail.value, core_.options.page_bytes);
  ASSERT_GT(page, 0u);
  for (uint64_t at = page; at < tail.value; at += 211) {
    const auto disk = disk_with(saved.files());
    disk->flip_bit(path_of(page), at - page, static_cast<int>(at % 8));
    LogCore core(*disk, saved.options(), system_clock(), LogMetadata{});
    ASSERT_TRUE(core.segments.open_existing(true));
    ASSERT_TRUE(
        PageRing::allocate(core.ring, core.options.page_bytes, core.options.buffer_pages, false));
    core.begin.store(kFirstAddress.value);
    const auto loaded = load_tail_page(core, tail);
    ASSERT_FALSE(loaded) << "byte " << at;
    EXPECT_EQ(loaded.error().code, ErrorCode::kCorruption);
    EXPECT_NE(loaded.error().message.find(path_of(page)), std::string::npos)
        << loaded.error().message;
  }
}

// Promise: a byte that has changed on the disk is found by a tail, and by a leader that ships,
// which read it back from there; what stands before it, and what is still in memory, is read.
TEST(CheckedOnce, AFlippedByteOnTheDiskIsFoundWhereItIsReadBack) {
  observability::set_log_level(observability::LogLevel::kOff);
  testing::FaultFileSystem disk(1);
  const LogOptions options = saved_log_options();
  auto log = Log::open(disk, options);
  ASSERT_TRUE(log && (*log)->become_writer(Epoch{1}));
  std::vector<Written> written;
  for (int i = 0; i < 450; ++i) {
    const std::string text = std::to_string(i) + std::string(1000, 't');
    const auto range = (*log)->enqueue(RecordKind::kData, as_bytes(text));
    ASSERT_TRUE(range && (*log)->wait_durable(range->end));
    written.push_back({*range, text});
  }
  const Address durable = (*log)->durable();
  const Address in_files{durable.value - options.page_bytes * options.buffer_pages};
  for (size_t i = 0; written[i].at.end < in_files; i += 7) {
    const Written& victim = written[i];
    const Address byte = victim.at.first + (i * 37) % (victim.at.end - victim.at.first);
    SCOPED_TRACE("byte " + std::to_string(byte.value));
    const std::string path = path_of(align_down(byte.value, options.segment_bytes));
    disk.flip_bit(path, byte.value % options.segment_bytes, static_cast<int>(i % 8));
    const auto scanner = (*log)->scan((*log)->begin());
    for (size_t before = 0; before < i; ++before) {
      const auto record = scanner->next(Address::max());
      ASSERT_TRUE(record && *record);
      ASSERT_EQ(to_string((*record)->payload), written[before].payload);
    }
    const auto found = scanner->next(Address::max());
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().code, ErrorCode::kCorruption);
    EXPECT_NE(found.error().message.find(path), std::string::npos) << found.error().message;
    std::vector<std::byte> buffer;
    const auto shipped = (*log)->read_raw((*log)->begin(), SIZE_MAX, buffer);
    ASSERT_FALSE(shipped);
    EXPECT_EQ(shipped.error().code, ErrorCode::kCorruption);
    EXPECT_FALSE((*log)->read(victim.at.first, buffer));
    disk.flip_bit(path, byte.value % options.segment_bytes, static_cast<int>(i % 8));
  }
  EXPECT_EQ(read_all(**log), written);
  observability::set_log_level(observability::LogLevel::kInfo);
}

}  // namespace
}  // namespace tailrace::fasterlog
