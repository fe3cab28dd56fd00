// The bytes of docs/formats/fasterkv.md. A failure here means that stores written by earlier
// programs no longer open: raise the version and read both.

#include "kv/checkpoint/chunk_file.h"
#include "kv/checkpoint/files.h"
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

// --- version 2 ---

constexpr std::string_view kManifest =
    "54524146"          // "TRAF"
    "CRC32C.."          // of the file
    "4b564350"          // "KVCP"
    "02000000"          // version of the format
    "3a01000000000000"  // content_bytes
    "0000000000000000"
    "0700000000000000"  // token
    "0500000000000000"  // version (CPR)
    "15cd5b0700000000"  // unix_time_ns
    "03000000"          // kind
    "00800000"          // page_bytes
    "0000010000000000"  // segment_bytes
    "0010000000000000"  // begin
    "1020000000000000"  // boundary
    "0030000000000000"  // flushed
    "0050000000000000"  // end
    "0008000000000000"  // index_buckets
    "0b00000000000000"  // live_records
    "6001000000000000"  // live_bytes
    "0060000000000000"  // bytes
    "0600000000000000"  // image: token
    "2010000000000000"  // from
    "0004000000000000"  // buckets
    "0200000000000000"  // overflow buckets
    "0100000000000000"  // chunks
    "0020010000000000"  // bytes
    "efbeadde"          // crc32c
    "08000000"          // index_tag_shift
    "02000000"          // snapshots
    "0500000000000000010000000000000000300000000000000403020100000000"
    "0700000000000000010000000000000000200000000000000807060500000000"
    "01000000"  // undone ranges
    "001000000000000000200000000000000300000000000000"
    "02000000"  // sessions: id, point
    "01000000000000000a00000000000000"
    "020000000000000000ffffffff000000"
    "05000000"  // owner
    "6f776e6572"
    "09000000"  // user_metadata
    "6d65746164617461"
    "00";

Manifest manifest_of_the_page() {
  Manifest manifest;
  manifest.owner = "owner";
  CheckpointInfo& info = manifest.info;
  info.token = 7;
  info.version = 5;
  info.kind = CheckpointKind::kIncremental;
  info.with_index = false;
  info.unix_time_ns = 123456789;
  info.points = {{1, 10}, {2, 0xffffffff00}};
  info.user_metadata = std::string("metadata\0", 9);
  info.bytes = 0x6000;
  info.live_records = 11;
  info.begin = 0x1000;
  info.end = 0x5000;
  manifest.page_bytes = 0x8000;
  manifest.segment_bytes = 0x10000;
  manifest.flushed = 0x3000;
  manifest.boundary = 0x2010;
  manifest.index_buckets = 2048;
  manifest.index_tag_shift = 8;
  manifest.live_bytes = 0x160;
  manifest.index = IndexImage{{6, 1, 0x12000, 0xdeadbeef}, 0x1020, 1024, 2};
  manifest.snapshots = {{5, 1, 0x3000, 0x01020304}, {7, 1, 0x2000, 0x05060708}};
  manifest.undone = {{0x1000, 0x2000, 3}};
  return manifest;
}

// Promise: the manifest is what the page says, byte for byte, and says so again when it is read.
TEST(CheckpointFormat, TheManifestIsThatOfThePage) {
  testing::FaultFileSystem disk(1);
  CheckpointDirectory directory(disk, "/kv");
  ASSERT_TRUE(directory.create(7).has_value());
  const Manifest manifest = manifest_of_the_page();
  ASSERT_TRUE(directory.publish(manifest).has_value());
  std::string hex = hex_of(disk.content(kToken / "MANIFEST"));
  hex.replace(8, 8, "CRC32C..");
  EXPECT_EQ(hex, kManifest);
  const auto read = directory.manifest(7);
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_EQ(read->format, 2u);
  EXPECT_EQ(read->owner, manifest.owner);
  EXPECT_EQ(read->info.kind, manifest.info.kind);
  EXPECT_EQ(read->info.points, manifest.info.points);
  EXPECT_EQ(read->info.user_metadata, manifest.info.user_metadata);
  EXPECT_EQ(read->info.with_index, false);
  EXPECT_EQ(read->index, manifest.index);
  EXPECT_EQ(read->snapshots, manifest.snapshots);
  ASSERT_EQ(read->undone.size(), 1u);
  EXPECT_EQ(read->undone[0].version, 3u);
  EXPECT_EQ(read->needed_tokens(), (std::vector<uint64_t>{6, 5}));
}

// Promise: what cannot be is damage, although the checksum matches.
TEST(CheckpointFormat, WhatCanNotBeIsDamage) {
  using Change = std::pair<const char*, std::function<void(Manifest&)>>;
  const std::vector<Change> changes = {
      {"version 0", [](Manifest& m) { m.info.version = 0; }},
      {"version", [](Manifest& m) { m.info.version = UINT32_MAX; }},
      {"session 1", [](Manifest& m) { m.info.points[1].session = 1; }},
      {"session 0", [](Manifest& m) { m.info.points[1].session = 0; }},
      {"serial", [](Manifest& m) { m.info.points[0].point = UINT64_MAX; }},
      {"page", [](Manifest& m) { m.page_bytes = 0x7000; }},
      {"page", [](Manifest& m) { m.segment_bytes = 0x4000; }},
      {"buckets", [](Manifest& m) { m.index_buckets = 3; }},
      {"tags", [](Manifest& m) { m.index_tag_shift = 12; }},
      {"tags", [](Manifest& m) { m.index_tag_shift = 51; }},
      {"tags", [](Manifest& m) { m.index_buckets = 1ull << 23; }},
      {"image", [](Manifest& m) { m.index_tag_shift = 11; }},
      {"log from", [](Manifest& m) { m.info.begin = 0; }},
      {"log from", [](Manifest& m) { m.info.begin = 0x4000; }},
      {"log from", [](Manifest& m) { m.info.begin = 0x1001; }},
      {"log from", [](Manifest& m) { m.flushed = 0x6000; }},
      {"log from", [](Manifest& m) { m.flushed = 0x3010; }},
      {"log from", [](Manifest& m) { m.info.end = 0x5010; }},
      {"log from", [](Manifest& m) { m.boundary = 0x800; }},
      {"log from", [](Manifest& m) { m.boundary = 0x5010; }},
      {"records", [](Manifest& m) { m.info.live_records = 0x401; }},
      {"image", [](Manifest& m) { m.index->file.token = 8; }},
      {"image", [](Manifest& m) { m.index->from = 0x5010; }},
      {"image", [](Manifest& m) { m.index->buckets = 4096; }},
      {"image", [](Manifest& m) { m.index->buckets = 1000; }},
      {"snapshot", [](Manifest& m) { m.snapshots[1].token = 8; }},
      {"snapshot", [](Manifest& m) { m.snapshots[0].token = 7; }},
      {"snapshots", [](Manifest& m) { m.snapshots.pop_back(); }},
      {"snapshots", [](Manifest& m) { m.snapshots.clear(); }},
      {"snapshots", [](Manifest& m) { m.flushed = m.info.end; }},
      {"undone", [](Manifest& m) { m.undone[0].to = 0x6000; }},
      {"undone", [](Manifest& m) { m.undone[0].to = 0x1000; }},
      {"undone",
       [](Manifest& m) {
         m.undone.push_back({0x1800, 0x2800, 4});
       }},
      {"unknown", [](Manifest& m) { m.info.kind = static_cast<CheckpointKind>(9); }},
  };
  int number = 0;
  for (const auto& [named, change] : changes) {
    SCOPED_TRACE(std::to_string(number++) + ", " + named);
    testing::FaultFileSystem disk(1);
    CheckpointDirectory directory(disk, "/kv");
    ASSERT_TRUE(directory.create(7).has_value());
    Manifest manifest = manifest_of_the_page();
    change(manifest);
    ASSERT_TRUE(directory.publish(manifest).has_value());
    const auto read = directory.manifest(7);
    ASSERT_FALSE(read.has_value());
    EXPECT_EQ(read.error().code, ErrorCode::kCorruption);
    EXPECT_NE(read.error().message.find(named), std::string::npos) << read.error().message;
    EXPECT_NE(read.error().message.find((kToken / "MANIFEST").string()), std::string::npos);
    StoreOptions options = small_options("/kv");
    options.owner = "owner";
    const auto opened = Store::open(disk, options);
    ASSERT_FALSE(opened.has_value());
    EXPECT_EQ(opened.error().code, ErrorCode::kCorruption);
  }
}

// Promise: a manifest that was put into another checkpoint's directory is noticed.
TEST(CheckpointFormat, AMisplacedManifestIsDamage) {
  testing::FaultFileSystem disk(1);
  CheckpointDirectory directory(disk, "/kv");
  ASSERT_TRUE(directory.create(7).has_value());
  ASSERT_TRUE(directory.create(8).has_value());
  ASSERT_TRUE(directory.publish(manifest_of_the_page()).has_value());
  ASSERT_TRUE(disk.rename(kToken / "MANIFEST", directory.manifest_path(8)).has_value());
  EXPECT_EQ(directory.manifest(8).error().code, ErrorCode::kCorruption);
  EXPECT_EQ(directory.manifest(7).error().code, ErrorCode::kNotFound);
}

// Promise: chunks are those of the page: full ones of 1 MiB, header block first, blocks with their
// addresses; and are read back as they were written.
TEST(CheckpointFormat, ChunksAreThoseOfThePage) {
  testing::FaultFileSystem disk(1);
  ASSERT_TRUE(disk.make_directory("/kv").has_value());
  constexpr uint64_t kBlocks = 255 * 9 + 3;
  auto writer = std::move(*ChunkWriter::create(disk, "/kv/snapshot", kSnapshotChunk, 7, 0));
  for (uint64_t block = 0; block < kBlocks; ++block) {
    auto room = writer->room();
    ASSERT_TRUE(room.has_value());
    ASSERT_EQ(room->size(), (255 - block % 255) * 4096);
    std::fill_n(room->begin(), 4096, static_cast<std::byte>(block));
    writer->took_block((block + 1) * 8192);
  }
  const auto file = writer->finish();
  ASSERT_TRUE(file.has_value());
  EXPECT_EQ(file->chunks, 10u);
  EXPECT_EQ(file->bytes, 9 * (1u << 20) + 4 * 4096u);
  const auto bytes = disk.content("/kv/snapshot");
  ASSERT_EQ(bytes.size(), file->bytes);
  std::string hex = hex_of(ByteSpan(bytes).subspan(9u << 20, 4096));
  hex.replace(8, 8, "CRC32C..");
  EXPECT_EQ(hex.substr(0, 2 * 96),
            "4b56534e"          // "KVSN"
            "CRC32C.."          // of bytes 8 to 4095 and the payload
            "0700000000000000"  // token
            "0900000000000000"  // number of the chunk
            "00300000"          // payload_bytes
            "03000000"          // blocks
            "0000000000000000000000000000000000000000000000000000000000000000"
            "00001f0100000000"  // addresses
            "00201f0100000000"
            "00401f0100000000"
            "0000000000000000");
  auto reader = std::move(*SnapshotReader::create(disk, "/kv/snapshot", *file));
  for (uint64_t block = 0; block < kBlocks; ++block) {
    const LogAddress address = (block + 1) * 8192;
    auto none = reader->next_below(address);
    ASSERT_TRUE(none.has_value() && !*none);
    auto found = reader->next_below(address + 1);
    ASSERT_TRUE(found.has_value() && *found);
    ASSERT_EQ((*found)->address, address);
    ASSERT_EQ((*found)->bytes[4095], static_cast<std::byte>(block));
  }
  auto end = reader->next_below(UINT64_MAX);
  ASSERT_TRUE(end.has_value());
  EXPECT_FALSE(end->has_value());
}

// --- version 1, which is only read ---

// Of `records`; zeros follow up to 4096.
constexpr std::string_view kLegacyRecords =
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

constexpr std::string_view kLegacyManifest =
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

StoreOptions options_of_the_page() {
  StoreOptions options = small_options("/kv");
  options.owner = "owner";
  return options;
}

void write_file(storage::FileSystem& disk, const storage::Path& path, ByteSpan bytes) {
  auto file = std::move(*disk.open(path, {storage::OpenMode::kCreateReadWrite, false}));
  ASSERT_TRUE(file->write_at(0, bytes).has_value());
}

void write_legacy(storage::FileSystem& disk) {
  ASSERT_TRUE(disk.make_directory(kToken).has_value());
  auto records = bytes_of(kLegacyRecords);
  records.resize(4096);
  ASSERT_NO_FATAL_FAILURE(write_file(disk, kToken / "records", records));
  ASSERT_NO_FATAL_FAILURE(write_file(disk, kToken / "MANIFEST", bytes_of(kLegacyManifest)));
}

// Promise: a checkpoint of version 1 opens by its pairs, and the next one is of version 2.
TEST(LegacyCheckpoint, OpensAndGoesOn) {
  testing::FaultFileSystem disk(1);
  ASSERT_NO_FATAL_FAILURE(write_legacy(disk));
  const auto info = [&] {
    const auto store = open_or_die(disk, options_of_the_page());
    EXPECT_EQ(contents(*store), (Model{{"key", "value"}, {"and ", ""}}));
    EXPECT_EQ(store->live_records(), 2u);
    EXPECT_TRUE(store->validate_checkpoint(7).has_value());
    EXPECT_EQ(hex_of(disk.content(kToken / "MANIFEST")), kLegacyManifest);
    auto session = session_or_die(*store, 1);
    EXPECT_EQ(session->last_serial(), 10u);
    EXPECT_TRUE(session->upsert(as_bytes("key"), as_bytes("new"), 11).has_value());
    session->refresh(11);
    EXPECT_TRUE(checkpoint(*store, CheckpointKind::kIncremental).has_value());
    return *store->recovered();
  }();
  EXPECT_EQ(info.token, 7u);
  EXPECT_EQ(info.version, 5u);
  EXPECT_EQ(info.unix_time_ns, 123456789u);
  EXPECT_EQ(info.live_records, 2u);
  EXPECT_EQ(point_of(info, 2), 0xffffffff00u);
  EXPECT_EQ(info.user_metadata, std::string("metadata\0", 9));

  const auto store = open_or_die(disk, options_of_the_page());
  EXPECT_EQ(store->recovered()->version, 6u);
  EXPECT_EQ(contents(*store), (Model{{"key", "new"}, {"and ", ""}}));
  EXPECT_EQ(store->checkpoints()->size(), 2u);
}

// Promise: damage in one is noticed before anything is changed; and one serves when the newer
// checkpoint, of version 2, is damaged.
TEST(LegacyCheckpoint, DamageAndFallback) {
  testing::FaultFileSystem disk(1);
  ASSERT_NO_FATAL_FAILURE(write_legacy(disk));
  disk.flip_bit(kToken / "records", 50, 3);
  const auto before = disk.operations();
  EXPECT_EQ(Store::open(disk, options_of_the_page()).error().code, ErrorCode::kCorruption);
  EXPECT_EQ(disk.operations(), before);
  disk.flip_bit(kToken / "records", 50, 3);
  {
    const auto store = open_or_die(disk, options_of_the_page());
    ASSERT_TRUE(checkpoint(*store).has_value());
  }
  disk.flip_bit("/kv/checkpoints/00000000000000000008/MANIFEST", 50, 3);
  const auto store = open_or_die(disk, options_of_the_page());
  EXPECT_EQ(store->recovered()->token, 7u);
  EXPECT_EQ(store->recovery_notes().size(), 1u);
  EXPECT_EQ(contents(*store), (Model{{"key", "value"}, {"and ", ""}}));
}

// Promise: a manifest of a newer version is refused, by file and version, and nothing is written;
// also when an older checkpoint could be read.
TEST(CheckpointFormat, ANewerVersionIsRefusedAndNothingWritten) {
  testing::FaultFileSystem disk(1);
  ASSERT_NO_FATAL_FAILURE(write_legacy(disk));
  const storage::Path newer = "/kv/checkpoints/00000000000000000008";
  ASSERT_TRUE(disk.make_directory(newer).has_value());
  ASSERT_TRUE(
      storage::replace_atomic_file(disk, newer / "MANIFEST", {storage::four_letters("KVCP"), 3}, {})
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

// Promise: a log cut into other pages is refused by name, not misread.
TEST(CheckpointFormat, OtherPagesAreRefused) {
  testing::FaultFileSystem disk(1);
  StoreOptions options = options_of_the_page();
  {
    const auto store = open_or_die(disk, options);
    ASSERT_TRUE(checkpoint(*store).has_value());
  }
  options.page_bytes /= 2;
  const auto opened = Store::open(disk, options);
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::kFailedPrecondition);
  EXPECT_NE(opened.error().message.find("page_bytes = 1048576"), std::string::npos)
      << opened.error().message;
}

}  // namespace
}  // namespace tailrace::kv
