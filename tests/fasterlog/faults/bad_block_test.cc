// A disk that refuses to read one block: damage as any other, with the disk's own words.

#include "fasterlog/offline/check_log.h"
#include "fasterlog/offline/dump_log.h"
#include "fasterlog/offline/repair.h"
#include "tests/fasterlog/saved_log.h"

namespace tailrace::fasterlog {
namespace {

using storage::Path;

/// Reads that touch [from, from + one block) of the file of that name fail, until it is written.
class BadBlock final : public storage::FileSystem {
 public:
  BadBlock(storage::FileSystem& below, std::string name, uint64_t from)
      : below_(below), name_(std::move(name)), from_(from) {}

  Result<std::unique_ptr<storage::File>> open(const Path& path,
                                              const storage::OpenOptions& options) override {
    auto file = below_.open(path, options);
    if (!file || path.string() != name_) return file;
    return std::make_unique<Bad>(std::move(*file), from_);
  }
  Result<std::unique_ptr<storage::IoQueue>> make_queue(size_t depth) override {
    return below_.make_queue(depth);
  }
  Result<bool> exists(const Path& path) override { return below_.exists(path); }
  Result<std::vector<std::string>> list(const Path& path) override { return below_.list(path); }
  Result<> make_directory(const Path& path) override { return below_.make_directory(path); }
  Result<> rename(const Path& from, const Path& to) override { return below_.rename(from, to); }
  Result<> exchange(const Path& one, const Path& other) override {
    return below_.exchange(one, other);
  }
  Result<> remove(const Path& path) override { return below_.remove(path); }
  Result<> remove_directory(const Path& path) override { return below_.remove_directory(path); }
  Result<> sync_directory(const Path& path) override { return below_.sync_directory(path); }
  Result<std::unique_ptr<storage::DirectoryLock>> lock(const Path& path) override {
    return below_.lock(path);
  }
  Result<> check_unlocked(const Path& path) override { return below_.check_unlocked(path); }
  Result<storage::SpaceInfo> space(const Path& path) override { return below_.space(path); }

 private:
  class Bad final : public storage::File {
   public:
    Bad(std::unique_ptr<storage::File> below, uint64_t from)
        : below_(std::move(below)), from_(from) {}
    const Path& path() const override { return below_->path(); }
    Result<uint64_t> size() const override { return below_->size(); }
    Result<size_t> read_at(uint64_t offset, MutableByteSpan into) override {
      if (offset < from_ + storage::kBlockBytes && offset + into.size() > from_)
        return make_error(ErrorCode::kIo, "read of " + path().string() + ": Input/output error");
      return below_->read_at(offset, into);
    }
    Result<> write_at(uint64_t offset, ByteSpan bytes) override {
      return below_->write_at(offset, bytes);
    }
    Result<> sync() override { return below_->sync(); }
    Result<> allocate(uint64_t bytes) override { return below_->allocate(bytes); }
    Result<> truncate(uint64_t bytes) override { return below_->truncate(bytes); }

   private:
    const std::unique_ptr<storage::File> below_;
    const uint64_t from_;
  };

  storage::FileSystem& below_;
  const std::string name_;
  const uint64_t from_;
};

class ABadBlock : public ::testing::Test {
 protected:
  const SavedLog saved_{300, 1000};
  const std::unique_ptr<testing::FaultFileSystem> disk_ = disk_with(saved_.files());
};

TEST_F(ABadBlock, IsFoundAndReadingGoesOnBehindIt) {
  const uint64_t at = 5 * storage::kBlockBytes;
  BadBlock disk(*disk_, "/log/" + segment_name(0), at);
  const auto report = check_log(disk, "/log");
  ASSERT_TRUE(report.has_value()) << report.error().message;
  ASSERT_EQ(report->findings.size(), 1u);
  const Finding& finding = report->findings[0];
  EXPECT_LE(finding.first, Address{at});
  EXPECT_GE(finding.end, Address{at + storage::kBlockBytes});
  EXPECT_EQ(finding.place, Place::kBelowProven);
  EXPECT_NE(finding.reason.find("Input/output error"), std::string::npos) << finding.reason;
  EXPECT_FALSE(finding.holds_nothing);
  EXPECT_GE(report->records, 294u);
  EXPECT_LT(report->records, 300u);

  uint64_t dumped = 0;
  DumpOptions options;
  options.skip_damage = true;
  ASSERT_TRUE(dump_log(disk, "/log", options,
                       {[&](const DumpedRecord& record) {
                          dumped += record.whole_batch ? 1 : 0;
                          return true;
                        },
                        {}})
                  .has_value());
  EXPECT_EQ(dumped, report->records);
}

TEST_F(ABadBlock, AmongZerosIsFoundToo) {
  const uint64_t end = align_up(saved_.durable().value % (64u << 10), storage::kBlockBytes);
  BadBlock disk(*disk_, "/log/" + segment_name(align_down(saved_.durable().value, 64u << 10)), end);
  ASSERT_LT(end, 64u << 10);
  const auto report = check_log(disk, "/log");
  ASSERT_TRUE(report.has_value()) << report.error().message;
  ASSERT_EQ(report->findings.size(), 1u);
  EXPECT_EQ(report->findings[0].place, Place::kBeyond);
  EXPECT_EQ(report->records, 300u);
}

TEST_F(ABadBlock, IsCutOffWithACopyOfAllThatCanBeRead) {
  const uint64_t at = 5 * storage::kBlockBytes;
  BadBlock disk(*disk_, "/log/" + segment_name(0), at);
  const auto done = repair_log(disk, "/log", {}, [](const RepairPlan&) { return "report"; });
  ASSERT_TRUE(done.has_value()) << done.error().message;
  // The disk takes another block for the one that was written anew.
  const auto opened = open_and_read(*disk_, saved_.options());
  ASSERT_TRUE(opened.has_value()) << opened.error().message;
  EXPECT_EQ(opened->size(), done->plan.kept_records);
  EXPECT_EQ(*opened, saved_.written_before(*done->plan.cut));
  const auto copy = disk_->content("/log.repair-1/" + segment_name(0));
  auto expected = saved_.files().at("/log/" + segment_name(0));
  std::fill_n(expected.begin() + static_cast<ptrdiff_t>(at), storage::kBlockBytes, std::byte{0});
  EXPECT_EQ(copy, expected);
}

}  // namespace
}  // namespace tailrace::fasterlog
