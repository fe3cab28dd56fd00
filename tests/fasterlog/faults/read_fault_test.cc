// A disk that refuses a read, or ends one early, at every read of a log's life: the caller hears of
// it by a typed error, nothing is lost or shown wrong, and with a sound disk the log is whole.

#include <gtest/gtest.h>

#include "fasterlog/engine/consumers.h"
#include "fasterlog/format/log_metadata.h"
#include "observability/logging.h"
#include "tests/fasterlog/fault_options.h"
#include "tests/fasterlog/saved_log.h"

namespace tailrace::fasterlog {
namespace {

using testing::FaultFileSystem;
using testing::FaultKind;

class ReadFault : public ::testing::TestWithParam<FaultKind> {
 protected:
  void SetUp() override { observability::set_log_level(observability::LogLevel::kOff); }
  void TearDown() override { observability::set_log_level(observability::LogLevel::kInfo); }

  /// What one life came to.
  struct Life {
    std::optional<Error> refused;  // the open
    std::vector<Error> errors;     // and then
    std::vector<Written> seen;     // before the first error
    Address begin = kFirstAddress;
  };

  /// Opens, scans, reads singly and raw, goes on for a consumer, and truncates both ends: the
  /// suffix by one batch that it has written itself.
  Life live(FaultFileSystem& disk) {
    Life life;
    const auto note = [&](const Error& error) { life.errors.push_back(error); };
    auto opened = Log::open(disk, saved_.options());
    if (!opened) {
      life.refused = opened.error();
      return life;
    }
    Log& log = **opened;
    const auto scanner = log.scan(log.begin());
    for (;;) {
      auto record = scanner->next(Address::max());
      if (!record) note(record.error());
      if (!record || !*record) break;
      life.seen.push_back({{(*record)->address, (*record)->end}, to_string((*record)->payload)});
    }
    std::vector<std::byte> buffer;
    for (size_t i = 0; i < saved_.written().size(); i += 9) {
      const Written& each = saved_.written()[i];
      auto record = log.read(each.at.first, buffer);
      if (!record) note(record.error());
      if (record) {
        EXPECT_EQ(to_string(record->payload), each.payload);
      }
    }
    if (auto raw = log.read_raw(log.begin(), 100'000, buffer); !raw) note(raw.error());
    if (auto consumer = log.open_consumer("reader")) {
      if (auto record = (*consumer)->next(); !record) note(record.error());
    } else {
      note(consumer.error());
    }
    const Address before = log.durable();
    if (auto role = log.become_writer(Epoch{9}); !role) note(role.error());
    auto range = log.enqueue(RecordKind::kData, as_bytes("to be cut off"));
    if (!range) note(range.error());
    if (range) {
      if (auto durable = log.wait_durable(range->end); !durable) note(durable.error());
    }
    if (auto cut = log.truncate_after(before); !cut) note(cut.error());
    const Address middle = saved_.written()[saved_.written().size() / 2].at.first;
    if (auto begin = log.truncate_before(middle)) {
      life.begin = *begin;
    } else {
      note(begin.error());
    }
    return life;
  }

  // Several pages and segments, more than stay in memory.
  const SavedLog saved_{450, 1000};
};

TEST_P(ReadFault, AtEveryReadIsTypedAndLosesNothing) {
  const FaultKind kind = GetParam();
  uint64_t reads = 0;
  {
    const auto disk = disk_with(saved_.files());
    const Life life = live(*disk);
    ASSERT_FALSE(life.refused) << life.refused->message;
    ASSERT_TRUE(life.errors.empty()) << life.errors.front().message;
    ASSERT_EQ(life.seen, saved_.written());
    reads = disk->reads();
  }
  ASSERT_GT(reads, 10u);
  uint64_t refused = 0, failed = 0;
  for (uint64_t read = 0; read < reads; read += kSweepStep) {
    SCOPED_TRACE("read " + std::to_string(read));
    const auto disk = disk_with(saved_.files());
    disk->fail_read_at(read, kind);
    const Life life = live(*disk);
    refused += life.refused ? 1 : 0;
    failed += life.errors.empty() ? 0 : 1;
    std::vector<Error> errors = life.errors;
    if (life.refused) errors.push_back(*life.refused);
    for (const Error& error : errors) {
      // Half of a read looks like a file that ends there.
      const bool typed = error.code == ErrorCode::kIo ||
                         (kind == FaultKind::kShort && error.code == ErrorCode::kCorruption);
      EXPECT_TRUE(typed) << error.message;
      EXPECT_NE(error.message.find("/log"), std::string::npos) << "no file: " << error.message;
    }
    ASSERT_LE(life.seen.size(), saved_.written().size());
    EXPECT_TRUE(std::equal(life.seen.begin(), life.seen.end(), saved_.written().begin()));
    // META may say by then that the log was not closed in order, and segments made ahead be gone.
    for (const auto& [path, bytes] : saved_.files()) {
      const auto first = parse_segment_name(storage::Path(path).filename().string());
      if (life.refused && first && *first < saved_.durable().value) {
        EXPECT_EQ(disk->content(path), bytes) << "a refused log was changed: " << path;
      }
    }
    // The disk is sound again.
    disk->crash(testing::CrashPolicy::kProcessEnds);
    auto log = Log::open(*disk, saved_.options());
    ASSERT_TRUE(log.has_value()) << log.error().message;
    EXPECT_GE((*log)->begin(), life.begin);
    std::vector<Written> expected = saved_.written();
    std::erase_if(expected, [&](const Written& each) { return each.at.first < (*log)->begin(); });
    std::vector<Written> now = read_all(**log);
    if (!now.empty() && now.back().payload == "to be cut off") now.pop_back();
    ASSERT_EQ(now.size(), expected.size());
    EXPECT_EQ(now, expected);
    ASSERT_TRUE((*log)->become_writer(Epoch{10}));
    auto more = (*log)->enqueue(RecordKind::kData, as_bytes("more"));
    ASSERT_TRUE(more && (*log)->wait_durable(more->end));
  }
  EXPECT_GT(refused, 0u);
  EXPECT_GT(failed, 0u);
}

INSTANTIATE_TEST_SUITE_P(Kinds, ReadFault, ::testing::Values(FaultKind::kError, FaultKind::kShort));

}  // namespace
}  // namespace tailrace::fasterlog
