// The catalogue of a directory of event files.
#include "history/catalogue.h"

#include <algorithm>

#include "history/format/file_name.h"
#include "tests/history/history_support.h"

namespace tailrace::history {
namespace {

using testing::CrashPolicy;
using testing::FaultFileSystem;

std::unique_ptr<Catalogue> open_catalogue(FaultFileSystem& disk) {
  auto catalogue = Catalogue::open(disk, kDirectory);
  EXPECT_TRUE(catalogue) << catalogue.error().message;
  return catalogue ? std::move(*catalogue) : nullptr;
}

EventFileInfo write_range(FaultFileSystem& disk, uint64_t from, uint64_t to, uint32_t revision = 0,
                          size_t events = 5) {
  Random random(from + revision);
  EventFileOptions options;
  options.revision = revision;
  Events all;
  for (size_t i = 0; i < events; ++i)
    all.push_back({.stream = "s", .version = i, .position = from + 2 + i, .record = from + 1});
  const auto info = write_file(disk, all, options, Address{from}, Address{to});
  EXPECT_TRUE(info) << info.error().message;
  return info.value_or(EventFileInfo{});
}

void make_file(FaultFileSystem& disk, const std::string& name) {
  ASSERT_TRUE(disk.make_directory(kDirectory));
  ASSERT_TRUE(disk.open(storage::Path(kDirectory) / name, {storage::OpenMode::kCreateReadWrite}));
}

TEST(EventFileNames, SayAllAndNothingElseIsOne) {
  const EventFileInfo info{{Address{64}, Address{0x123456789abcdef0}}, 7, {1, ~uint64_t{0}}, 4096};
  EXPECT_EQ(name_of(info),
            "0000000000000040-123456789abcdef0.00000007.0000000000000001ffffffffffffffff."
            "0000000000001000.events");
  EXPECT_EQ(parse_file_name(name_of(info)), info);
  std::string name = name_of(info);
  for (size_t at = 0; at < name.size(); ++at) {
    std::string changed = name;
    changed[at] = 'g';
    EXPECT_FALSE(parse_file_name(changed)) << changed;
    changed.erase(at, 1);
    EXPECT_FALSE(parse_file_name(changed)) << changed;
  }
  EXPECT_FALSE(parse_file_name(name + "x"));
  EXPECT_FALSE(parse_file_name(name_of({{Address{5}, Address{5}}, 0, {}, 0})));
}

TEST(Catalogue, FindsFilesGapsAndTheEnd) {
  FaultFileSystem disk(1);
  const EventFileInfo first = write_range(disk, 64, 1000), second = write_range(disk, 1000, 2000),
                      last = write_range(disk, 5000, 6000);
  const auto catalogue = open_catalogue(disk);
  EXPECT_EQ(catalogue->files(), (std::vector{first, second, last}));
  EXPECT_EQ(catalogue->total_bytes(), first.bytes + second.bytes + last.bytes);
  EXPECT_EQ(catalogue->end(), Address{6000});
  EXPECT_EQ(catalogue->find(Address{64}), first);
  EXPECT_EQ(catalogue->find(Address{999}), first);
  EXPECT_EQ(catalogue->find(Address{1000}), second);
  EXPECT_EQ(catalogue->find(Address{2000}), std::nullopt);
  EXPECT_EQ(catalogue->find(Address{63}), std::nullopt);
  EXPECT_EQ(catalogue->first_behind(Address{2000}), last);
  EXPECT_EQ(catalogue->first_behind(Address{6000}), std::nullopt);
  using Gaps = std::vector<AddressRange>;
  EXPECT_EQ(catalogue->gaps({Address{64}, Address{7000}}),
            (Gaps{{Address{2000}, Address{5000}}, {Address{6000}, Address{7000}}}));
  EXPECT_EQ(catalogue->gaps({Address{0}, Address{1500}}), (Gaps{{Address{0}, Address{64}}}));
  EXPECT_EQ(catalogue->gaps({Address{2500}, Address{3000}}),
            (Gaps{{Address{2500}, Address{3000}}}));
}

TEST(Catalogue, OpensNoFile) {
  FaultFileSystem disk(1);
  for (uint64_t i = 0; i < 2000; ++i)
    make_file(disk, name_of({{Address{i * 10}, Address{i * 10 + 10}}, 0, {i, i}, 1u << 20}));
  const uint64_t reads = disk.reads();
  const auto catalogue = open_catalogue(disk);
  EXPECT_EQ(catalogue->files().size(), 2000u);
  EXPECT_LE(disk.reads(), reads + 1) << "of EMPTY";
  BlockCache cache(0);
  EXPECT_FALSE(catalogue->open_file(catalogue->files()[7], cache));
}

TEST(Catalogue, RefusesWhatOverlapsAndNamesBoth) {
  FaultFileSystem disk(1);
  const EventFileInfo one = write_range(disk, 64, 1000), other = write_range(disk, 500, 2000);
  const auto opened = Catalogue::open(disk, kDirectory);
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message.find(name_of(one)), std::string::npos);
  EXPECT_NE(opened.error().message.find(name_of(other)), std::string::npos);
  ASSERT_TRUE(disk.remove(storage::Path(kDirectory) / name_of(other)));
  const auto catalogue = open_catalogue(disk);
  const auto added = catalogue->add(other);
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code, ErrorCode::kFailedPrecondition);
  make_file(disk, "notes.events");
  EXPECT_FALSE(Catalogue::open(disk, kDirectory));
}

TEST(Catalogue, TheHigherRevisionOfARangeStays) {
  FaultFileSystem disk(1);
  const EventFileInfo old = write_range(disk, 64, 1000);
  (void)write_range(disk, 64, 1000, 1, 4);
  const EventFileInfo latest = write_range(disk, 64, 1000, 2, 3);
  {
    const auto catalogue = open_catalogue(disk);
    EXPECT_EQ(catalogue->files(), std::vector{latest});
    EXPECT_EQ(catalogue->total_bytes(), latest.bytes);
    EXPECT_EQ(disk.files().size(), 1u) << "what was replaced still takes room";
    EXPECT_FALSE(catalogue->add(old));
  }
  const auto catalogue = open_catalogue(disk);
  const EventFileInfo next = write_range(disk, 64, 1000, 3, 2);
  ASSERT_TRUE(catalogue->add(next));
  EXPECT_EQ(catalogue->files(), std::vector{next});
  EXPECT_EQ(disk.files().size(), 1u);
}

TEST(Catalogue, RemovesWhatWasNotFinished) {
  FaultFileSystem disk(1);
  const EventFileInfo info = write_range(disk, 64, 1000);
  make_file(disk, "00000000000003e8.00000000.tmp");
  EXPECT_EQ(open_catalogue(disk)->files(), std::vector{info});
  EXPECT_EQ(disk.files().size(), 1u);
}

// The log is truncated by what the catalogue says: so no power cut may take it back.
TEST(Catalogue, WhatItHasIsDurable) {
  FaultFileSystem counting(1);
  const EventFileInfo info = write_range(counting, 64, 1000);
  FaultFileSystem disk(1);
  // The last operation syncs the directory.
  disk.fail_at(counting.operations() - 1, testing::FaultKind::kPowerCut);
  EXPECT_FALSE(write_file(disk, {{.stream = "s", .position = 66, .record = 65}}, {}, Address{64},
                          Address{1000}));
  disk.crash(CrashPolicy::kProcessEnds);
  const auto files = open_catalogue(disk)->files();
  ASSERT_EQ(files.size(), 1u);
  disk.crash(CrashPolicy::kLoseUnsynced);
  EXPECT_EQ(open_catalogue(disk)->files(), files);
  EXPECT_EQ(info.range, files[0].range);
}

TEST(Catalogue, ADroppedFileIsKeptUntilAnotherComes) {
  FaultFileSystem disk(1), other(2);
  const EventFileInfo info = write_range(disk, 64, 1000), same = write_range(other, 64, 1000);
  ASSERT_EQ(info, same);
  disk.flip_bit(storage::Path(kDirectory) / name_of(info), 60, 1);
  BlockCache cache(0);
  auto catalogue = open_catalogue(disk);
  ASSERT_TRUE(catalogue->drop(info));
  disk.crash(CrashPolicy::kLoseUnsynced);
  catalogue = open_catalogue(disk);
  EXPECT_TRUE(catalogue->files().empty());
  EXPECT_EQ(catalogue->total_bytes(), 0u);
  EXPECT_EQ(disk.files().size(), 1u) << "what was damaged is lost";
  const auto copy = [&](bool damaged) {
    const storage::Path path = storage::Path(kDirectory) / "fetched.tmp";
    auto bytes = other.content(storage::Path(kDirectory) / name_of(same));
    if (damaged) bytes[70] ^= std::byte{4};
    const auto file = disk.open(path, {storage::OpenMode::kCreateReadWrite});
    EXPECT_TRUE(file && (*file)->write_at(0, bytes));
    return path;
  };
  const auto refused = catalogue->adopt(copy(true), cache);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kCorruption);
  EXPECT_EQ(disk.files().size(), 1u);
  EXPECT_EQ(catalogue->adopt(copy(false), cache).value(), info);
  EXPECT_EQ(disk.files().size(), 1u) << "the damaged one takes room";
  disk.crash(CrashPolicy::kLoseUnsynced);
  catalogue = open_catalogue(disk);
  EXPECT_EQ(catalogue->files(), std::vector{info});
  EXPECT_TRUE(catalogue->open_file(info, cache).value()->verify());
}

TEST(Catalogue, ANameThatLiesIsRefused) {
  FaultFileSystem disk(1);
  EventFileInfo info = write_range(disk, 64, 1000);
  const storage::Path path = storage::Path(kDirectory) / name_of(info);
  info.digest.low ^= 1;
  ASSERT_TRUE(disk.rename(path, storage::Path(kDirectory) / name_of(info)));
  BlockCache cache(0);
  const auto opened = open_catalogue(disk)->open_file(info, cache);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kCorruption);
}

// A log without events gives no files; where it was read is known all the same.
TEST(Catalogue, AnEmptyStretchIsNotedAndTheNextFileTakesItIn) {
  FaultFileSystem disk(1);
  auto catalogue = open_catalogue(disk);
  ASSERT_TRUE(catalogue->note_empty(Address{64}, Address{500}));
  ASSERT_TRUE(catalogue->note_empty(Address{500}, Address{900}));
  EXPECT_FALSE(catalogue->note_empty(Address{800}, Address{1100})) << "backwards";
  disk.crash(CrashPolicy::kLoseUnsynced);
  catalogue = open_catalogue(disk);
  EXPECT_EQ(catalogue->end(), Address{900});
  EXPECT_EQ(catalogue->next_begin(), Address{64});
  EXPECT_TRUE(catalogue->gaps({Address{64}, Address{900}}).empty());
  const EventFileInfo info = write_range(disk, 64, 1200);
  ASSERT_TRUE(catalogue->add(info));
  EXPECT_EQ(catalogue->end(), Address{1200});
  EXPECT_EQ(catalogue->next_begin(), Address{1200});
  ASSERT_TRUE(catalogue->note_empty(Address{1200}, Address{1300}));
  EXPECT_TRUE(catalogue->gaps({Address{64}, Address{1300}}).empty());
  catalogue = open_catalogue(disk);
  EXPECT_EQ(catalogue->next_begin(), Address{1200});
  ASSERT_TRUE(catalogue->note_empty(Address{2000}, Address{2100})) << "the log begins anew";
  EXPECT_EQ(catalogue->next_begin(), Address{2000});
  EXPECT_EQ(catalogue->gaps({Address{64}, Address{2100}}),
            (std::vector<AddressRange>{{Address{1200}, Address{2000}}}));
}

}  // namespace
}  // namespace tailrace::history
