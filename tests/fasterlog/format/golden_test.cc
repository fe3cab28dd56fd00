// A log of format version 1 as it once was written (tests/golden/fasterlog-v1): it has to open for
// as long as this version is read. Never made anew; a newer version gets its own folder.

#include <fstream>
#include <map>

#include "fasterlog/offline/check_log.h"
#include "storage/atomic_file.h"
#include "tests/fasterlog/log_fixture.h"

namespace tailrace::fasterlog {
namespace {

const std::filesystem::path kGolden = std::filesystem::path(TAILRACE_GOLDEN_DIR) / "fasterlog-v1";
constexpr uint64_t kWrittenAt = 1'700'000'000'000'000'000;

class FixedClock final : public Clock {
 public:
  SteadyTime now() const override { return system_clock().now(); }
  uint64_t unix_time_ns() const override { return kWrittenAt; }
};

struct Expected {
  uint64_t epoch;
  RecordKind kind;
  std::string payload;
};

// What the log holds. The long one makes its page end with padding; three are one batch.
std::vector<Expected> expected() {
  return {
      {1, RecordKind::kEpochStart, "leader 1"},
      {1, RecordKind::kData, "one"},
      {1, static_cast<RecordKind>(17), std::string("\0\xff\x01 bytes", 9)},
      {1, RecordKind::kData, ""},
      {1, RecordKind::kData, "a batch of three: 1"},
      {1, RecordKind::kData, "a batch of three: 2"},
      {1, RecordKind::kData, "a batch of three: 3"},
      {5, RecordKind::kEpochStart, "leader 5"},
      {5, RecordKind::kData, std::string(64000, 'x')},
      {5, RecordKind::kData, "on the second page" + std::string(2000, 'y')},
      {5, RecordKind::kData, "the last"},
  };
}

class Golden : public LogFixture {
 protected:
  std::map<std::string, std::string> bytes() {
    std::map<std::string, std::string> all;
    for (const auto& entry : std::filesystem::directory_iterator(root_ / "log")) {
      if (entry.path().filename() == "LOCK") continue;
      std::ifstream file(entry.path(), std::ios::binary);
      all[entry.path().filename()] = {std::istreambuf_iterator<char>(file), {}};
    }
    return all;
  }
  void copy() { std::filesystem::copy(kGolden, root_ / "log"); }
  /// Makes the log; where it ends.
  Address write() {
    const FixedClock clock;
    auto log = Log::open(storage::posix_file_system(), options(), clock);
    EXPECT_TRUE(log.has_value());
    if (!log) return {};
    const std::vector<Expected> all = expected();
    for (size_t i = 0; i < all.size();) {
      EXPECT_TRUE((*log)->become_writer(Epoch{all[i].epoch}).has_value());
      const size_t count = i == 4 ? 3 : 1;
      std::vector<RecordView> batch;
      for (size_t each = i; each < i + count; ++each)
        batch.push_back({all[each].kind, as_bytes(all[each].payload)});
      const auto range = (*log)->enqueue_batch(batch);
      EXPECT_TRUE(range && (*log)->wait_durable(range->end).has_value());
      i += count;
    }
    auto consumer = (*log)->open_consumer("reader");
    auto record = (*consumer)->next();
    EXPECT_TRUE((*consumer)->acknowledge((*record)->end).has_value());
    consumer->reset();
    const Address durable = (*log)->durable();
    EXPECT_TRUE((*log)->close().has_value());
    return durable;
  }
};

TEST_F(Golden, Version1OpensWithEveryRecord) {
  copy();
  const auto report = check_log(storage::posix_file_system(), root_ / "log");
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_FALSE(report->damaged());
  EXPECT_EQ(report->batches, 9u);
  auto log = open();
  ASSERT_TRUE(log);
  EXPECT_EQ(log->durable(), report->metadata.proven);
  std::vector<Expected> left = expected();
  const auto scanner = log->scan(log->begin(), {.with_commit_marks = true});
  size_t next = 0;
  for (;;) {
    const auto record = scanner->next(Address::max());
    ASSERT_TRUE(record.has_value()) << record.error().message;
    if (!*record) break;
    if ((*record)->kind == RecordKind::kCommitMark) {
      EXPECT_EQ(parse_commit_mark(**record)->unix_time_ns, kWrittenAt);
      continue;
    }
    ASSERT_LT(next, left.size());
    EXPECT_EQ((*record)->epoch.value, left[next].epoch);
    EXPECT_EQ((*record)->kind, left[next].kind);
    EXPECT_EQ(to_string((*record)->payload), left[next].payload);
    ++next;
  }
  EXPECT_EQ(next, left.size());
  const std::vector<EpochStart> epochs = log->epoch_table();
  ASSERT_EQ(epochs.size(), 2u);
  EXPECT_EQ(epochs[0], (EpochStart{Epoch{1}, kFirstAddress}));
  EXPECT_EQ(epochs[1].epoch, Epoch{5});
  const auto consumer = log->open_consumer("reader");
  ASSERT_TRUE(consumer.has_value());
  const auto record = (*consumer)->next();
  ASSERT_TRUE(record && *record);
  EXPECT_EQ(to_string((*record)->payload), "one");
  // And it goes on in this version.
  ASSERT_TRUE(log->become_writer(Epoch{6}).has_value());
  append(*log, "new");
  EXPECT_EQ(payloads(*log).size(), left.size() + 1);
}

TEST_F(Golden, ANewerMetaIsRefusedUntouched) {
  copy();
  const auto content = storage::read_atomic_file(storage::posix_file_system(), root_ / "log/META",
                                                 {storage::four_letters("FLOG"), 1});
  ASSERT_TRUE(content.has_value());
  ASSERT_TRUE(storage::replace_atomic_file(storage::posix_file_system(), root_ / "log/META",
                                           {storage::four_letters("FLOG"), 3}, content->bytes)
                  .has_value());
  const auto before = bytes();
  const auto log = Log::open(storage::posix_file_system(), options());
  ASSERT_FALSE(log.has_value());
  EXPECT_EQ(log.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(log.error().message.find("META"), std::string::npos);
  EXPECT_EQ(check_log(storage::posix_file_system(), root_ / "log").error().code,
            ErrorCode::kUnsupported);
  EXPECT_EQ(bytes(), before);
}

TEST_F(Golden, NewerConsumersAreRefusedUntouched) {
  copy();
  const auto content = storage::read_atomic_file(
      storage::posix_file_system(), root_ / "log/CONSUMERS", {storage::four_letters("FCON"), 1});
  ASSERT_TRUE(content.has_value());
  ASSERT_TRUE(storage::replace_atomic_file(storage::posix_file_system(), root_ / "log/CONSUMERS",
                                           {storage::four_letters("FCON"), 2}, content->bytes)
                  .has_value());
  const auto before = bytes();
  const auto log = Log::open(storage::posix_file_system(), options());
  ASSERT_FALSE(log.has_value());
  EXPECT_EQ(log.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(log.error().message.find("CONSUMERS"), std::string::npos);
  EXPECT_EQ(bytes(), before);
}

// Sound by its checksum, but of somebody who means something that this version does not know.
TEST_F(Golden, UnknownFlagsAndFieldsAreRefusedUntouched) {
  struct Case {
    const char* name;
    uint32_t kind;
    size_t byte;
  };
  // META's flags; the zero words of CONSUMERS: of the file, and of its first entry.
  for (const Case& each : {Case{"META", storage::four_letters("FLOG"), 4},
                           Case{"META", storage::four_letters("FLOG"), 7},
                           Case{"CONSUMERS", storage::four_letters("FCON"), 4},
                           Case{"CONSUMERS", storage::four_letters("FCON"), 8 + 20}}) {
    SCOPED_TRACE(std::string(each.name) + " byte " + std::to_string(each.byte));
    std::filesystem::remove_all(root_ / "log");
    copy();
    auto content = storage::read_atomic_file(storage::posix_file_system(),
                                             root_ / "log" / each.name, {each.kind, 1});
    ASSERT_TRUE(content.has_value());
    content->bytes[each.byte] |= std::byte{2};
    ASSERT_TRUE(storage::replace_atomic_file(storage::posix_file_system(),
                                             root_ / "log" / each.name, {each.kind, 1},
                                             content->bytes)
                    .has_value());
    const auto before = bytes();
    const auto log = Log::open(storage::posix_file_system(), options());
    ASSERT_FALSE(log.has_value());
    EXPECT_EQ(log.error().code, ErrorCode::kCorruption);
    EXPECT_NE(log.error().message.find(each.name), std::string::npos) << log.error().message;
    EXPECT_EQ(bytes(), before);
  }
}

// The same calls make the same bytes as they did: META, CONSUMERS, records and commit marks.
TEST_F(Golden, TheWriterStillMakesTheseBytes) {
  const Address durable = write();
  const auto made = bytes();
  for (const char* name : {"META", "CONSUMERS", "0000000000000000.seg"}) {
    std::ifstream file(kGolden / name, std::ios::binary);
    const std::string golden{std::istreambuf_iterator<char>(file), {}};
    std::string now = made.at(name);
    if (std::string(name).ends_with(".seg")) now.resize(durable.value);
    ASSERT_EQ(now.size(), golden.size()) << name;
    for (size_t byte = 0; byte < golden.size(); ++byte)
      ASSERT_EQ(now[byte], golden[byte]) << name << " byte " << byte;
  }
}

// How the files came to be: run once with --gtest_also_run_disabled_tests.
TEST_F(Golden, DISABLED_Write) {
  ASSERT_FALSE(std::filesystem::exists(kGolden)) << "it is never made anew";
  const Address durable = write();
  std::filesystem::create_directories(kGolden);
  for (const char* name : {"META", "CONSUMERS", "0000000000000000.seg"})
    std::filesystem::copy(root_ / "log" / name, kGolden / name);
  // A segment that ends early reads as zeros behind its end.
  std::filesystem::resize_file(kGolden / "0000000000000000.seg", durable.value);
}

}  // namespace
}  // namespace tailrace::fasterlog
