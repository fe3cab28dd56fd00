#pragma once
// The files of a closed log in memory, to be put on a fresh disk as often as a test damages it.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "fasterlog/format/segment_files.h"
#include "fasterlog/log.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::fasterlog {

inline LogOptions saved_log_options(uint64_t segment_bytes = 64u << 10) {
  LogOptions result;
  result.directory = "/log";
  result.owner = "test/1";
  result.page_bytes = 64u << 10;
  result.buffer_pages = 4;
  result.segment_bytes = segment_bytes;
  result.reserve_disk_bytes = 0;
  result.huge_pages = false;
  return result;
}

/// Of the segment that begins at that address, in such a log.
inline std::string path_of(uint64_t first) {
  return "/log/" + segment_name(first);
}

using FilesOfLog = std::map<std::string, std::vector<std::byte>>;

inline FilesOfLog files_of(const testing::FaultFileSystem& disk) {
  FilesOfLog files;
  for (const storage::Path& path : disk.files())
    files[path.string()] = disk.content(path);
  return files;
}

inline void put_file(storage::FileSystem& disk, const std::string& path, ByteSpan bytes) {
  auto file = disk.open(path, {storage::OpenMode::kCreateReadWrite, false});
  ASSERT_TRUE(file.has_value());
  ASSERT_TRUE((*file)->truncate(0).has_value());
  ASSERT_TRUE((*file)->write_at(0, bytes).has_value());
  ASSERT_TRUE((*file)->sync().has_value());
  ASSERT_TRUE(disk.sync_directory("/log").has_value());
}

inline std::unique_ptr<testing::FaultFileSystem> disk_with(const FilesOfLog& files,
                                                           uint64_t seed = 1) {
  auto disk = std::make_unique<testing::FaultFileSystem>(seed);
  EXPECT_TRUE(disk->make_directory("/log").has_value());
  for (const auto& [path, bytes] : files)
    put_file(*disk, path, bytes);
  return disk;
}

/// A record of a saved log.
struct Written {
  AddressRange at;
  std::string payload;
  bool operator==(const Written&) const = default;
};

inline std::vector<Written> read_all(Log& log) {
  std::vector<Written> result;
  const auto scanner = log.scan(log.begin());
  for (;;) {
    auto record = scanner->next(Address::max());
    EXPECT_TRUE(record.has_value()) << (record ? "" : record.error().message);
    if (!record || !*record) return result;
    result.push_back({{(*record)->address, (*record)->end}, to_string((*record)->payload)});
  }
}

/// What the log holds when it is opened, or the error.
inline Result<std::vector<Written>> open_and_read(storage::FileSystem& disk, LogOptions options) {
  auto log = Log::open(disk, std::move(options));
  if (!log) return tl::unexpected(std::move(log).error());
  return read_all(**log);
}

class SavedLog {
 public:
  /// `batches` batches of a record of about `bytes` each, in two epochs, closed in order; and a
  /// consumer that has read half of them.
  SavedLog(int batches, size_t bytes, LogOptions options = saved_log_options())
      : options_(std::move(options)) {
    testing::FaultFileSystem disk(1);
    auto log = Log::open(disk, options_);
    EXPECT_TRUE(log.has_value()) << (log ? "" : log.error().message);
    for (int i = 0; i < batches; ++i) {
      if (i == 0 || i == batches / 2) {
        EXPECT_TRUE((*log)->become_writer(Epoch{i == 0 ? 1u : 2u}).has_value());
      }
      // Lengths that leave bytes to align.
      const std::string text =
          std::to_string(i) + ":" +
          std::string(bytes + static_cast<size_t>(i) % 7, static_cast<char>('a' + i % 26));
      auto range = (*log)->enqueue(RecordKind::kData, as_bytes(text));
      EXPECT_TRUE(range.has_value() && (*log)->wait_durable(range->end).has_value());
      written_.push_back({*range, text});
    }
    auto consumer = (*log)->open_consumer("reader");
    EXPECT_TRUE(consumer.has_value());
    for (int i = 0; i < batches / 2; ++i) {
      auto record = (*consumer)->next();
      EXPECT_TRUE(record && *record && (*consumer)->acknowledge((*record)->end).has_value());
    }
    consumer->reset();
    durable_ = (*log)->durable();
    EXPECT_TRUE((*log)->close().has_value());
    log->reset();
    files_ = files_of(disk);
    // Of the segments that were made ahead one is enough.
    std::erase_if(files_, [&](const auto& each) {
      const auto first = parse_segment_name(storage::Path(each.first).filename().string());
      return first && *first > durable_.value + options_.segment_bytes;
    });
  }

  const LogOptions& options() const { return options_; }
  const FilesOfLog& files() const { return files_; }
  const std::vector<Written>& written() const { return written_; }
  Address durable() const { return durable_; }
  std::vector<Written> written_before(Address end) const {
    std::vector<Written> result;
    for (const Written& each : written_) {
      if (each.at.end <= end) result.push_back(each);
    }
    return result;
  }

 private:
  LogOptions options_;
  FilesOfLog files_;
  std::vector<Written> written_;
  Address durable_;
};

}  // namespace tailrace::fasterlog
