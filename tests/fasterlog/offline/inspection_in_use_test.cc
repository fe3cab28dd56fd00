#include <algorithm>
#include <atomic>
#include <fstream>
#include <functional>
#include <thread>

#include "fasterlog/format/segment_files.h"
#include "fasterlog/offline/check_log.h"
#include "fasterlog/offline/dump_log.h"
#include "fasterlog/offline/inspect.h"
#include "tests/fasterlog/log_fixture.h"

namespace tailrace::fasterlog {
namespace {

class InspectionInUse : public LogFixture {};

/// The operating system's files, and something that happens before the directory is listed: the
/// tools list it once before they read META and once after.
class Meddled final : public storage::FileSystem {
 public:
  explicit Meddled(std::function<void(int)> before_listing)
      : before_listing_(std::move(before_listing)) {}

  Result<std::unique_ptr<storage::File>> open(const storage::Path& path,
                                              const storage::OpenOptions& how) override {
    return real_.open(path, how);
  }
  Result<std::unique_ptr<storage::IoQueue>> make_queue(size_t depth) override {
    return real_.make_queue(depth);
  }
  Result<bool> exists(const storage::Path& path) override { return real_.exists(path); }
  Result<std::vector<std::string>> list(const storage::Path& directory) override {
    before_listing_(++listings_);
    return real_.list(directory);
  }
  Result<> make_directory(const storage::Path& path) override { return real_.make_directory(path); }
  Result<> rename(const storage::Path& from, const storage::Path& to) override {
    return real_.rename(from, to);
  }
  Result<> exchange(const storage::Path& one, const storage::Path& other) override {
    return real_.exchange(one, other);
  }
  Result<> remove(const storage::Path& path) override { return real_.remove(path); }
  Result<> remove_directory(const storage::Path& path) override {
    return real_.remove_directory(path);
  }
  Result<> sync_directory(const storage::Path& path) override { return real_.sync_directory(path); }
  Result<std::unique_ptr<storage::DirectoryLock>> lock(const storage::Path& path) override {
    return real_.lock(path);
  }
  Result<> check_unlocked(const storage::Path& path) override { return real_.check_unlocked(path); }
  Result<storage::SpaceInfo> space(const storage::Path& path) override { return real_.space(path); }

 private:
  storage::FileSystem& real_ = storage::posix_file_system();
  const std::function<void(int)> before_listing_;
  int listings_ = 0;
};

// META was read, then segments went: at one look, so that another one finds the log whole, and at
// every look.
TEST_F(InspectionInUse, WhatIsTruncatedBetweenMetaAndTheScanIsNoDamage) {
  for (const bool always : {false, true}) {
    LogOptions small = options(always ? "always" : "once");
    small.segment_bytes = small.page_bytes;
    small.proven_lag_bytes = 1;
    auto log = open_writer(small);
    const auto grow_and_truncate = [&] {
      for (int i = 0; i < 20; ++i)
        append(*log, std::string(9000, 'x'));
      ASSERT_TRUE(log->truncate_before(log->durable() - 20'000));
    };
    grow_and_truncate();
    Meddled disk([&](int listing) {
      if (listing == 2 || (always && listing % 2 == 0)) grow_and_truncate();
    });
    const auto report = inspect(disk, small.directory);
    ASSERT_TRUE(report.has_value()) << report.error().message;
    EXPECT_FALSE(report->damaged) << report->first_bad.value << " " << report->first_bad_reason;
    EXPECT_TRUE(report->in_use);
    EXPECT_GE(report->durable, report->metadata.proven);
    if (always) {
      EXPECT_NE(report->first_bad_reason.find("truncated"), std::string::npos);
    }
  }
}

TEST_F(InspectionInUse, WhatIsCutBetweenMetaAndTheScanIsNoDamage) {
  {
    auto log = open_writer(options());
    append(*log, "one");
    append(*log, std::string(20'000, 'x'));
  }
  auto log = open_writer(options());
  Meddled disk([&](int listing) {
    if (listing != 2) return;
    ASSERT_TRUE(log->truncate_after(kFirstAddress));
    append(*log, "other bytes");
  });
  const auto report = inspect(disk, root_ / "log");
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_FALSE(report->damaged) << report->first_bad.value << " " << report->first_bad_reason;
  EXPECT_TRUE(report->in_use);
  EXPECT_EQ(report->records, 1u) << "the second look sees the log as it is";
}

// Real damage below proven is none the less found while the log moves on.
TEST_F(InspectionInUse, DamageIsFoundAllTheSame) {
  auto log = open_writer(options());
  const AddressRange hit = append(*log, "to be hit");
  append(*log, std::string(20'000, 'b'));  // the block that was hit is not written again
  ASSERT_TRUE(log->close());
  log = open_writer(options());
  {
    std::fstream file(root_ / "log" / segment_name(0),
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(hit.first.value + 26));
    file.put('!');
  }
  Meddled disk([&](int) {
    append(*log, "more");
    std::this_thread::sleep_for(std::chrono::milliseconds(70));  // META says so
  });
  const auto report = inspect(disk, root_ / "log");
  ASSERT_TRUE(report.has_value()) << report.error().message;
  EXPECT_TRUE(report->damaged);
  EXPECT_EQ(report->first_bad, hit.first);
}

// The log moves on, is truncated and has segments recycled while it is looked at: that is never
// taken for damage.
TEST_F(InspectionInUse, SeesNoDamageThatIsNotThere) {
  auto log = open_writer(options());
  std::atomic<bool> stop{false};
  constexpr uint64_t kept = 1u << 20;
  std::thread writer([&] {
    for (int i = 0; !stop.load(); ++i) {
      auto range = log->enqueue(RecordKind::kData, as_bytes(std::string(3000, 'x')));
      EXPECT_TRUE(range.has_value());
      if (i % 100 == 99) {
        EXPECT_TRUE(
            log->truncate_before(log->durable() - std::min(kept, log->durable() - log->begin()))
                .has_value());
      }
    }
  });
  for (int look = 0; look < 25; ++look) {
    const auto report = check_log(storage::posix_file_system(), root_ / "log");
    ASSERT_TRUE(report.has_value()) << report.error().message;
    for (const Finding& finding : report->findings)
      EXPECT_EQ(finding.place, Place::kBeyond)
          << finding.first.value << " " << finding.file << " " << finding.reason;
    const auto inspected = inspect(storage::posix_file_system(), root_ / "log");
    ASSERT_TRUE(inspected.has_value()) << inspected.error().message;
    EXPECT_FALSE(inspected->damaged) << inspected->first_bad_reason;
    const auto dumped = dump_log(storage::posix_file_system(), root_ / "log", {}, {});
    EXPECT_TRUE(dumped || dumped.error().code == ErrorCode::kTruncated) << dumped.error().message;
  }
  stop.store(true);
  writer.join();
}

// What is left is so little that nearly every look has segments taken away from under it, and
// overwritten as other ones.
TEST_F(InspectionInUse, InspectTakesNoRecycledSegmentForDamage) {
  LogOptions small = options();
  small.segment_bytes = small.page_bytes;
  auto log = open_writer(small);
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    while (!stop.load()) {
      for (int i = 0; i < 10; ++i)
        EXPECT_TRUE(log->enqueue(RecordKind::kData, as_bytes(std::string(9000, 'x'))));
      EXPECT_TRUE(log->wait_durable(log->tail()));
      EXPECT_TRUE(log->truncate_before(log->durable()));
    }
  });
  int in_use = 0;
  for (int look = 0; look < 300; ++look) {
    const auto report = inspect(storage::posix_file_system(), root_ / "log");
    EXPECT_TRUE(report.has_value()) << report.error().message;
    if (!report) continue;
    EXPECT_FALSE(report->damaged) << report->first_bad.value << " " << report->first_bad_file << " "
                                  << report->first_bad_reason;
    EXPECT_GE(report->durable, report->metadata.begin);
    in_use += report->in_use ? 1 : 0;
  }
  EXPECT_GT(in_use, 0);
  stop.store(true);
  writer.join();
}

// And a suffix that is cut off and written anew is none either.
TEST_F(InspectionInUse, InspectTakesNoCutForDamage) {
  auto log = open_writer(options());
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (uint64_t length = 1; !stop.load(); length = length % 5000 + 777) {
      for (int i = 0; i < 10; ++i)
        EXPECT_TRUE(log->enqueue(RecordKind::kData, as_bytes(std::string(length, 'x'))));
      EXPECT_TRUE(log->wait_durable(log->tail()));
      EXPECT_TRUE(log->truncate_after(log->begin()));
    }
  });
  for (int look = 0; look < 500; ++look) {
    const auto report = inspect(storage::posix_file_system(), root_ / "log");
    EXPECT_TRUE(report.has_value() && !report->damaged);
  }
  stop.store(true);
  writer.join();
}

}  // namespace
}  // namespace tailrace::fasterlog
