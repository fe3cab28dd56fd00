#pragma once
// A real log, so small that its buffer is soon full.

#include <memory>

#include <gtest/gtest.h>

#include "fasterlog/log.h"

namespace tailrace::rpc::testing {

inline std::unique_ptr<fasterlog::Log> open_small_log(storage::FileSystem& disk,
                                                      fasterlog::CommitPolicy commit = {}) {
  fasterlog::LogOptions options;
  options.commit = commit;
  options.directory = "/log";
  options.owner = "test";
  options.page_bytes = 64u << 10;
  options.buffer_pages = 4;
  options.segment_bytes = 64u << 10;
  options.reserve_disk_bytes = 0;
  options.huge_pages = false;
  auto log = fasterlog::Log::open(disk, options);
  EXPECT_TRUE(log.has_value());
  EXPECT_TRUE((*log)->become_writer(Epoch{1}).has_value());
  return std::move(*log);
}

}  // namespace tailrace::rpc::testing
