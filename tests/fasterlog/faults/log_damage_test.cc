// One flipped bit anywhere: the log is refused by the file's name, or, where nothing was proven
// yet, ends before the damaged batch. It never shows other bytes.

#include <map>

#include <gtest/gtest.h>

#include "fasterlog/engine/consumers.h"
#include "fasterlog/format/log_metadata.h"
#include "fasterlog/format/segment_files.h"
#include "fasterlog/log.h"
#include "observability/logging.h"
#include "tests/fasterlog/fault_options.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::fasterlog {
namespace {

using testing::CrashPolicy;
using testing::FaultFileSystem;
using testing::FaultKind;

class LogDamage : public ::testing::Test {
 protected:
  struct Entry {
    Address address, end;
    std::string payload;
    bool operator==(const Entry&) const = default;
  };
  using Files = std::map<storage::Path, std::vector<std::byte>>;

  void SetUp() override { observability::set_log_level(observability::LogLevel::kOff); }
  void TearDown() override { observability::set_log_level(observability::LogLevel::kInfo); }

  static LogOptions options() {
    LogOptions result;
    result.directory = "/log";
    result.owner = "test/1";
    result.page_bytes = 64u << 10;
    result.buffer_pages = 4;
    result.segment_bytes = 128u << 10;
    result.reserve_disk_bytes = 0;
    result.huge_pages = false;
    return result;
  }
  /// `count` pairs of records, each pair a batch of its own, the later ones in the second page.
  static void fill(Log& log, int count, size_t large) {
    for (int i = 0; i < count; ++i) {
      const std::string one = std::to_string(i) + std::string(static_cast<size_t>(i) * 5, 'x');
      const std::string two = i == count / 2 ? std::string(large, 'L') : "two";
      const RecordView pair[] = {{RecordKind::kData, as_bytes(one)},
                                 {RecordKind::kData, as_bytes(two)}};
      auto range = log.enqueue_batch(pair);
      ASSERT_TRUE(range.has_value()) << range.error().message;
      ASSERT_TRUE(log.wait_durable(range->end).has_value());
    }
  }
  static std::vector<Entry> entries(Log& log) {
    std::vector<Entry> result;
    const auto scanner = log.scan(log.begin());
    for (;;) {
      auto record = scanner->next(Address::max());
      EXPECT_TRUE(record.has_value()) << (record ? "" : record.error().message);
      if (!record || !*record) return result;
      result.push_back({(*record)->address, (*record)->end, to_string((*record)->payload)});
    }
  }
  static std::string segment() { return "/log/" + segment_name(0); }

  /// Flipped, the log is not opened and the file is named.
  static void expect_refused(FaultFileSystem& disk, const storage::Path& path, uint64_t byte,
                             int bit) {
    disk.flip_bit(path, byte, bit);
    auto log = Log::open(disk, options());
    ASSERT_FALSE(log.has_value()) << path << " byte " << byte << " bit " << bit;
    ASSERT_NE(log.error().message.find(path.filename().string()), std::string::npos)
        << log.error().message;
    disk.flip_bit(path, byte, bit);
  }
};

TEST_F(LogDamage, OfAClosedLogIsRefusedByTheFilesName) {
  FaultFileSystem disk(1);
  uint64_t used = 0;
  std::vector<Entry> expected;
  {
    auto log = Log::open(disk, options());
    ASSERT_TRUE(log && (*log)->become_writer(Epoch{1}));
    ASSERT_NO_FATAL_FAILURE(fill(**log, 12, 64'000));
    ASSERT_TRUE((*log)->open_consumer("one").has_value());
    ASSERT_TRUE((*log)->open_consumer("another").has_value());
    expected = entries(**log);
    ASSERT_TRUE((*log)->close().has_value());
    used = (*log)->durable().value;
  }
  ASSERT_GT(used, options().page_bytes);
  for (const char* name : {kMetadataName, kConsumersName}) {
    const storage::Path path = storage::Path("/log") / name;
    for (uint64_t byte = 0; byte < disk.content(path).size(); byte += kSweepStep) {
      for (int bit = 0; bit < 8; ++bit)
        ASSERT_NO_FATAL_FAILURE(expect_refused(disk, path, byte, bit));
    }
  }
  const uint64_t page = options().page_bytes;
  // Every byte but those in the midst of the large record and of the padding.
  for (uint64_t byte = 0; byte < used;
       byte += (byte > 3000 && byte < page - 100) ? 499 : kSweepStep) {
    ASSERT_NO_FATAL_FAILURE(expect_refused(disk, segment(), byte, static_cast<int>(byte % 8)));
  }
  // Behind its end the log looks at nothing.
  disk.flip_bit(segment(), used + 5, 3);
  auto log = Log::open(disk, options());
  ASSERT_TRUE(log.has_value()) << log.error().message;
  EXPECT_EQ(entries(**log), expected);
  ASSERT_TRUE((*log)->close().has_value());
  EXPECT_EQ(disk.content(segment())[used + 5], std::byte{0});
}

TEST_F(LogDamage, BeyondProvenEndsTheLogBeforeTheDamagedBatch) {
  Files files;
  std::vector<Entry> expected;
  Address durable, proven;
  {
    FaultFileSystem disk(1);
    for (int life = 0; life < 2; ++life) {
      auto log = Log::open(disk, options());
      ASSERT_TRUE(log && (*log)->become_writer(Epoch{1}));
      ASSERT_NO_FATAL_FAILURE(fill(**log, 6, 10));
      durable = (*log)->durable();
      expected = entries(**log);
      if (life == 1) disk.fail_at(disk.operations(), FaultKind::kPowerCut);
    }
    disk.crash(CrashPolicy::kLoseUnsynced);
    for (const storage::Path& path : disk.files())
      files[path] = disk.content(path);
    auto metadata = read_log_metadata(disk, "/log");
    ASSERT_TRUE(metadata.has_value());
    proven = metadata->proven;
    ASSERT_LT(proven, durable);
  }
  for (uint64_t byte = 0; byte < durable.value; byte += kSweepStep) {
    SCOPED_TRACE("byte " + std::to_string(byte));
    FaultFileSystem disk(1);
    ASSERT_TRUE(disk.make_directory("/log"));
    for (const auto& [path, bytes] : files) {
      auto file = disk.open(path, {storage::OpenMode::kCreateReadWrite, false});
      ASSERT_TRUE(file && (*file)->write_at(0, bytes) && (*file)->sync());
    }
    const int bit = static_cast<int>(byte % 8);
    if (byte < proven.value) {
      ASSERT_NO_FATAL_FAILURE(expect_refused(disk, segment(), byte, bit));
      continue;
    }
    disk.flip_bit(segment(), byte, bit);
    auto log = Log::open(disk, options());
    ASSERT_TRUE(log.has_value()) << log.error().message;
    ASSERT_GE((*log)->durable(), proven);
    ASSERT_LE((*log)->durable().value, byte);
    const auto now = entries(**log);
    ASSERT_EQ(now.size() % 2, 0u) << "half of a batch";
    ASSERT_TRUE(std::equal(now.begin(), now.end(), expected.begin()));
    // Nothing but the damaged batch and what follows is dropped.
    ASSERT_LT(now.size(), expected.size());
    ASSERT_GT(expected[now.size() + 1].end.value + 64, byte);
  }
}

}  // namespace
}  // namespace tailrace::fasterlog
