// Damage is found: whatever byte of a file changes, no reader gets anything else than what was
// written, and verify() says where it is.
#include <algorithm>

#include "history/format/file_name.h"
#include "history/format/layout.h"
#include "storage/crc32c.h"
#include "tests/history/history_support.h"

namespace tailrace::history {
namespace {

using testing::FaultFileSystem;

struct SmallFile {
  explicit SmallFile(Compression compression) {
    Random random(4);
    events = random_events(random, {.count = 12, .streams = 4, .most_data = 60});
    const auto info = write_file(disk, events, compression, floors);
    EXPECT_TRUE(info);
    path = storage::Path(kDirectory) / name_of(*info);
    bytes = disk.content(path).size();
  }
  FaultFileSystem disk{1};
  Events events;
  Floors floors{{"c0-5", 7}, {"c1-1", 900}, {"gone", 1}};
  storage::Path path;
  uint64_t bytes = 0;
};

/// Whatever can be read is what was written. Returns whether anything failed.
bool reads_nothing_else(const EventFile& file, const Events& events, const Floors& floors) {
  bool failed = false;
  const auto expect = [&](const Result<Events>& found, auto is_wanted) {
    if (!found) {
      EXPECT_EQ(found.error().code, ErrorCode::kCorruption) << found.error().message;
      EXPECT_NE(found.error().message.find("at byte"), std::string::npos) << found.error().message;
      failed = true;
      return;
    }
    Events wanted;
    std::copy_if(events.begin(), events.end(), std::back_inserter(wanted), is_wanted);
    EXPECT_EQ(*found, wanted);
  };
  expect(read_all(file.events(Address{}, Order::kForwards)), [](auto&) { return true; });
  for (const char* tag : {"tag:0", "tag:1", "tag:2", "tag:3", "tag:4", "tag:5"})
    expect(read_all(file.events_of(IndexKind::kTag, tag, Address{}, Order::kForwards)),
           [&](const OwnedEvent& each) {
             return std::count(each.tags.begin(), each.tags.end(), tag) > 0;
           });
  for (const OwnedEvent& event : events)
    expect(read_all(file.events_of_stream(event.stream, event.version, Order::kForwards)),
           [&](const OwnedEvent& each) {
             return each.stream == event.stream && each.version >= event.version;
           });
  if (const auto found = read_floors(file)) {
    EXPECT_EQ(*found, floors);
  } else {
    EXPECT_EQ(found.error().code, ErrorCode::kCorruption) << found.error().message;
    EXPECT_NE(found.error().message.find("at byte"), std::string::npos) << found.error().message;
    failed = true;
  }
  return failed;
}

TEST(EventFileDamage, EachBitIsFoundAndNothingElseIsRead) {
  for (const Compression compression : {Compression::kNone, Compression::kZstd}) {
    SmallFile small(compression);
    ASSERT_LT(small.bytes, 4000u);
    for (uint64_t byte = 0; byte < small.bytes; ++byte) {
      const int bit = static_cast<int>(byte * 5 % 8);
      SCOPED_TRACE("bit " + std::to_string(bit) + " of byte " + std::to_string(byte));
      small.disk.flip_bit(small.path, byte, bit);
      BlockCache cache(1u << 20);
      const auto file = EventFile::open(small.disk, small.path, cache);
      if (file) {
        const auto verified = (*file)->verify();
        ASSERT_FALSE(verified) << "verify() does not see it";
        EXPECT_EQ(verified.error().code, ErrorCode::kCorruption) << verified.error().message;
        EXPECT_NE(verified.error().message.find(small.path.string()), std::string::npos);
        EXPECT_TRUE(reads_nothing_else(**file, small.events, small.floors)) << "all could be read";
      } else {
        EXPECT_EQ(file.error().code, ErrorCode::kCorruption) << file.error().message;
        EXPECT_NE(file.error().message.find("at byte"), std::string::npos) << file.error().message;
      }
      small.disk.flip_bit(small.path, byte, bit);
    }
  }
}

TEST(EventFileDamage, DamageAfterOpeningIsFound) {
  SmallFile small(Compression::kNone);
  for (uint64_t byte = 0; byte < small.bytes; ++byte) {
    BlockCache cache(1u << 20);
    const auto file = EventFile::open(small.disk, small.path, cache);
    ASSERT_TRUE(file);
    small.disk.flip_bit(small.path, byte, 0);
    EXPECT_FALSE((*file)->verify()) << byte;
    (void)reads_nothing_else(**file, small.events, small.floors);
    small.disk.flip_bit(small.path, byte, 0);
  }
}

TEST(EventFileDamage, AFileThatIsCutOffIsKnown) {
  SmallFile small(Compression::kZstd);
  for (uint64_t bytes = small.bytes; bytes-- > 0;) {
    ASSERT_TRUE(
        small.disk.open(small.path, {storage::OpenMode::kReadWrite}).value()->truncate(bytes));
    BlockCache cache(0);
    const auto file = EventFile::open(small.disk, small.path, cache);
    ASSERT_FALSE(file) << bytes;
    EXPECT_EQ(file.error().code, ErrorCode::kCorruption);
  }
}

// Checksums keep no liar out: verify() compares the events with the digest, the index with the
// events.
TEST(EventFileDamage, ALieUnderASoundChecksumIsFound) {
  SmallFile small(Compression::kNone);
  const auto sound = small.disk.content(small.path);
  const auto foot = load<FileFoot>(sound.data() + sound.size() - sizeof(FileFoot));
  ASSERT_EQ(foot.blocks, 1u);
  ASSERT_EQ(foot.leaves, 1u);
  // The first block, whose last bytes are data; the leaf, whose last are an item's list; and the
  // block of floors, whose last is a version.
  for (const uint64_t at : {uint64_t{sizeof(FileHead)}, foot.leaves_at, foot.floors_at}) {
    auto bytes = sound;
    auto head = load<BlockHead>(bytes.data() + at);
    const uint64_t last = at + sizeof head + head.stored_bytes - 1;
    bytes[last] ^= std::byte{1};
    head.crc = crc32c(ByteSpan(bytes).subspan(at + sizeof head.crc,
                                              sizeof head - sizeof head.crc + head.stored_bytes));
    store(bytes.data() + at, head);
    ASSERT_TRUE(
        small.disk.open(small.path, {storage::OpenMode::kReadWrite}).value()->write_at(0, bytes));
    BlockCache cache(0);
    const auto file = EventFile::open(small.disk, small.path, cache);
    ASSERT_TRUE(file);
    const auto verified = (*file)->verify();
    ASSERT_FALSE(verified) << "of the block at " << at;
    EXPECT_EQ(verified.error().code, ErrorCode::kCorruption) << verified.error().message;
  }
}

// A cursor that went on behind a damaged block would pass over events in silence.
TEST(EventFileDamage, ACursorStaysFailed) {
  Random random(5);
  const Events events = random_events(random);
  FaultFileSystem disk(1);
  const auto info = write_file(disk, events, Compression::kNone);
  ASSERT_TRUE(info);
  const storage::Path path = storage::Path(kDirectory) / name_of(*info);
  disk.flip_bit(path, 100'000, 3);
  BlockCache cache(0);
  const auto file = EventFile::open(disk, path, cache);
  ASSERT_TRUE(file);
  EventCursor cursor = (*file)->events(Address{}, Order::kForwards);
  size_t count = 0;
  auto next = cursor.next();
  for (; next; next = cursor.next(), ++count)
    ASSERT_EQ(OwnedEvent::of(**next), events[count]);
  EXPECT_GT(count, 0u);
  for (size_t again = 0; again < events.size(); ++again) {
    const auto later = cursor.next();
    ASSERT_FALSE(later) << "it goes on behind the damage";
    ASSERT_EQ(later.error(), next.error());
  }
  EXPECT_TRUE(read_all((*file)->events(Address::max(), Order::kBackwards)).error().message ==
              next.error().message);
}

}  // namespace
}  // namespace tailrace::history
