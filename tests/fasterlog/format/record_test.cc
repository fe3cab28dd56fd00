#include "fasterlog/format/record.h"

#include <gtest/gtest.h>

#include "storage/crc32c.h"

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

// Kind and flags as wanted, and a checksum that fits.
std::vector<std::byte> with_fields(uint8_t kind, uint8_t flags, uint16_t reserved16,
                                   uint32_t reserved32) {
  auto bytes = sealed(Address{64}, "abc");
  auto header = load<RecordHeader>(bytes.data());
  header.kind = kind;
  header.flags = flags;
  header.reserved16 = reserved16;
  header.reserved32 = reserved32;
  store(bytes.data(), header);
  std::vector<std::byte> covered(bytes.begin() + 4, bytes.begin() + 27);
  covered.resize(31);
  store(covered.data() + 23, uint64_t{64});
  store(bytes.data(), crc32c(covered));
  return bytes;
}

TEST(Record, AnUnknownFlagIsRefusedAlsoWithAChecksumThatFits) {
  ASSERT_EQ(parse_record(Address{64}, with_fields(16, 0, 0, 0), 65536).status, ParseStatus::kOk);
  for (int bit = 0; bit < 8; ++bit) {
    const auto outcome =
        parse_record(Address{64}, with_fields(16, static_cast<uint8_t>(1 << bit), 0, 0), 65536);
    EXPECT_EQ(outcome.status, ParseStatus::kBad);
    EXPECT_NE(outcome.reason.find("flags"), std::string_view::npos);
  }
  EXPECT_EQ(parse_record(Address{64}, with_fields(16, 0, 1, 0), 65536).status, ParseStatus::kBad);
  EXPECT_EQ(parse_record(Address{64}, with_fields(16, 0, 0, 1), 65536).status, ParseStatus::kBad);
}

TEST(Record, AReservedKindIsReadAsDataButNeverWritten) {
  for (int number = 0; number <= 255; ++number) {
    const auto kind = static_cast<RecordKind>(number);
    const bool may_write = number == 3 || number == 4 || number >= 16;
    const auto checked = check_embedder_kind(kind);
    EXPECT_EQ(checked.has_value(), may_write) << number;
    if (!checked) {
      EXPECT_EQ(checked.error().code, ErrorCode::kInvalidArgument);
      EXPECT_NE(checked.error().message.find("from 16 on"), std::string::npos)
          << checked.error().message;
    }
    if (number < 3) continue;
    const auto bytes = with_fields(static_cast<uint8_t>(number), 0, 0, 0);
    const auto outcome = parse_record(Address{64}, bytes, 65536);
    ASSERT_EQ(outcome.status, ParseStatus::kOk) << number << " " << outcome.reason;
    EXPECT_EQ(outcome.record.kind, kind);
  }
}

TEST(Record, SoundBytesAtAnotherAddressAreRefused) {
  const auto bytes = sealed(Address{64}, "abc");
  EXPECT_EQ(parse_record(Address{128}, bytes, 65536).status, ParseStatus::kBad);
}

}  // namespace
}  // namespace tailrace::fasterlog
