#include <csignal>
#include <map>
#include <thread>
#include <typeinfo>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/random.h"
#include "storage/aligned_buffer.h"
#include "storage/file_system.h"
#include "storage/io_choice.h"
#include "storage/posix_queue.h"
#include "tests/support/temporary_directory.h"

namespace tailrace::storage {
namespace {

class PosixFileSystemTest : public ::testing::Test {
 protected:
  std::unique_ptr<File> create(const std::string& name, bool direct = false) {
    auto file = disk_.open(directory_.path() / name, {OpenMode::kCreateReadWrite, direct});
    EXPECT_TRUE(file) << file.error().message;
    return std::move(*file);
  }

  testing::TemporaryDirectory directory_;
  FileSystem& disk_ = posix_file_system();
};

TEST_F(PosixFileSystemTest, ReadsBackWhatWasWrittenAndStopsAtTheEnd) {
  const auto file = create("data");
  ASSERT_TRUE(file->write_at(3, as_bytes("payload")));
  ASSERT_TRUE(file->sync());
  std::vector<std::byte> bytes(64);
  const auto got = file->read_at(0, bytes);
  ASSERT_TRUE(got);
  EXPECT_EQ(*got, 10u);
  EXPECT_EQ(as_text(ByteSpan(bytes).subspan(3, 7)), "payload");
  EXPECT_EQ(*file->size(), 10u);
}

TEST_F(PosixFileSystemTest, ErrorsNameTheFileAndTheCall) {
  const auto file = disk_.open(directory_.path() / "absent", {});
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, ErrorCode::kNotFound);
  EXPECT_NE(file.error().message.find("absent"), std::string::npos);
  EXPECT_NE(file.error().message.find("open"), std::string::npos);
}

// Descriptors that others hold for a moment are not a broken disk.
TEST_F(PosixFileSystemTest, WithoutAFreeDescriptorCallsWaitForOne) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "NOT TESTED: the sanitizer needs a descriptor for its own checks";
#endif
  create("data");
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const int lowest = ::open("/dev/null", O_RDONLY);
  const rlimit low{static_cast<rlim_t>(lowest) + 1, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  ASSERT_LT(::open("/dev/null", O_RDONLY), 0) << "there is still one";
  std::thread gives_back([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    ::close(lowest);
  });
  EXPECT_TRUE(disk_.sync_directory(directory_.path()));
  gives_back.join();
  EXPECT_TRUE(disk_.open(directory_.path() / "data", {}));
  EXPECT_TRUE(disk_.list(directory_.path()));
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
}

// The choice is kept, and the reason is told.
TEST_F(PosixFileSystemTest, TheKindOfQueueIsTheChosenOne) {
  const auto obstacle = io_uring_obstacle();
  const auto ring = posix_file_system(IoChoice::kIoUring).make_queue(4);
  EXPECT_EQ(ring.has_value(), !obstacle);
  if (obstacle) {
    EXPECT_EQ(ring.error().message, *obstacle);
  }
  EXPECT_TRUE(posix_file_system(IoChoice::kAuto).make_queue(4));
  const auto posix = posix_file_system(IoChoice::kPosix).make_queue(4);
  ASSERT_TRUE(posix);
  EXPECT_EQ(typeid(**posix), typeid(**make_posix_queue()));
}

TEST_F(PosixFileSystemTest, MakesAllParentsAndListsInOrder) {
  const Path deep = directory_.path() / "a" / "b" / "c";
  ASSERT_TRUE(disk_.make_directory(deep));
  ASSERT_TRUE(disk_.make_directory(deep));
  for (const char* name : {"2", "1", "3"}) {
    ASSERT_TRUE(disk_.open(deep / name, {OpenMode::kCreateReadWrite, false}));
  }
  EXPECT_EQ(*disk_.list(deep), (std::vector<std::string>{"1", "2", "3"}));
  EXPECT_EQ(disk_.list(directory_.path() / "x").error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(*disk_.exists(deep / "1"));
  ASSERT_TRUE(disk_.remove(deep / "1"));
  EXPECT_FALSE(*disk_.exists(deep / "1"));
}

// Two processes never work on one directory: the second is told who has it.
TEST_F(PosixFileSystemTest, ALockedDirectoryIsRefusedToAnotherProcess) {
  auto lock = disk_.lock(directory_.path());
  ASSERT_TRUE(lock) << lock.error().message;
  const auto second = disk_.lock(directory_.path());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kInUse);
  EXPECT_NE(second.error().message.find(std::to_string(::getpid())), std::string::npos);
  EXPECT_EQ(disk_.check_unlocked(directory_.path()).error(), second.error());
  lock->reset();
  EXPECT_TRUE(disk_.check_unlocked(directory_.path()));
  EXPECT_TRUE(disk_.lock(directory_.path()));
}

TEST_F(PosixFileSystemTest, AskingWhetherADirectoryIsLockedLeavesNothingBehind) {
  EXPECT_TRUE(disk_.check_unlocked(directory_.path()));
  EXPECT_TRUE(disk_.list(directory_.path())->empty());
}

TEST_F(PosixFileSystemTest, AlignedBuffersAreZeroedAndAligned) {
  for (const bool huge : {false, true}) {
    const auto buffer = AlignedBuffer::allocate(3 << 20, huge);
    ASSERT_TRUE(buffer);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % kBlockBytes, 0u);
    for (size_t i = 0; i < buffer->size(); i += 4096)
      EXPECT_EQ(buffer->data()[i], std::byte{0});
  }
}

/// Both forms of the queue keep the same promises.
class IoQueueTest : public PosixFileSystemTest, public ::testing::WithParamInterface<bool> {
 protected:
  std::unique_ptr<IoQueue> make_queue(size_t depth) {
    auto queue = GetParam() ? disk_.make_queue(depth) : make_posix_queue();
    EXPECT_TRUE(queue) << queue.error().message;
    return std::move(*queue);
  }
  static constexpr auto kLong = std::chrono::seconds(20);
};

// Every request is answered once, under its own token, also with more requests than the depth.
TEST_P(IoQueueTest, AnswersEveryRequestOnceAndTheBytesAreThere) {
  const auto file = create("blocks", true);
  const auto queue = make_queue(4);
  constexpr size_t kBlocks = 64;
  auto memory = AlignedBuffer::allocate(kBlocks * kBlockBytes);
  ASSERT_TRUE(memory);
  Random random(1);
  random.fill(memory->span());
  for (size_t block = 0; block < kBlocks; ++block) {
    queue->write(*file, block * kBlockBytes,
                 memory->span().subspan(block * kBlockBytes, kBlockBytes), 100 + block);
  }
  std::map<uint64_t, int> seen;
  std::vector<Completion> completions;
  while (queue->in_flight() > 0) {
    completions.clear();
    ASSERT_TRUE(queue->wait(completions, kLong));
    for (const Completion& completion : completions) {
      ASSERT_TRUE(completion.bytes) << completion.bytes.error().message;
      EXPECT_EQ(*completion.bytes, kBlockBytes);
      ++seen[completion.token];
    }
  }
  EXPECT_EQ(seen.size(), kBlocks);
  for (const auto& [token, times] : seen)
    EXPECT_EQ(times, 1) << token;

  auto back = AlignedBuffer::allocate(kBlocks * kBlockBytes);
  ASSERT_TRUE(back);
  queue->sync(*file, 1);
  queue->read(*file, 0, back->span(), 2);
  while (queue->in_flight() > 0) {
    completions.clear();
    ASSERT_TRUE(queue->wait(completions, kLong));
    for (const Completion& completion : completions)
      EXPECT_TRUE(completion.bytes);
  }
  EXPECT_EQ(std::memcmp(back->data(), memory->data(), back->size()), 0);
}

// What synced writes promise of the disk shows only in a crash; here that each is one request,
// whose bytes are there.
TEST_P(IoQueueTest, ASyncedWriteIsOneRequestAndTheBytesAreThere) {
  const auto file = create("synced", true);
  const auto queue = make_queue(4);
  auto memory = AlignedBuffer::allocate(8 * kBlockBytes);
  ASSERT_TRUE(memory);
  Random(2).fill(memory->span());
  for (size_t block = 0; block < 8; ++block)
    queue->write_synced(*file, block * kBlockBytes,
                        memory->span().subspan(block * kBlockBytes, kBlockBytes), block);
  EXPECT_EQ(queue->in_flight(), 8u);
  std::vector<Completion> completions;
  while (queue->in_flight() > 0)
    ASSERT_TRUE(queue->wait(completions, kLong));
  ASSERT_EQ(completions.size(), 8u);
  for (const Completion& completion : completions) {
    ASSERT_TRUE(completion.bytes) << completion.bytes.error().message;
    EXPECT_EQ(*completion.bytes, kBlockBytes);
  }
  std::vector<std::byte> back(8 * kBlockBytes);
  ASSERT_TRUE(disk_.open(directory_.path() / "synced", {OpenMode::kReadOnly, false})
                  .value()
                  ->read_at(0, back));
  EXPECT_EQ(std::memcmp(back.data(), memory->data(), back.size()), 0);
}

TEST_P(IoQueueTest, AReadBeyondTheEndIsShortAndNoError) {
  const auto file = create("short");
  ASSERT_TRUE(file->write_at(0, as_bytes("0123456789")));
  const auto queue = make_queue(4);
  std::vector<std::byte> into(100);
  queue->read(*file, 4, into, 9);
  std::vector<Completion> completions;
  while (completions.empty())
    ASSERT_TRUE(queue->wait(completions, kLong));
  ASSERT_TRUE(completions[0].bytes);
  EXPECT_EQ(*completions[0].bytes, 6u);
}

TEST_P(IoQueueTest, AFailureNamesItsFile) {
  ASSERT_TRUE(create("readonly"));
  auto file = disk_.open(directory_.path() / "readonly", {OpenMode::kReadOnly, false});
  ASSERT_TRUE(file);
  const auto queue = make_queue(4);
  queue->write(**file, 0, as_bytes("x"), 5);
  queue->write_synced(**file, 0, as_bytes("x"), 5);
  std::vector<Completion> completions;
  while (completions.size() < 2)
    ASSERT_TRUE(queue->wait(completions, kLong));
  for (const Completion& completion : completions) {
    ASSERT_FALSE(completion.bytes);
    EXPECT_EQ(completion.token, 5u);
    EXPECT_NE(completion.bytes.error().message.find("readonly"), std::string::npos);
  }
}

// A wake is never lost: neither one that comes during the wait nor one that came before it.
TEST_P(IoQueueTest, AWakeEndsTheWaitThatRunsOrTheNextOne) {
  const auto queue = make_queue(4);
  std::vector<Completion> completions;
  for (int round = 0; round < 50; ++round) {
    const auto started = std::chrono::steady_clock::now();
    std::thread waker([&] { queue->wake(); });
    ASSERT_TRUE(queue->wait(completions, kLong));
    waker.join();
    EXPECT_LT(std::chrono::steady_clock::now() - started, kLong);
    queue->wake();
    ASSERT_TRUE(queue->wait(completions, kLong));
    EXPECT_LT(std::chrono::steady_clock::now() - started, kLong);
  }
  EXPECT_TRUE(completions.empty());
}

/// For a while no file of this process may be written beyond so many bytes.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    EXPECT_EQ(::getrlimit(RLIMIT_FSIZE, &before_), 0);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  }
  ~FileSizeLimit() {
    (void)::setrlimit(RLIMIT_FSIZE, &before_);
    (void)std::signal(SIGXFSZ, signal_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  void (*const signal_)(int) = std::signal(SIGXFSZ, SIG_IGN);
  rlimit before_{};
};

// An event loop waits at the descriptor. The first half of each write is written, and the queue
// goes on with the second one.
TEST_P(IoQueueTest, NobodyWaitsAtTheDescriptorForWhatIsNotSubmitted) {
  const auto queue = make_queue(4);
  if (queue->descriptor() < 0) GTEST_SKIP() << "it has no descriptor";
  const auto file = create("short");
  ASSERT_TRUE(file->write_at(0, as_bytes(std::string(8192, 'x'))));
  const std::string bytes(8192, 'y');
  const FileSizeLimit limit(4096);
  for (int round = 0; round < 3000; ++round) {
    queue->write(*file, 0, as_bytes(bytes), 1);
    std::vector<Completion> completions;
    for (int waits = 1; completions.empty(); ++waits) {
      ASSERT_TRUE(queue->wait(completions, std::chrono::nanoseconds(0)));
      // The loop has other reasons to look at the queue, so the first half may be there at any one.
      if (waits <= round % 300 || !completions.empty() || queue->must_submit()) continue;
      pollfd watched{queue->descriptor(), POLLIN, 0};
      ASSERT_EQ(::poll(&watched, 1, 20'000), 1) << "in round " << round;
    }
    EXPECT_FALSE(completions[0].bytes);
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, IoQueueTest, ::testing::Bool(),
                         [](const auto& form) { return form.param ? "IoUring" : "Posix"; });

}  // namespace
}  // namespace tailrace::storage
