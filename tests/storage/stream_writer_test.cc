#include "storage/stream_writer.h"

#include <gtest/gtest.h>

#include "core/random.h"
#include "tests/support/fault_file_system.h"
#include "tests/support/temporary_directory.h"

namespace tailrace::storage {
namespace {

using testing::CrashPolicy;
using testing::FaultFileSystem;
using testing::FaultKind;

constexpr uint64_t kPiece = StreamWriter::kPieceBytes;

std::vector<std::byte> content_of(uint64_t bytes, uint64_t seed) {
  Random random(seed);
  std::vector<std::byte> content(bytes);
  for (std::byte& each : content)
    each = static_cast<std::byte>(random.below(256));
  return content;
}

/// Writes the rest of `content` in parts of at most `most`.
Result<> write_rest(StreamWriter& writer, ByteSpan content, uint64_t until, Random& random,
                    uint64_t most) {
  while (writer.written() < until) {
    const uint64_t part = std::min(until - writer.written(), 1 + random.below(most));
    TAILRACE_RETURN_IF_ERROR(writer.write(content.subspan(writer.written(), part)));
  }
  return {};
}

/// The file has the bytes that were written, whatever its length and however they came; on a disk
/// with O_DIRECT and io_uring, and one writer after the other file.
TEST(StreamWriter, AFileHasWhatWasWritten) {
  const testing::TemporaryDirectory directory;
  FileSystem& disk = posix_file_system();
  StreamWriter writer(disk);
  Random random(1);
  const uint64_t lengths[] = {0, 1, kBlockBytes, kBlockBytes + 1, kPiece, 6 * kPiece + 10};
  for (const uint64_t bytes : lengths) {
    SCOPED_TRACE(std::to_string(bytes) + " bytes");
    const auto content = content_of(bytes, bytes);
    const Path path = directory.path() / std::to_string(bytes);
    ASSERT_TRUE(writer.open(path, bytes, 0));
    ASSERT_TRUE(write_rest(writer, content, bytes, random, kPiece / 3));
    const auto closed = writer.close();
    ASSERT_TRUE(closed) << closed.error().message;
    const auto file = disk.open(path, {});
    ASSERT_TRUE(file);
    EXPECT_EQ((*file)->size().value(), bytes);
    std::vector<std::byte> read(bytes);
    ASSERT_EQ((*file)->read_at(0, read).value(), bytes);
    EXPECT_TRUE(read == content);
  }
}

/// What save() returned is durable, and another writer goes on from there; what a closed file has
/// is durable too.
TEST(StreamWriter, APowerCutTakesNothingThatWasSaved) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    FaultFileSystem disk(seed);
    Random random(seed);
    ASSERT_TRUE(disk.make_directory("/d"));
    const uint64_t bytes = kPiece + random.below(2 * kPiece);
    const auto content = content_of(bytes, seed);
    uint64_t saved = 0;
    {
      StreamWriter writer(disk);
      ASSERT_TRUE(writer.open("/d/f", bytes, 0));
      for (uint64_t until = 0; until < bytes / 2; until += 1 + random.below(kPiece / 2)) {
        ASSERT_TRUE(write_rest(writer, content, std::max(until, writer.written()), random, kPiece));
        const auto end = writer.save();
        ASSERT_TRUE(end);
        EXPECT_EQ(*end % kBlockBytes, 0u);
        EXPECT_LE(*end, writer.written());
        EXPECT_LT(writer.written() - *end, kBlockBytes);
        saved = *end;
      }
      ASSERT_TRUE(writer.write(ByteSpan(content).subspan(writer.written(), bytes / 4)));
    }
    disk.crash(CrashPolicy::kRandom);
    auto there = disk.content("/d/f");
    ASSERT_GE(there.size(), saved);
    EXPECT_TRUE(
        std::equal(there.begin(), there.begin() + static_cast<ptrdiff_t>(saved), content.begin()));
    StreamWriter writer(disk);
    ASSERT_TRUE(writer.open("/d/f", bytes, saved));
    ASSERT_TRUE(write_rest(writer, content, bytes, random, kPiece));
    ASSERT_TRUE(writer.close());
    disk.crash(CrashPolicy::kLoseUnsynced);
    EXPECT_TRUE(disk.content("/d/f") == content);
  }
}

/// A write that fails behind the caller's back is told before anything is called durable, and is
/// final.
TEST(StreamWriter, AFailedWriteOrSyncIsFinal) {
  for (const char* call : {"write", "fdatasync"}) {
    SCOPED_TRACE(call);
    FaultFileSystem disk(1);
    ASSERT_TRUE(disk.make_directory("/d"));
    const auto content = content_of(3 * kPiece, 1);
    StreamWriter writer(disk);
    ASSERT_TRUE(writer.open("/d/f", content.size(), 0));
    disk.fail_next(call, "/d/f", FaultKind::kError);
    (void)writer.write(ByteSpan(content).first(kPiece + kBlockBytes));
    const auto saved = writer.save();
    ASSERT_FALSE(saved);
    EXPECT_EQ(saved.error().code, ErrorCode::kIo);
    EXPECT_FALSE(writer.save());
    EXPECT_FALSE(writer.write(ByteSpan(content).first(1)));
    EXPECT_FALSE(writer.close());
    writer.abandon();
    EXPECT_TRUE(writer.open("/d/other", 1, 0)) << "another file is another matter";
  }
}

TEST(StreamWriter, NoRoomIsToldAtTheBeginning) {
  FaultFileSystem disk(1);
  ASSERT_TRUE(disk.make_directory("/d"));
  disk.set_capacity(kPiece);
  StreamWriter writer(disk);
  const auto opened = writer.open("/d/f", 2 * kPiece, 0);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kResourceExhausted);
  EXPECT_FALSE(writer.is_open());
}

}  // namespace
}  // namespace tailrace::storage
