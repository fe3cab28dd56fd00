// What was written is what is read, whichever way: compared with a vector of the same events.
#include <algorithm>
#include <map>

#include "history/format/file_name.h"
#include "tests/history/history_support.h"

namespace tailrace::history {
namespace {

using testing::FaultFileSystem;

/// The events for which `is_wanted` holds, as a cursor is to give them.
template <typename Wanted>
Events expected(const Events& events, Order order, Wanted is_wanted) {
  Events found;
  std::copy_if(events.begin(), events.end(), std::back_inserter(found), is_wanted);
  if (order == Order::kBackwards) std::reverse(found.begin(), found.end());
  return found;
}

bool is_of(const OwnedEvent& event, IndexKind kind, const std::string& name) {
  switch (kind) {
    case IndexKind::kStream:
      return event.stream == name;
    case IndexKind::kCategory:
      return category_of(event.stream) == name;
    case IndexKind::kType:
      return event.type == name;
    case IndexKind::kTag:
      return std::count(event.tags.begin(), event.tags.end(), name) > 0;
  }
  return false;
}

/// Positions at, beside and between those of events.
Address some_position(const Events& events, Random& random) {
  if (events.empty() || random.chance(1, 10))
    return random.chance(1, 2) ? Address{} : Address::max();
  return Address{events[random.below(events.size())].position + random.below(3) - 1};
}

std::string name_for(IndexKind kind, const Events& events, Random& random) {
  const OwnedEvent& event = events[random.below(events.size())];
  switch (kind) {
    case IndexKind::kStream:
      return event.stream;
    case IndexKind::kCategory:
      return std::string(category_of(event.stream));
    case IndexKind::kType:
      return event.type.empty() ? "type0" : event.type;
    case IndexKind::kTag:
      return event.tags.empty() ? "tag:0" : event.tags.front();
  }
  return {};
}

void expect_reads(const EventFile& file, const Events& events, Random& random, int reads) {
  for (const Order order : {Order::kForwards, Order::kBackwards}) {
    const bool forwards = order == Order::kForwards;
    for (int read = 0; read < reads; ++read) {
      const Address from =
          read == 0 ? (forwards ? Address{} : Address::max()) : some_position(events, random);
      const auto reached = [&](const OwnedEvent& each) {
        return forwards ? each.position >= from.value : each.position <= from.value;
      };
      const auto all = read_all(file.events(from, order));
      ASSERT_TRUE(all) << all.error().message;
      ASSERT_EQ(*all, expected(events, order, reached)) << "from " << from.value;
      if (events.empty()) continue;
      const auto kind = IndexKind{static_cast<uint8_t>(random.between(1, 4))};
      const std::string name = name_for(kind, events, random);
      const auto some = read_all(file.events_of(kind, name, from, order));
      ASSERT_TRUE(some) << some.error().message;
      ASSERT_EQ(*some, expected(events, order,
                                [&](const OwnedEvent& each) {
                                  return reached(each) && is_of(each, kind, name);
                                }))
          << name << " from " << from.value;
      const OwnedEvent& near = events[random.below(events.size())];
      const uint64_t version = near.version + random.below(3) - 1;
      const auto of_stream = read_all(file.events_of_stream(near.stream, version, order));
      ASSERT_TRUE(of_stream) << of_stream.error().message;
      ASSERT_EQ(*of_stream,
                expected(events, order,
                         [&](const OwnedEvent& each) {
                           return each.stream == near.stream &&
                                  (forwards ? each.version >= version : each.version <= version);
                         }))
          << near.stream << " from version " << version;
    }
  }
}

/// Names that share begins, some of the events' streams, and enough of them for several blocks.
Floors random_floors(Random& random) {
  Floors floors;
  for (uint64_t left = random.chance(1, 4) ? 6'000 : random.below(30); left > 0; --left) {
    std::string name = "c" + std::to_string(random.below(5)) + "-" +
                       std::to_string(random.below(random.chance(1, 2) ? 20 : 1'000'000));
    name.resize(name.size() + (random.chance(1, 50) ? 1000 : 0), 'n');
    floors[name] = random.between(1, random.chance(1, 2) ? 9 : ~uint64_t{0} - 1);
  }
  return floors;
}

void expect_file(const RandomEvents& shape, Random& random, int reads) {
  const Events events = random_events(random, shape);
  const Floors floors = random_floors(random);
  std::optional<ContentDigest> digest;
  for (const Compression compression : {Compression::kNone, Compression::kZstd}) {
    FaultFileSystem disk(1);
    const auto info = write_file(disk, events, compression, floors);
    ASSERT_TRUE(info) << info.error().message;
    EXPECT_EQ(info->digest, digest.value_or(info->digest)) << "compression changes the digest";
    digest = info->digest;
    BlockCache cache(random.chance(1, 2) ? 0 : 4u << 20);
    const auto file = EventFile::open(disk, storage::Path(kDirectory) / name_of(*info), cache);
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_EQ((*file)->summary().info, *info);
    EXPECT_EQ((*file)->summary().events, events.size());
    const auto verified = (*file)->verify();
    EXPECT_TRUE(verified) << verified.error().message;
    expect_reads(**file, events, random, reads);
    const auto told = read_floors(**file);
    ASSERT_TRUE(told) << told.error().message;
    EXPECT_EQ(*told, floors);
    EXPECT_EQ((*file)->summary().floors, floors.size());
  }
}

TEST(EventFileModel, AllReadsGiveWhatWasWritten) {
  Random random(seed_of_test());
  for (int round = 0; round < 6; ++round)
    expect_file({.count = random.below(600), .streams = random.between(1, 60)}, random, 12);
}

// An item of the index has 4,096 entries at most, and a leaf ends after 16 KiB.
TEST(EventFileModel, NamesWithManyEventsAndManyNamesAreFound) {
  Random random(seed_of_test());
  expect_file({.count = 20'000, .streams = 1, .most_data = 3}, random, 3);
  expect_file({.count = 9'000, .streams = 5'000, .most_data = 3}, random, 6);
}

// A long stream has many leaves of the index; whoever reads it page by page looks its place up in
// them each time.
TEST(EventFileModel, AnyVersionOfALongStreamIsFound) {
  Random random(seed_of_test());
  const Events events = random_events(random, {.count = 60'000, .streams = 3, .most_data = 3});
  FaultFileSystem disk(1);
  const auto info = write_file(disk, events, Compression::kZstd);
  ASSERT_TRUE(info) << info.error().message;
  BlockCache cache(4u << 20);
  const auto file = EventFile::open(disk, storage::Path(kDirectory) / name_of(*info), cache);
  ASSERT_TRUE(file) << file.error().message;
  std::map<std::string, std::map<uint64_t, OwnedEvent>> streams;
  for (const OwnedEvent& event : events)
    streams[event.stream].emplace(event.version, event);
  for (const auto& [name, versions] : streams) {
    std::vector<uint64_t> wanted{0, versions.begin()->first, versions.rbegin()->first,
                                 versions.rbegin()->first + 1, UINT64_MAX};
    for (int i = 0; i < 200; ++i)
      wanted.push_back(random.below(versions.rbegin()->first + 2));
    for (const uint64_t version : wanted) {
      auto at = versions.lower_bound(version);
      auto forwards = (*file)->events_of_stream(name, version, Order::kForwards);
      for (int i = 0; i < 3; ++i) {
        const auto found = forwards.next();
        ASSERT_TRUE(found) << found.error().message;
        ASSERT_EQ(*found == nullptr, at == versions.end()) << name << " from " << version;
        if (*found == nullptr) break;
        ASSERT_EQ(OwnedEvent::of(**found), (at++)->second) << name << " from " << version;
      }
      auto before = versions.upper_bound(version);
      auto backwards = (*file)->events_of_stream(name, version, Order::kBackwards);
      for (int i = 0; i < 3; ++i) {
        const auto found = backwards.next();
        ASSERT_TRUE(found) << found.error().message;
        ASSERT_EQ(*found == nullptr, before == versions.begin())
            << name << " down from " << version;
        if (*found == nullptr) break;
        ASSERT_EQ(OwnedEvent::of(**found), (--before)->second) << name << " down from " << version;
      }
    }
  }
}

// A writer gets floors in the order of the log, several of one stream among them.
TEST(EventFileModel, TheGreatestFloorOfAStreamStandsInTheFile) {
  FaultFileSystem disk(1);
  ASSERT_TRUE(disk.make_directory(kDirectory));
  const auto writer = EventFileWriter::create(disk, kDirectory, Address{64}, {}).value();
  for (const StreamFloor& floor :
       {StreamFloor{"z", 3}, {"a", 9}, {"z", 30}, {"m", 1}, {"z", 4}, {"a", 2}})
    ASSERT_TRUE(writer->add_floor(floor));
  const auto info = writer->finish(Address{1000}, Epoch{1});
  ASSERT_TRUE(info) << info.error().message;
  BlockCache cache(0);
  const auto file = EventFile::open(disk, storage::Path(kDirectory) / name_of(*info), cache);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_TRUE((*file)->verify());
  EXPECT_EQ((*file)->summary().events, 0u);
  EXPECT_EQ(read_floors(**file).value(), (Floors{{"a", 9}, {"m", 1}, {"z", 30}}));
}

TEST(EventFileModel, ANameThatIsNotThereHasNoEvents) {
  Random random(1);
  const Events events = random_events(random);
  FaultFileSystem disk(1);
  const auto info = write_file(disk, events, Compression::kZstd);
  ASSERT_TRUE(info);
  BlockCache cache(1u << 20);
  const auto file = EventFile::open(disk, storage::Path(kDirectory) / name_of(*info), cache);
  ASSERT_TRUE(file);
  for (const char* name : {"", "!", "c0-", "c3-33333", "zzz"})
    for (const Order order : {Order::kForwards, Order::kBackwards}) {
      if (*name == '\0') continue;
      for (const IndexKind kind :
           {IndexKind::kStream, IndexKind::kCategory, IndexKind::kType, IndexKind::kTag}) {
        const auto found = read_all((*file)->events_of(kind, name, Address{5000}, order));
        ASSERT_TRUE(found) << found.error().message;
        EXPECT_TRUE(found->empty()) << name;
      }
      const auto found = read_all((*file)->events_of_stream(name, 3, order));
      ASSERT_TRUE(found) << found.error().message;
      EXPECT_TRUE(found->empty()) << name;
    }
}

// A cache that grew without bound would take all memory of a node whose history is read.
TEST(EventFileModel, TheCacheKeepsToItsBytes) {
  Random random(2);
  const Events events = random_events(random, {.count = 3000});
  FaultFileSystem disk(1);
  const auto info = write_file(disk, events, Compression::kZstd);
  ASSERT_TRUE(info);
  constexpr size_t kMost = 700'000;
  BlockCache cache(kMost);
  {
    const auto file = EventFile::open(disk, storage::Path(kDirectory) / name_of(*info), cache);
    ASSERT_TRUE(file);
    EventCursor cursor = (*file)->events(Address{}, Order::kForwards);
    size_t greatest = 0;
    for (auto next = cursor.next(); next && *next != nullptr; next = cursor.next())
      greatest = std::max(greatest, cache.bytes());
    EXPECT_LE(greatest, kMost);
    EXPECT_GT(greatest, kMost / 4) << "nothing is kept";
    const uint64_t reads = disk.reads();
    ASSERT_TRUE(read_all((*file)->events(Address{events.back().position}, Order::kForwards)));
    EXPECT_EQ(disk.reads(), reads) << "what was read last is not kept";
  }
  EXPECT_EQ(cache.bytes(), 0u) << "blocks of a closed file are kept";
}

TEST(EventFileModel, WhatCannotStandInAFileIsRefused) {
  const OwnedEvent sound{.stream = "s", .version = 3, .position = 200, .record = 100};
  const auto refusal = [&](auto change) -> std::string {
    FaultFileSystem disk(1);
    EXPECT_TRUE(disk.make_directory(kDirectory));
    auto writer = EventFileWriter::create(disk, kDirectory, Address{64}, {});
    std::vector<std::string_view> views;
    EXPECT_TRUE((*writer)->add(sound.entry(views)));
    OwnedEvent next = sound;
    next.position = 300;
    next.version = 4;
    change(next);
    const auto added = (*writer)->add(next.entry(views));
    EXPECT_EQ((*writer)->finish(Address{1000}, Epoch{1}).has_value(), added.has_value());
    writer->reset();
    EXPECT_EQ(disk.files().size(), added ? 1u : 0u) << "a refused file is not removed";
    return added ? "" : added.error().message;
  };
  EXPECT_EQ(refusal([](OwnedEvent&) {}), "");
  EXPECT_NE(refusal([](OwnedEvent& each) { each.stream = ""; }), "");
  EXPECT_NE(refusal([](OwnedEvent& each) { each.stream.resize(1025); }), "");
  EXPECT_NE(refusal([](OwnedEvent& each) { each.position = 200; }), "");
  EXPECT_NE(refusal([](OwnedEvent& each) { each.record = 40; }), "");
  EXPECT_NE(refusal([](OwnedEvent& each) { each.record = 300; }), "");
  EXPECT_NE(refusal([](OwnedEvent& each) { each.version = 3; }), "");
  EXPECT_NE(refusal([](OwnedEvent& each) { each.type.resize(256); }), "");
  EXPECT_NE(refusal([](OwnedEvent& each) { each.tags.resize(17, "t"); }), "");
  EXPECT_NE(refusal([](OwnedEvent& each) { each.tags = {""}; }), "");
  EXPECT_NE(refusal([](OwnedEvent& each) { each.metadata.resize(65537); }), "");
}

}  // namespace
}  // namespace tailrace::history
