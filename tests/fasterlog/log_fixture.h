#pragma once
// A small log in a temporary directory, on the real file system.

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "fasterlog/log.h"
#include "tests/support/temporary_directory.h"

namespace tailrace::fasterlog {

class LogFixture : public ::testing::Test {
 protected:
  LogOptions options(const char* name = "log") {
    LogOptions result;
    result.directory = root_ / name;
    result.owner = "test/1";
    result.page_bytes = 64u << 10;
    result.buffer_pages = 4;
    result.segment_bytes = 256u << 10;
    result.reserve_disk_bytes = 0;
    return result;
  }
  std::unique_ptr<Log> open(LogOptions options) {
    auto log = Log::open(storage::posix_file_system(), std::move(options));
    EXPECT_TRUE(log.has_value()) << (log ? "" : log.error().message);
    return log ? std::move(*log) : nullptr;
  }
  std::unique_ptr<Log> open() { return open(options()); }
  std::unique_ptr<Log> open_writer(LogOptions options, Epoch epoch = Epoch{1}) {
    auto log = open(std::move(options));
    if (!log) return nullptr;
    EXPECT_TRUE(log->become_writer(epoch).has_value());
    return log;
  }
  /// Enqueues and waits; where the record begins and ends.
  static AddressRange append(Log& log, const std::string& text) {
    auto range = log.enqueue(RecordKind::kData, as_bytes(text));
    EXPECT_TRUE(range.has_value()) << (range ? "" : range.error().message);
    if (!range) return {};
    EXPECT_TRUE(log.wait_durable(range->end).has_value());
    return *range;
  }
  static std::vector<std::string> payloads(Log& log, Address from) {
    std::vector<std::string> result;
    const auto scanner = log.scan(from);
    for (;;) {
      auto record = scanner->next(Address::max());
      EXPECT_TRUE(record.has_value()) << (record ? "" : record.error().message);
      if (!record || !*record) return result;
      result.push_back(to_string((*record)->payload));
    }
  }
  static std::vector<std::string> payloads(Log& log) { return payloads(log, log.begin()); }

  testing::TemporaryDirectory temporary_;
  const std::filesystem::path root_ = temporary_.path();
};

}  // namespace tailrace::fasterlog
