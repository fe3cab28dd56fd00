#include "fasterlog/record.h"

#include <gtest/gtest.h>

#include "core/crc32c.h"

namespace tailrace::fasterlog {
namespace {

std::vector<std::byte> sealed(Address address, std::string_view payload) {
  std::vector<std::byte> bytes(record_bytes(payload.size()));
  std::memcpy(bytes.data() + kHeaderBytes, payload.data(), payload.size());
  seal_record(bytes.data(), address, Epoch{7}, RecordKind::kData,
              static_cast<uint32_t>(payload.size()));
  return bytes;
}

// The bytes on disk are a promise to older logs.
TEST(Record, HasTheDocumentedBytes) {
  const auto bytes = sealed(Address{64}, "abc");
  ASSERT_EQ(bytes.size(), 32u);
  const unsigned char rest[] = {3, 0, 0, 0, 16, 0, 0,   0,   0,   0, 0, 0, 7, 0,
                                0, 0, 0, 0, 0,  0, 'a', 'b', 'c', 0, 0, 0, 0, 0};
  EXPECT_EQ(std::memcmp(bytes.data() + 4, rest, sizeof rest), 0);
  std::vector<std::byte> covered(bytes.begin() + 4, bytes.begin() + 27);
  covered.resize(31);
  store(covered.data() + 23, uint64_t{64});
  EXPECT_EQ(load<uint32_t>(bytes.data()), crc32c(covered));
}

TEST(Record, AnyFlippedBitIsFound) {
  auto bytes = sealed(Address{64}, "some payload");
  ASSERT_EQ(parse_record(Address{64}, bytes, 65536).status, ParseStatus::kOk);
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_NE(parse_record(Address{64}, bytes, 65536).status, ParseStatus::kOk) << "bit " << bit;
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
  }
}

TEST(Record, SoundBytesAtAnotherAddressAreRefused) {
  const auto bytes = sealed(Address{64}, "abc");
  EXPECT_EQ(parse_record(Address{128}, bytes, 65536).status, ParseStatus::kBad);
}

}  // namespace
}  // namespace tailrace::fasterlog
