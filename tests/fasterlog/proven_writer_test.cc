// META's note of how far the log is proven (fasterlog/engine/proven_writer.h) beside the flushes.

#include <thread>

#include <gtest/gtest.h>

#include "fasterlog/format/log_metadata.h"
#include "fasterlog/log.h"
#include "tests/fasterlog/fault_options.h"
#include "tests/support/fault_file_system.h"
#include "tests/support/gate_file_system.h"

namespace tailrace::fasterlog {
namespace {

using testing::CrashPolicy;
using testing::FaultFileSystem;
using testing::FaultKind;
using testing::GateFileSystem;

LogOptions noting_at_once() {
  LogOptions options = fault_options();
  options.proven_lag_bytes = 1;
  return options;
}

std::unique_ptr<Log> open(storage::FileSystem& disk) {
  auto log = Log::open(disk, noting_at_once());
  EXPECT_TRUE(log) << log.error().message;
  return log ? std::move(*log) : nullptr;
}

Address append(Log& log, const std::string& text) {
  const auto range = log.enqueue(RecordKind::kData, as_bytes(text));
  EXPECT_TRUE(range);
  EXPECT_TRUE(log.wait_durable(range->end));
  return range->end;
}

Address proven(storage::FileSystem& disk) {
  const auto metadata = read_log_metadata(disk, "/log");
  EXPECT_TRUE(metadata);
  return metadata->proven;
}

template <typename Condition>
bool soon(Condition condition) {
  for (int i = 0; i < 3000 && !condition(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return condition();
}

/// Batches become durable while META waits for its disk; and a log that is closed or cut meanwhile
/// waits for it, so that nothing of it comes after what closing and cutting say.
TEST(ProvenWriter, HoldsUpNoFlushAndIsOverWhenALogIsClosedOrCut) {
  FaultFileSystem below(1);
  GateFileSystem disk(below);
  auto log = open(disk);
  ASSERT_TRUE(log && log->become_writer(Epoch{1}));
  append(*log, "one");
  const Address kept = log->durable();
  disk.hold("META");
  append(*log, "two");
  ASSERT_TRUE(disk.wait_held()) << "META is not written";
  for (int i = 0; i < 100; ++i)
    append(*log, std::to_string(i));

  std::thread opens_the_gate([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    disk.let_go();
  });
  ASSERT_TRUE(log->truncate_after(kept));
  opens_the_gate.join();
  EXPECT_EQ(log->durable(), kept);
  EXPECT_LE(proven(below), kept) << "what was cut off is said to be proven";

  disk.hold("META");
  const Address end = append(*log, "three");
  ASSERT_TRUE(disk.wait_held());
  std::thread opens_it_again([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    disk.let_go();
  });
  ASSERT_TRUE(log->close());
  opens_it_again.join();
  const auto metadata = read_log_metadata(below, "/log");
  ASSERT_TRUE(metadata);
  EXPECT_TRUE(metadata->clean);
  EXPECT_GE(metadata->proven, end);
}

/// A failed write or fsync of META is as final as one of the log; a full disk is not: it is tried
/// again.
TEST(ProvenWriter, AFailedWriteIsFinalAndAFullDiskIsNot) {
  for (const FaultKind kind : {FaultKind::kError, FaultKind::kNoSpace}) {
    FaultFileSystem disk(1);
    auto log = open(disk);
    ASSERT_TRUE(log && log->become_writer(Epoch{1}));
    const Address before = append(*log, "one");
    ASSERT_TRUE(soon([&] { return proven(disk) >= before; }));
    disk.fail_next("write", "/log/META.reserve", kind);
    const Address after = append(*log, "two");
    if (kind == FaultKind::kError) {
      EXPECT_TRUE(soon([&] { return log->failure().has_value(); }));
      EXPECT_FALSE(log->enqueue(RecordKind::kData, as_bytes("three")));
      continue;
    }
    append(*log, "three");
    EXPECT_TRUE(soon([&] { return proven(disk) > after; }));
    EXPECT_FALSE(log->failure());
  }
}

}  // namespace
}  // namespace tailrace::fasterlog
