// The bytes of an event file. golden/ has one as it is written now: whoever changes the bytes of
// what exists breaks the comparison of digests between nodes of two versions.
//
//   TAILRACE_REWRITE=1 build/release/tests/history_test --gtest_filter='EventFileFormat.*'

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "core/varint.h"
#include "history/format/file_name.h"
#include "history/format/layout.h"
#include "storage/crc32c.h"
#include "tests/history/history_support.h"

namespace tailrace::history {
namespace {

using testing::FaultFileSystem;

Events golden_events() {
  return {{.stream = "order-1",
           .type = "placed",
           .data = "{\"total\":7}",
           .version = 0,
           .position = 120,
           .record = 64,
           .epoch = 1,
           .time_ns = 1'700'000'000'000'000'000,
           .id = statemachine::EventIdBytes{std::byte{1}, std::byte{2}},
           .tags = {"eu", "vip"},
           .content_type = statemachine::ContentType::kJson},
          {.stream = "order-2",
           .type = "placed",
           .metadata = "{}",
           .data = "x",
           .version = 5,
           .position = 150,
           .record = 64,
           .epoch = 1,
           .time_ns = 1'700'000'000'000'000'000,
           .tags = {"eu"}},
          {.stream = "order-1",
           .data = std::string(300, 'y'),
           .version = 1,
           .position = 700,
           .record = 600,
           .epoch = 2,
           .time_ns = 1'699'999'999'000'000'000},
          {.stream = "single",
           .version = 9,
           .position = 5000,
           .record = 4096,
           .epoch = 2,
           .time_ns = 1'700'000'001'000'000'000}};
}

Floors golden_floors() {
  return {{"order-1", 1}, {"order-3", 300}, {"single", 9}};
}

EventFileOptions golden_options() {
  EventFileOptions options;
  options.cluster = {1, 2};
  options.revision = 3;
  options.compression = Compression::kNone;
  return options;
}

TEST(EventFileFormat, BytesAreAsBefore) {
  FaultFileSystem disk(1);
  const auto info = write_file(disk, golden_events(), golden_options(), Address{64}, Address{8192},
                               golden_floors());
  ASSERT_TRUE(info);
  const auto bytes = disk.content(storage::Path(kDirectory) / name_of(*info));
  const std::filesystem::path folder = TAILRACE_EVENT_FILES;
  if (std::getenv("TAILRACE_REWRITE") != nullptr) {
    for (const auto& entry : std::filesystem::directory_iterator(folder))
      std::filesystem::remove(entry.path());
    std::ofstream file(folder / name_of(*info), std::ios::binary);
    file << as_text(bytes);
  }
  std::ifstream file(folder / name_of(*info), std::ios::binary);
  ASSERT_TRUE(file) << "no golden file has the name " << name_of(*info);
  const std::string golden((std::istreambuf_iterator<char>(file)), {});
  EXPECT_TRUE(as_text(bytes) == golden);
}

TEST(EventFileFormat, TheGoldenFileIsRead) {
  FaultFileSystem disk(1);
  ASSERT_TRUE(disk.make_directory(kDirectory));
  BlockCache cache(1u << 20);
  for (const auto& entry : std::filesystem::directory_iterator(TAILRACE_EVENT_FILES)) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string golden((std::istreambuf_iterator<char>(file)), {});
    const storage::Path path = storage::Path(kDirectory) / entry.path().filename();
    ASSERT_TRUE(disk.open(path, {storage::OpenMode::kCreateReadWrite})
                    .value()
                    ->write_at(0, as_bytes(golden)));
    const auto opened = EventFile::open(disk, path, cache);
    ASSERT_TRUE(opened) << opened.error().message;
    const EventFileSummary& summary = (*opened)->summary();
    EXPECT_EQ(summary.info, parse_file_name(path.filename().string()));
    EXPECT_EQ(summary.cluster, (ClusterIdentity{1, 2}));
    EXPECT_EQ(summary.epoch, Epoch{2});
    EXPECT_EQ(summary.first_position, Address{120});
    EXPECT_EQ(summary.last_position, Address{5000});
    EXPECT_EQ(summary.least_time_ns, 1'699'999'999'000'000'000u);
    EXPECT_EQ(summary.greatest_time_ns, 1'700'000'001'000'000'000u);
    EXPECT_TRUE((*opened)->verify());
    EXPECT_EQ(read_all((*opened)->events(Address{}, Order::kForwards)).value(), golden_events());
    EXPECT_EQ(summary.floors, 3u);
    EXPECT_EQ(read_floors(**opened).value(), golden_floors());
  }
}

// An older program must not read, or drop as damaged, what it does not know.
TEST(EventFileFormat, ANewerFormatIsUnsupported) {
  FaultFileSystem disk(1);
  const auto info = write_file(disk, golden_events(), golden_options(), Address{64}, Address{8192});
  ASSERT_TRUE(info);
  const storage::Path path = storage::Path(kDirectory) / name_of(*info);
  auto bytes = disk.content(path);
  auto head = load<FileHead>(bytes.data());
  head.version = kEventFileVersion + 1;
  head.crc = crc32c(std::as_bytes(std::span(&head, 1)).subspan(offsetof(FileHead, version)));
  store(bytes.data(), head);
  ASSERT_TRUE(disk.open(path, {storage::OpenMode::kReadWrite}).value()->write_at(0, bytes));
  BlockCache cache(0);
  const auto opened = EventFile::open(disk, path, cache);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kUnsupported) << opened.error().message;
}

// The digest says what a file holds, and nothing of how it was written.
TEST(EventFileFormat, TheDigestIsOfTheContentAlone) {
  const auto digest_of = [](const Events& events, EventFileOptions options, Address to,
                            const Floors& floors = golden_floors()) {
    FaultFileSystem disk(1);
    return write_file(disk, events, options, Address{64}, to, floors).value().digest;
  };
  const ContentDigest digest = digest_of(golden_events(), golden_options(), Address{8192});
  EventFileOptions options = golden_options();
  options.compression = Compression::kZstd;
  options.cluster = {};
  EXPECT_EQ(digest_of(golden_events(), options, Address{8192}), digest);
  EXPECT_NE(digest_of(golden_events(), options, Address{8193}), digest);
  Events events = golden_events();
  events[1].data = "z";
  EXPECT_NE(digest_of(events, options, Address{8192}), digest);
  Floors floors = golden_floors();
  floors["single"] = 10;
  EXPECT_NE(digest_of(golden_events(), options, Address{8192}, floors), digest);
  EXPECT_NE(digest_of(golden_events(), options, Address{8192}, {}), digest);
}

TEST(EventFileFormat, NumbersAreReadAsTheyWereWritten) {
  std::vector<std::byte> bytes;
  for (int bit = 0; bit < 64; ++bit)
    for (const uint64_t value :
         {uint64_t{1} << bit, (uint64_t{1} << bit) - 1, ~(uint64_t{1} << bit)}) {
      bytes.clear();
      append_varint(bytes, value);
      PackedReader reader(bytes);
      EXPECT_EQ(reader.varint(), value);
      EXPECT_TRUE(reader.is_sound() && reader.at_end());
      EXPECT_EQ(from_zigzag(zigzag(value)), value);
      PackedReader cut(ByteSpan(bytes).first(bytes.size() - 1));
      (void)cut.varint();
      EXPECT_FALSE(cut.is_sound());
    }
  for (const std::initializer_list<int> wrong :
       {std::initializer_list<int>{0x80, 0},
        {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2}}) {
    bytes.clear();
    for (const int byte : wrong)
      bytes.push_back(static_cast<std::byte>(byte));
    PackedReader reader(bytes);
    (void)reader.varint();
    EXPECT_FALSE(reader.is_sound());
  }
}

}  // namespace
}  // namespace tailrace::history
