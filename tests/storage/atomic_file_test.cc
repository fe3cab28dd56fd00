#include "storage/atomic_file.h"

#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "tests/support/temporary_directory.h"

namespace tailrace::storage {
namespace {

constexpr AtomicFileFormat kFormat{four_letters("TEST"), 3};

class AtomicFileTest : public ::testing::Test {
 protected:
  std::string bytes_on_disk() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void put_on_disk(const std::string& bytes) const {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << bytes;
  }

  testing::TemporaryDirectory directory_;
  FileSystem& disk_ = posix_file_system();
  Path path_ = directory_.path() / "META";
};

// A reader finds what was last written, whole.
TEST_F(AtomicFileTest, ReadsBackWhatWasWrittenLast) {
  ASSERT_TRUE(replace_atomic_file(disk_, path_, kFormat, as_bytes("a longer first content")));
  ASSERT_TRUE(replace_atomic_file(disk_, path_, kFormat, as_bytes("second")));
  const auto content = read_atomic_file(disk_, path_, kFormat);
  ASSERT_TRUE(content) << content.error().message;
  EXPECT_EQ(to_string(content->bytes), "second");
  EXPECT_EQ(content->version, 3u);
}

TEST_F(AtomicFileTest, AnAbsentFileIsNotFoundAndNotEmpty) {
  const auto content = read_atomic_file(disk_, path_, kFormat);
  ASSERT_FALSE(content);
  EXPECT_EQ(content.error().code, ErrorCode::kNotFound);
}

// A damaged file is never read as data: every single flipped bit is found, and the file is named.
TEST_F(AtomicFileTest, EveryFlippedBitIsDetected) {
  ASSERT_TRUE(replace_atomic_file(disk_, path_, kFormat, as_bytes("begin=64 proven=4096")));
  const std::string whole = bytes_on_disk();
  for (size_t position = 0; position < whole.size(); ++position) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = whole;
      damaged[position] = static_cast<char>(damaged[position] ^ (1 << bit));
      put_on_disk(damaged);
      const auto content = read_atomic_file(disk_, path_, kFormat);
      ASSERT_FALSE(content) << "bit " << bit << " of byte " << position;
      EXPECT_EQ(content.error().code, ErrorCode::kCorruption);
      EXPECT_NE(content.error().message.find(path_.string()), std::string::npos);
    }
  }
}

TEST_F(AtomicFileTest, EveryTruncationIsDetected) {
  ASSERT_TRUE(replace_atomic_file(disk_, path_, kFormat, as_bytes("begin=64 proven=4096")));
  const std::string whole = bytes_on_disk();
  for (size_t length = 0; length < whole.size(); ++length) {
    put_on_disk(whole.substr(0, length));
    const auto content = read_atomic_file(disk_, path_, kFormat);
    ASSERT_FALSE(content) << length << " bytes";
    EXPECT_EQ(content.error().code, ErrorCode::kCorruption);
  }
}

// A format from the future is refused, and nothing is written.
TEST_F(AtomicFileTest, ANewerVersionIsRefusedUntouched) {
  ASSERT_TRUE(replace_atomic_file(disk_, path_, {kFormat.kind, 4}, as_bytes("from the future")));
  const std::string before = bytes_on_disk();
  const auto content = read_atomic_file(disk_, path_, kFormat);
  ASSERT_FALSE(content);
  EXPECT_EQ(content.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(bytes_on_disk(), before);
}

// What a crash before the rename leaves: the temporary file does not hide or change the old one.
TEST_F(AtomicFileTest, ALeftoverTemporaryFileChangesNothing) {
  ASSERT_TRUE(replace_atomic_file(disk_, path_, kFormat, as_bytes("old")));
  std::ofstream(path_.string() + ".tmp", std::ios::binary) << "half of a ne";
  auto content = read_atomic_file(disk_, path_, kFormat);
  ASSERT_TRUE(content);
  EXPECT_EQ(to_string(content->bytes), "old");
  ASSERT_TRUE(replace_atomic_file(disk_, path_, kFormat, as_bytes("new")));
  content = read_atomic_file(disk_, path_, kFormat);
  ASSERT_TRUE(content);
  EXPECT_EQ(to_string(content->bytes), "new");
}

}  // namespace
}  // namespace tailrace::storage
