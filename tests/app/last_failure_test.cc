// What a node's last failure leaves for its next lives: the file, and who writes it when.
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "app/node/failure_keeper.h"
#include "app/node/last_failure_file.h"
#include "core/check.h"
#include "storage/atomic_file.h"
#include "tests/support/fault_file_system.h"
#include "tests/support/gate_file_system.h"
#include "tests/support/temporary_directory.h"

namespace tailrace::app {
namespace {

using testing::FaultFileSystem;
using testing::GateFileSystem;
using testing::TemporaryDirectory;

constexpr std::chrono::seconds kLong{30};

class FixedClock final : public Clock {
 public:
  SteadyTime now() const override { return {}; }
  uint64_t unix_time_ns() const override { return 1'700'000'000'500'000'000; }
};
const FixedClock fixed_clock;

class LastFailures : public ::testing::Test {
 protected:
  LastFailures() { EXPECT_TRUE(disk_.make_directory("/node")); }

  void put(ByteSpan bytes) {
    auto file = disk_.open("/node/LAST-FAILURE", {storage::OpenMode::kCreateReadWrite, false});
    ASSERT_TRUE(file && (*file)->truncate(0) && (*file)->write_at(0, bytes));
  }
  /// What the next life knows.
  std::optional<LastFailure> next() {
    FailureKeeper keeper(disk_, "/node");
    keeper.start();
    return keeper.last();
  }
  std::string told(FailureKeeper& keeper) {
    observability::MetricRegistry registry;
    keeper.register_metrics(registry);
    return registry.expose();
  }

  FaultFileSystem disk_{1};
};

// Promise: the layout is that of docs/formats/last-failure.md.
TEST_F(LastFailures, HaveTheDocumentedLayout) {
  LastFailureFile file(disk_, "/node");
  ASSERT_TRUE(file.write({0x0102030405060708, FailureReason::kDamage, "why"}));
  std::vector<std::byte> bytes = disk_.content("/node/LAST-FAILURE");
  ASSERT_EQ(bytes.size(), 32u + 16 + 3);
  EXPECT_EQ(as_text(ByteSpan(bytes).subspan(8, 4)), "FAIL");
  EXPECT_EQ(load<uint32_t>(bytes.data() + 12), 1u);
  EXPECT_EQ(load<uint64_t>(bytes.data() + 32), 0x0102030405060708u);
  EXPECT_EQ(load<uint32_t>(bytes.data() + 40), 2u);
  EXPECT_EQ(load<uint32_t>(bytes.data() + 44), 3u);
  EXPECT_EQ(as_text(ByteSpan(bytes).subspan(48)), "why");
  const LastFailure expected{0x0102030405060708, FailureReason::kDamage, "why"};
  EXPECT_EQ(file.read().value(), expected);
}

// Promise: the file is bounded, however much an error says, and the cut leaves whole characters.
TEST_F(LastFailures, AreCutToWholeCharacters) {
  LastFailureFile file(disk_, "/node");
  std::string message(LastFailureFile::kMostMessageBytes - 1, 'a');
  ASSERT_TRUE(file.write({1, FailureReason::kDisk, message + "ä and more"}));
  EXPECT_EQ(file.read().value()->message, message);
  // Also of what is no text.
  ASSERT_TRUE(file.write({1, FailureReason::kDisk, std::string(5000, '\xff')}));
  EXPECT_EQ(file.read().value()->message, std::string(LastFailureFile::kMostMessageBytes, '\xff'));
}

// Promise: whatever stands there, the node starts and knows of no failure; the next one replaces
// it.
TEST_F(LastFailures, ThatDoNotCheckAreNoReasonNotToStart) {
  LastFailureFile file(disk_, "/node");
  ASSERT_TRUE(file.write({1, FailureReason::kDisk, "why"}));
  const std::vector<std::byte> sound = disk_.content("/node/LAST-FAILURE");
  for (size_t size = 0; size < sound.size(); ++size) {
    put(ByteSpan(sound).first(size));
    EXPECT_EQ(next(), std::nullopt) << size;
  }
  for (size_t at = 0; at < sound.size(); ++at) {
    auto flipped = sound;
    flipped[at] ^= std::byte{1};
    put(flipped);
    EXPECT_EQ(next(), std::nullopt) << at;
  }
  put(std::vector<std::byte>(100'000));
  EXPECT_EQ(next(), std::nullopt);
  const storage::AtomicFileFormat newer{storage::four_letters("FAIL"), 2};
  ASSERT_TRUE(storage::replace_atomic_file(disk_, "/node/LAST-FAILURE", newer, {}));
  EXPECT_EQ(next(), std::nullopt);
  ASSERT_TRUE(file.write({2, FailureReason::kDisk, "anew"}));
  EXPECT_EQ(next()->message, "anew");
}

// Promise: a reason of a later program is told as `other`, and lengths that lie are found.
TEST_F(LastFailures, OfAnotherProgramAreReadAsFarAsTheyAreKnown) {
  const auto write = [&](uint32_t reason, uint32_t length) {
    std::byte bytes[17] = {};
    store(bytes + 8, reason);
    store(bytes + 12, length);
    const storage::AtomicFileFormat format{storage::four_letters("FAIL"), 1};
    ASSERT_TRUE(storage::replace_atomic_file(disk_, "/node/LAST-FAILURE", format, bytes));
  };
  write(77, 1);
  EXPECT_EQ(next()->reason, FailureReason::kOther);
  for (const uint32_t length : {0u, 2u, UINT32_MAX, UINT32_MAX - 15}) {
    write(1, length);
    EXPECT_EQ(next(), std::nullopt) << length;
  }
}

// Promise: the next life knows when and why, and tells it as one series; before there is NaN.
TEST_F(LastFailures, AreKnownToTheNextLife) {
  FailureKeeper keeper(disk_, "/node", fixed_clock);
  keeper.start();
  EXPECT_NE(told(keeper).find("{reason=\"disk\"} Nan"), std::string::npos) << told(keeper);
  keeper.keep(FailureReason::kDisk, "fdatasync: Input/output error");
  ASSERT_TRUE(keeper.wait(kLong));
  const LastFailure expected{fixed_clock.unix_time_ns(), FailureReason::kDisk,
                             "fdatasync: Input/output error"};
  EXPECT_EQ(keeper.last(), expected);
  FailureKeeper next(disk_, "/node");
  next.start();
  EXPECT_EQ(next.last(), expected);
  const std::string text = told(next);
  EXPECT_NE(text.find("{reason=\"disk\"} 1700000000.5\n"), std::string::npos) << text;
  EXPECT_NE(text.find("{reason=\"invariant\"} Nan"), std::string::npos) << text;
}

// Promise: what follows from a failure does not hide it. A store that failed first does not hide
// what ended the node.
TEST_F(LastFailures, AreTheFirstThatEndedTheNode) {
  FailureKeeper keeper(disk_, "/node");
  keeper.start();
  keeper.keep(FailureReason::kStore, "store");
  ASSERT_TRUE(keeper.wait(kLong));
  EXPECT_EQ(next()->message, "store");
  keeper.keep(FailureReason::kDisk, "log");
  keeper.keep(FailureReason::kOther, "later");
  keeper.keep(FailureReason::kStore, "store again");
  ASSERT_TRUE(keeper.wait(kLong));
  EXPECT_EQ(next()->message, "log");
}

// Promise: of two threads that write at once the file has the newer failure, whichever comes first.
TEST_F(LastFailures, AreTheNewestHoweverTheThreadsRun) {
  for (int i = 0; i < 500; ++i) {
    FailureKeeper keeper(disk_, "/node");
    keeper.keep(FailureReason::kStore, "store");
    keeper.keep(FailureReason::kDisk, "log");
    ASSERT_TRUE(keeper.wait(kLong));
    ASSERT_EQ(LastFailureFile(disk_, "/node").read().value()->message, "log") << i;
  }
}

// Promise: a pipe in the place of the file is an error, and nothing waits for its writers.
TEST(LastFailurePipe, IsRefused) {
  const TemporaryDirectory directory;
  const std::string path = (directory.path() / "LAST-FAILURE").string();
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const auto read = LastFailureFile(storage::posix_file_system(), directory.path()).read();
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().message, path + " is a pipe and not a file; remove it");
}

// Promise: a full disk does not lose what was reserved for.
TEST_F(LastFailures, AreKeptOnAFullDisk) {
  FailureKeeper keeper(disk_, "/node");
  keeper.start();
  keeper.reserve();
  disk_.fill();
  keeper.keep(FailureReason::kDisk, std::string(2000, 'x'));
  ASSERT_TRUE(keeper.wait(kLong));
  EXPECT_EQ(next()->message, std::string(LastFailureFile::kMostMessageBytes, 'x'));
}

// Promise: a disk that hangs holds up nobody, neither the one who fails nor the end of the keeper.
TEST_F(LastFailures, DoNotWaitForADiskThatHangs) {
  // Longer than the test, as the thread that hangs still has it.
  static auto* const disk = new FaultFileSystem(1);
  static auto* const gate = new GateFileSystem(*disk);
  ASSERT_TRUE(disk->make_directory("/node"));
  gate->hold("LAST-FAILURE");
  {
    FailureKeeper keeper(*gate, "/node");
    keeper.start();
    keeper.keep(FailureReason::kDisk, "log");
    ASSERT_TRUE(gate->wait_held());
    EXPECT_FALSE(keeper.wait(std::chrono::milliseconds(1)));
    EXPECT_EQ(keeper.last()->message, "log");
  }
  gate->let_go();
}

void break_an_invariant(const std::string& directory) {
  FailureKeeper keeper(storage::posix_file_system(), directory);
  keeper.start();
  TAILRACE_CHECK(1 + 1 == 3, "it is not");
}

// Promise: a broken invariant ends the process as before, and the next life knows which one.
TEST(LastWords, OfABrokenInvariantAreKept) {
  const TemporaryDirectory directory;
  EXPECT_DEATH(break_an_invariant(directory.path()),
               "fatal: .*check failed: 1 \\+ 1 == 3: it is not");
  const auto last = LastFailureFile(storage::posix_file_system(), directory.path()).read();
  ASSERT_TRUE(last && *last);
  EXPECT_EQ((*last)->reason, FailureReason::kInvariant);
  EXPECT_NE((*last)->message.find("last_failure_test.cc:"), std::string::npos) << (*last)->message;
  EXPECT_NE((*last)->message.find("1 + 1 == 3: it is not"), std::string::npos) << (*last)->message;
}

void break_on_a_disk_that_hangs(const std::string& directory) {
  GateFileSystem gate(storage::posix_file_system());
  gate.hold("LAST-FAILURE");
  FailureKeeper keeper(gate, directory);
  keeper.start();
  TAILRACE_CHECK(1 + 1 == 3, "it is not");
}

// Promise: a disk that hangs does not keep a broken invariant from ending the process.
TEST(LastWords, DoNotWaitForADiskThatHangs) {
  const TemporaryDirectory directory;
  EXPECT_DEATH(break_on_a_disk_that_hangs(directory.path()), "it is not");
}

void break_twice(const std::string& directory) {
  FailureKeeper keeper(storage::posix_file_system(), directory);
  keeper.start();
  std::thread([] { TAILRACE_CHECK(1 + 1 == 3, "one"); }).detach();
  TAILRACE_CHECK(1 + 1 == 4, "another");
}

// Promise: a second thread that finds something broken does not end the process before the first is
// told.
TEST(LastWords, AreThoseOfTheFirstThread) {
  for (int i = 0; i < 10; ++i) {
    const TemporaryDirectory directory;
    EXPECT_DEATH(break_twice(directory.path()), "check failed");
    EXPECT_TRUE(LastFailureFile(storage::posix_file_system(), directory.path()).read().value());
  }
}

// Promise: nobody listens after the end of the keeper.
TEST(LastWords, GoNowhereWithoutAKeeper) {
  const TemporaryDirectory directory;
  EXPECT_DEATH(
      {
        FailureKeeper(storage::posix_file_system(), directory.path()).start();
        TAILRACE_CHECK(false, "alone");
      },
      "alone");
  EXPECT_FALSE(LastFailureFile(storage::posix_file_system(), directory.path()).read().value());
}

}  // namespace
}  // namespace tailrace::app
