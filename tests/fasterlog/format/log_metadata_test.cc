// META: its bytes, and what is refused (docs/formats/fasterlog.md).

#include "fasterlog/format/log_metadata.h"

#include <functional>

#include "storage/atomic_file.h"
#include "tests/fasterlog/saved_log.h"

namespace tailrace::fasterlog {
namespace {

using testing::FaultFileSystem;

constexpr uint32_t kKind = storage::four_letters("FLOG");
// Behind the envelope, of good(): two epochs and the owner.
constexpr size_t kConfigurationsAt = 48 + 2 * 16 + 6;

LogMetadata good() {
  LogMetadata metadata;
  metadata.owner = "test/1";
  metadata.page_bytes = 64u << 10;
  metadata.segment_bytes = 128u << 10;
  metadata.begin = Address{1024};
  metadata.proven = Address{4096};
  metadata.epochs = {{Epoch{1}, Address{64}}, {Epoch{4}, Address{1048}}};
  return metadata;
}

LogMetadata with_configurations() {
  LogMetadata metadata = good();
  const ByteSpan bytes = as_bytes("members");
  metadata.configurations = {{Address{96}, Address{128}, Epoch{1}, {bytes.begin(), bytes.end()}},
                             {Address{4072}, Address{4096}, Epoch{4}, {}}};
  return metadata;
}

class Metadata : public ::testing::Test {
 protected:
  Metadata() { EXPECT_TRUE(disk_.make_directory("/log").has_value()); }
  std::vector<std::byte> content_of(const LogMetadata& metadata) {
    EXPECT_TRUE(write_log_metadata(disk_, "/log", metadata).has_value());
    const auto content = storage::read_atomic_file(disk_, "/log/META", {kKind, 2});
    EXPECT_TRUE(content.has_value());
    version_ = content->version;
    return content->bytes;
  }
  Result<LogMetadata> read(const std::vector<std::byte>& bytes, uint32_t version) {
    EXPECT_TRUE(
        storage::replace_atomic_file(disk_, "/log/META", {kKind, version}, bytes).has_value());
    return read_log_metadata(disk_, "/log");
  }
  void expect_corrupt(const std::vector<std::byte>& bytes, uint32_t version = 2) {
    const auto found = read(bytes, version);
    ASSERT_FALSE(found.has_value());
    EXPECT_EQ(found.error().code, ErrorCode::kCorruption) << found.error().message;
    EXPECT_NE(found.error().message.find("META"), std::string::npos) << found.error().message;
  }

  FaultFileSystem disk_{1};
  uint32_t version_ = 0;
};

// A program from before there were configurations goes on reading every log without one, and
// refuses the others in words.
TEST_F(Metadata, IsOfVersionOneUntilThereIsAConfiguration) {
  EXPECT_EQ(content_of(good()).size(), kConfigurationsAt);
  EXPECT_EQ(version_, 1u);
  EXPECT_EQ(read_log_metadata(disk_, "/log").value(), good());
  (void)content_of(with_configurations());
  EXPECT_EQ(version_, 2u);
  const auto refused = storage::read_atomic_file(disk_, "/log/META", {kKind, 1});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kUnsupported);
}

TEST_F(Metadata, ConfigurationsStandBehindTheOwner) {
  const auto bytes = content_of(with_configurations());
  EXPECT_EQ(read_log_metadata(disk_, "/log").value(), with_configurations());
  ASSERT_EQ(bytes.size(), kConfigurationsAt + 4 + 28 + 7 + 28);
  const std::byte* at = bytes.data() + kConfigurationsAt;
  EXPECT_EQ(load<uint32_t>(at), 2u);
  EXPECT_EQ(load<uint64_t>(at + 4), 96u);
  EXPECT_EQ(load<uint64_t>(at + 12), 128u);
  EXPECT_EQ(load<uint64_t>(at + 20), 1u);
  EXPECT_EQ(load<uint32_t>(at + 28), 7u);
  EXPECT_EQ(to_string(ByteSpan(at + 32, 7)), "members");
  EXPECT_EQ(load<uint64_t>(at + 39), 4072u);
  EXPECT_EQ(load<uint64_t>(at + 47), 4096u);
  EXPECT_EQ(load<uint64_t>(at + 55), 4u);
  EXPECT_EQ(load<uint32_t>(at + 63), 0u);
}

TEST_F(Metadata, EachConfigurationThatCanNotBeIsCorruption) {
  const std::pair<const char*, std::function<void(ConfigurationTable&)>> changes[] = {
      {"before the first address",
       [](auto& table) {
         table[0].start = Address{56};
         table[0].end = Address{88};
       }},
      {"start no multiple of 8",
       [](auto& table) {
         table[0].start = Address{97};
         table[0].end = Address{129};
       }},
      {"end above proven",
       [](auto& table) {
         table[1].start = Address{4080};
         table[1].end = Address{4104};
       }},
      {"end at start", [](auto& table) { table[0].end = table[0].start; }},
      {"end before start", [](auto& table) { table[0].end = Address{64}; }},
      {"longer than its payload", [](auto& table) { table[0].end = Address{136}; }},
      {"shorter than its payload", [](auto& table) { table[0].payload.resize(9); }},
      {"disorder", [](auto& table) { std::swap(table[0], table[1]); }},
      {"twice the same", [](auto& table) { table[1] = table[0]; }},
      {"epochs that fall", [](auto& table) { table[0].epoch = Epoch{5}; }},
  };
  for (const auto& [what, change] : changes) {
    SCOPED_TRACE(what);
    LogMetadata metadata = with_configurations();
    change(metadata.configurations);
    expect_corrupt(content_of(metadata));
  }
  SCOPED_TRACE("payload too long");
  LogMetadata metadata = good();
  metadata.proven = Address{1u << 20};
  metadata.configurations = {{Address{64}, Address{64 + 24 + kMostConfigurationBytes}, Epoch{1},
                              std::vector<std::byte>(kMostConfigurationBytes)}};
  const auto most = read(content_of(metadata), 2);
  ASSERT_TRUE(most.has_value()) << most.error().message;
  EXPECT_EQ(*most, metadata);
  metadata.configurations[0].payload.resize(kMostConfigurationBytes + 1);
  metadata.configurations[0].end = metadata.configurations[0].end + 8;
  expect_corrupt(content_of(metadata));
}

TEST_F(Metadata, CountsAndLengthsThatLeadOutOfTheFileAreCorruption) {
  const auto bytes = content_of(with_configurations());
  for (const uint32_t count : {0u, 1u, 3u, 0x7fffffffu, 0xffffffffu}) {
    SCOPED_TRACE(count);
    auto changed = bytes;
    store(changed.data() + kConfigurationsAt, count);
    expect_corrupt(changed);
  }
  for (const uint32_t length : {0u, 6u, 8u, 36u, 0xffffffffu}) {
    SCOPED_TRACE(length);
    auto changed = bytes;
    store(changed.data() + kConfigurationsAt + 28, length);
    expect_corrupt(changed);
  }
  for (size_t left = 0; left < bytes.size(); ++left) {
    SCOPED_TRACE(left);
    expect_corrupt({bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(left)});
  }
  auto longer = bytes;
  longer.push_back({});
  expect_corrupt(longer);
  expect_corrupt(bytes, 1);
  const auto refused = read(bytes, 3);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace tailrace::fasterlog
