// The bytes of docs/formats/fasterkv.md. A failure here means that stores written by earlier
// programs no longer open: raise the version and read both.

#include "kv/checkpoint_files.h"
#include "storage/atomic_file.h"
#include "tests/kv/kv_support.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::kv {
namespace {

const storage::Path kToken = "/kv/checkpoints/00000000000000000007";

std::string hex_of(ByteSpan bytes) {
  static const char* digits = "0123456789abcdef";
  std::string text;
  for (const std::byte byte : bytes) {
    text += digits[static_cast<uint8_t>(byte) >> 4];
    text += digits[static_cast<uint8_t>(byte) & 15];
  }
  return text;
}

std::vector<std::byte> bytes_of(std::string_view hex) {
  std::vector<std::byte> bytes;
  for (size_t at = 0; at + 1 < hex.size(); at += 2)
    bytes.push_back(
        static_cast<std::byte>(std::stoul(std::string(hex.substr(at, 2)), nullptr, 16)));
  return bytes;
}

// Of `records`; zeros follow up to 4096.
constexpr std::string_view kRecords =
    "4b564348"          // "KVCH"
    "f8f83ad0"          // crc32c
    "0700000000000000"  // token
    "0000000000000000"  // number of the chunk
    "1c00000000000000"  // payload_bytes
    "02000000"          // records
    "00000000"
    "0300000005000000"  // key_bytes, value_bytes
    "6b6579"            // "key"
    "76616c7565"        // "value"
    "0400000000000000"
    "616e6420";  // "and ", with an empty value

constexpr std::string_view kManifest =
    "54524146"          // "TRAF"
    "c63489f7"          // crc32c
    "4b564350"          // "KVCP"
    "01000000"          // version of the format
    "6e00000000000000"  // content_bytes
    "0000000000000000"
    "0700000000000000"                  // token
    "0500000000000000"                  // version (CPR)
    "15cd5b0700000000"                  // unix_time_ns
    "0010000000000000"                  // bytes of records
    "0200000000000000"                  // live_records
    "0100000000000000"                  // chunks
    "f0545db5"                          // chunks_crc32c
    "02000000"                          // number of points
    "01000000000000000a00000000000000"  // session, point
    "020000000000000000ffffffff000000"
    "05000000"  // owner
    "6f776e6572"
    "09000000"  // user_metadata
    "6d65746164617461"
    "00";

Manifest manifest_of_the_page() {
  Manifest manifest;
  manifest.owner = "owner";
  manifest.info.token = 7;
  manifest.info.version = 5;
  manifest.info.unix_time_ns = 123456789;
  manifest.info.points = {{1, 10}, {2, 0xffffffff00}};
  manifest.info.user_metadata = std::string("metadata\0", 9);
  return manifest;
}

StoreOptions options_of_the_page() {
  StoreOptions options = small_options("/kv");
  options.owner = "owner";
  return options;
}

void write_file(storage::FileSystem& disk, const storage::Path& path, ByteSpan bytes) {
  auto file = std::move(*disk.open(path, {storage::OpenMode::kCreateReadWrite, false}));
  ASSERT_TRUE(file->write_at(0, bytes).has_value());
}

void write_golden(storage::FileSystem& disk) {
  ASSERT_TRUE(disk.make_directory(kToken).has_value());
  auto records = bytes_of(kRecords);
  records.resize(4096);
  ASSERT_NO_FATAL_FAILURE(write_file(disk, kToken / "records", records));
  ASSERT_NO_FATAL_FAILURE(write_file(disk, kToken / "MANIFEST", bytes_of(kManifest)));
}

// Promise: what is written is what the page says, byte for byte.
TEST(CheckpointFormat, BytesAreThoseOfThePage) {
  testing::FaultFileSystem disk(1);
  CheckpointDirectory directory(disk, "/kv");
  ASSERT_TRUE(directory.create(7).has_value());
  Manifest manifest = manifest_of_the_page();
  auto writer = std::move(*SnapshotWriter::create(directory, 7));
  writer->add(as_bytes("key"), as_bytes("value"));
  writer->add(as_bytes("and "), {});
  ASSERT_TRUE(writer->finish(manifest).has_value());
  ASSERT_TRUE(directory.publish(manifest).has_value());

  auto records = disk.content(kToken / "records");
  ASSERT_EQ(records.size(), 4096u);
  EXPECT_EQ(hex_of(ByteSpan(records).first(kRecords.size() / 2)), kRecords);
  for (const std::byte byte : ByteSpan(records).subspan(kRecords.size() / 2))
    ASSERT_EQ(byte, std::byte{0});
  EXPECT_EQ(hex_of(disk.content(kToken / "MANIFEST")), kManifest);
  EXPECT_EQ(disk.list(kToken).value(), (std::vector<std::string>{"MANIFEST", "records"}));
}

// Promise: such bytes open, whoever wrote them, and opening changes none of them.
TEST(CheckpointFormat, BytesOfThePageOpen) {
  testing::FaultFileSystem disk(1);
  ASSERT_NO_FATAL_FAILURE(write_golden(disk));
  const auto store = open_or_die(disk, options_of_the_page());
  ASSERT_NE(store, nullptr);
  EXPECT_EQ(contents(*store), (Model{{"key", "value"}, {"and ", ""}}));
  ASSERT_TRUE(store->recovered().has_value());
  const CheckpointInfo& info = *store->recovered();
  EXPECT_EQ(info.token, 7u);
  EXPECT_EQ(info.version, 5u);
  EXPECT_EQ(info.unix_time_ns, 123456789u);
  EXPECT_EQ(info.bytes, 4096u);
  EXPECT_EQ(info.live_records, 2u);
  EXPECT_EQ(point_of(info, 1), 10u);
  EXPECT_EQ(point_of(info, 2), 0xffffffff00u);
  EXPECT_EQ(info.user_metadata, std::string("metadata\0", 9));
  EXPECT_EQ(hex_of(disk.content(kToken / "MANIFEST")), kManifest);
}

// Promise: a manifest of a newer version is refused, by file and version, and nothing is written;
// also when an older checkpoint could be read.
TEST(CheckpointFormat, ANewerVersionIsRefusedAndNothingWritten) {
  testing::FaultFileSystem disk(1);
  ASSERT_NO_FATAL_FAILURE(write_golden(disk));
  const storage::Path newer = "/kv/checkpoints/00000000000000000008";
  ASSERT_TRUE(disk.make_directory(newer).has_value());
  ASSERT_TRUE(
      storage::replace_atomic_file(disk, newer / "MANIFEST", {storage::four_letters("KVCP"), 2}, {})
          .has_value());
  const auto before = disk.operations();
  const auto files = disk.files();
  const auto opened = Store::open(disk, options_of_the_page());
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(opened.error().message.find((newer / "MANIFEST").string()), std::string::npos)
      << opened.error().message;
  EXPECT_EQ(disk.operations(), before);
  EXPECT_EQ(disk.files(), files);
}

}  // namespace
}  // namespace tailrace::kv
