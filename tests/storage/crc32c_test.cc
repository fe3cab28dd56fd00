#include "storage/crc32c.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace tailrace {
namespace {

// The check values of RFC 3720, appendix B.4.
TEST(Crc32c, MatchesThePublishedVectors) {
  EXPECT_EQ(crc32c(as_bytes("123456789")), 0xe3069283u);
  const std::vector<std::byte> zeros(32, std::byte{0});
  EXPECT_EQ(crc32c(zeros), 0x8a9136aau);
  const std::vector<std::byte> ones(32, std::byte{0xff});
  EXPECT_EQ(crc32c(ones), 0x62a8ab43u);
}

TEST(Crc32c, ContinuesFromAnEarlierValue) {
  const std::string text = "a leader appends, followers tail";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    const uint32_t first = crc32c(as_bytes(text).first(cut));
    EXPECT_EQ(crc32c(as_bytes(text).subspan(cut), first), crc32c(as_bytes(text)));
  }
}

// Short and long inputs take different ways through the processor.
TEST(Crc32c, EveryLengthIsTheSameByteByByte) {
  std::vector<std::byte> bytes(1100);
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<std::byte>(i * 37 + (i >> 3));
  uint32_t running = 0;
  for (size_t length = 0; length < bytes.size(); ++length) {
    ASSERT_EQ(crc32c(ByteSpan(bytes).first(length)), running) << length;
    running = crc32c(ByteSpan(bytes).subspan(length, 1), running);
  }
}

}  // namespace
}  // namespace tailrace
