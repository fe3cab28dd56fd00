// The scavenger against a model: whatever is killed, refused, damaged or fetched in between, events
// that are dead by the floors of the files are in none of them, all others are, and nodes that have
// the same files come to the same.
#include "history/scavenge/scavenger.h"

#include <algorithm>
#include <thread>

#include "history/catalogue.h"
#include "history/format/file_name.h"
#include "storage/atomic_file.h"
#include "tests/history/history_support.h"
#include "tests/history/scavenge_host_double.h"

namespace tailrace::history {
namespace {

using testing::CrashPolicy;
using testing::FaultFileSystem;
using testing::FaultKind;

constexpr uint64_t kRange = 100'000;  // of a file
constexpr uint64_t kFiles = 6;

/// The files that the historian has written on each node: random appends, and floors that move.
struct World {
  struct File {
    Events events;
    Floors floors;
  };

  explicit World(uint64_t seed, size_t events_of_file = 60) {
    Random random(seed);
    std::map<std::string, uint64_t> next, floor;
    for (uint64_t number = 0; number < kFiles; ++number) {
      File& file = files.emplace_back();
      uint64_t position = begin_of(number).value;
      for (size_t i = 0; i < (number == 3 ? 0 : events_of_file); ++i) {
        OwnedEvent event;
        event.stream = name(random);
        event.record = position += random.between(1, 20);
        event.position = position += random.between(1, 20);
        event.version = next[event.stream]++;
        event.epoch = 2;
        event.data = "data of " + event.stream;
        file.events.push_back(event);
      }
      // A stretch without events has floors, too.
      for (uint64_t left = number == 3 ? 6 : random.below(5); left > 0; --left) {
        const std::string stream = name(random);
        const uint64_t to = random.chance(1, 3) ? next[stream] : random.below(next[stream] + 1);
        if (to <= floor[stream]) continue;
        file.floors[stream] = floor[stream] = to;
      }
      std::erase_if(file.events,
                    [&](const OwnedEvent& event) { return event.version < floor[event.stream]; });
    }
  }

  static std::string name(Random& random) {
    const uint64_t number = random.below(14);
    return (number % 2 == 0 ? "a-" : "longer-names-") + std::to_string(number);
  }
  static Address begin_of(uint64_t file) { return Address{64 + file * kRange}; }
  static Address end_of(uint64_t file) { return begin_of(file + 1); }

  /// Of file `number`, once all up to file `last` is scavenged.
  Events alive(uint64_t number, uint64_t last) const {
    Floors greatest;
    for (uint64_t file = 0; file <= last; ++file)
      for (const auto& [stream, version] : files[file].floors)
        greatest[stream] = std::max(greatest[stream], version);
    Events events = files[number].events;
    if (number <= last)
      std::erase_if(
          events, [&](const OwnedEvent& event) { return event.version < greatest[event.stream]; });
    return events;
  }

  Result<EventFileInfo> write(storage::FileSystem& disk, uint64_t number) const {
    EventFileOptions options;
    options.compression = Compression::kNone;
    return write_file(disk, files[number].events, options, begin_of(number), end_of(number),
                      files[number].floors);
  }

  std::vector<File> files;
};

/// A node that has the files 0 to `last`.
struct ScavengedNode {
  explicit ScavengedNode(const World& its, uint64_t last, uint64_t seed = 1)
      : world(its), disk(seed) {
    EXPECT_TRUE(disk.make_directory(kDirectory));
    for (uint64_t number = 0; number <= last; ++number)
      EXPECT_TRUE(world.write(disk, number));
    open();
  }

  void open() {
    scavenger.reset();
    host = std::make_unique<HostDouble>(Catalogue::open(disk, kDirectory).value());
    open_scavenger();
  }
  void open_scavenger() {
    auto opened = Scavenger::open(disk, *host, options);
    ASSERT_TRUE(opened) << opened.error().message;
    scavenger = std::move(*opened);
  }
  /// Another one, written by the historian since.
  void add(uint64_t number) {
    const auto info = world.write(disk, number);
    ASSERT_TRUE(info) << info.error().message;
    ASSERT_TRUE(host->catalogue().add(*info));
  }
  Result<> scavenge(uint64_t last) {
    scavenger->scavenge(World::end_of(last));
    return scavenger->work({});
  }
  /// What scavenging was confirmed up to, by whoever opens it now.
  Address confirmed() {
    open_scavenger();
    return host->done();
  }

  /// All files up to `last` are without dead events, the others as they were written.
  void expect_scavenged(uint64_t last) {
    BlockCache cache(0);
    for (const EventFileInfo& info : host->catalogue().files()) {
      const uint64_t number = (info.range.first.value - 64) / kRange;
      const auto file = host->catalogue().open_file(info, cache);
      ASSERT_TRUE(file) << file.error().message;
      const auto sound = (*file)->verify();
      EXPECT_TRUE(sound) << sound.error().message;
      const auto events = read_all((*file)->events(Address{}, Order::kForwards));
      ASSERT_TRUE(events) << events.error().message;
      const Events wanted = world.alive(number, last);
      EXPECT_EQ(*events, wanted) << "file " << number;
      EXPECT_EQ(info.revision, world.files[number].events.size() - wanted.size());
      EXPECT_EQ(read_floors(**file).value(), world.files[number].floors);
    }
    // And nothing else stands in the directory.
    EXPECT_EQ(disk.list(kDirectory).value().size(), host->catalogue().files().size() + 1);
  }

  const World& world;
  FaultFileSystem disk;
  ScavengerOptions options = [] {
    ScavengerOptions without_pauses;
    without_pauses.files.compression = Compression::kNone;
    without_pauses.interval = std::chrono::milliseconds(1);
    without_pauses.pauses = false;
    return without_pauses;
  }();
  std::unique_ptr<HostDouble> host;
  std::unique_ptr<Scavenger> scavenger;
};

TEST(Scavenger, DeadEventsGoAndNothingElse) {
  const uint64_t seed = seed_of_test();
  for (uint64_t round = 0; round < 20; ++round) {
    const World world(seed + round);
    for (const uint64_t last : {uint64_t{1}, uint64_t{3}, kFiles - 1}) {
      SCOPED_TRACE("round " + std::to_string(round) + " up to file " + std::to_string(last));
      ScavengedNode node(world, kFiles - 1);
      const auto done = node.scavenge(last);
      ASSERT_TRUE(done) << done.error().message;
      node.expect_scavenged(last);
      EXPECT_EQ(node.confirmed(), World::end_of(last));
    }
  }
}

// Promise: all nodes have the same files in the end, by digest: whatever memory they have, in which
// steps they went, and whichever commands they slept through.
TEST(Scavenger, AllWaysLeadToTheSameFiles) {
  const uint64_t seed = seed_of_test();
  for (uint64_t round = 0; round < 20; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    const World world(seed + round);
    ScavengedNode at_once(world, kFiles - 1);
    ASSERT_TRUE(at_once.scavenge(kFiles - 1));
    const auto wanted = at_once.host->catalogue().files();
    for (const size_t floor_bytes : {size_t{1}, size_t{250}, size_t{600}}) {
      ScavengedNode passes(world, kFiles - 1);
      passes.options.floor_bytes = floor_bytes;
      passes.open();
      ASSERT_TRUE(passes.scavenge(kFiles - 1));
      EXPECT_EQ(passes.host->catalogue().files(), wanted) << floor_bytes;
      EXPECT_EQ(passes.host->removed.load(), at_once.host->removed.load());
    }
    ScavengedNode steps(world, 0);
    for (uint64_t last = 1; last < kFiles; ++last) {
      steps.add(last);
      if (round % 2 == 0 || last % 2 == 1) {
        ASSERT_TRUE(steps.scavenge(last));
        EXPECT_EQ(steps.confirmed(), World::end_of(last));
      }
    }
    EXPECT_EQ(steps.host->catalogue().files(), wanted);
  }
}

TEST(Scavenger, WhatIsDoneIsNotDoneAgain) {
  const World world(5);
  ScavengedNode node(world, kFiles - 1);
  ASSERT_TRUE(node.scavenge(kFiles - 1));
  ASSERT_GT(node.host->removed, 0u);
  const auto files = node.host->catalogue().files();
  for (const bool opened_anew : {false, true}) {
    if (opened_anew) node.open();
    const uint64_t operations = node.disk.operations(), reads = node.disk.reads();
    ASSERT_TRUE(node.scavenge(kFiles - 1));
    ASSERT_TRUE(node.scavenge(2));
    EXPECT_EQ(node.disk.operations(), operations);
    EXPECT_EQ(node.disk.reads(), reads);
  }
  // Without its note it looks at all, and finds nothing to do.
  ASSERT_TRUE(node.disk.remove(storage::Path(kDirectory) / "SCAVENGED"));
  node.open();
  ASSERT_TRUE(node.scavenge(kFiles - 1));
  EXPECT_EQ(node.host->removed, 0u);
  EXPECT_EQ(node.host->catalogue().files(), files);
}

// Promise: a crash anywhere loses no event that is alive, leaves no second file of a range, and the
// rest is done behind it.
TEST(Scavenger, AKillAtEachOperationIsMadeUpFor) {
  const World world(7, 25);
  ScavengedNode undisturbed(world, kFiles - 1);
  const uint64_t first = undisturbed.disk.operations();
  undisturbed.options.floor_bytes = 400;
  undisturbed.open();
  ASSERT_TRUE(undisturbed.scavenge(kFiles - 1));
  const uint64_t operations = undisturbed.disk.operations() - first;
  const auto wanted = undisturbed.host->catalogue().files();
  ASSERT_GT(operations, 20u);
  for (uint64_t at = 0; at < operations; at += kCrashEvery)
    for (const CrashPolicy policy : {CrashPolicy::kLoseUnsynced, CrashPolicy::kKeepAll,
                                     CrashPolicy::kRandom, CrashPolicy::kProcessEnds}) {
      SCOPED_TRACE("killed at operation " + std::to_string(at));
      ScavengedNode node(world, kFiles - 1, at + 1);
      node.options.floor_bytes = 400;
      node.open();
      node.disk.fail_at(first + at, FaultKind::kPowerCut);
      (void)node.scavenge(kFiles - 1);
      node.disk.crash(policy);
      node.open();
      if (node.host->done() != Address{}) {
        EXPECT_EQ(node.host->catalogue().files(), wanted) << "it is confirmed and not done";
      }
      const auto again = node.scavenge(kFiles - 1);
      ASSERT_TRUE(again) << again.error().message;
      ASSERT_EQ(node.host->catalogue().files(), wanted);
      node.expect_scavenged(kFiles - 1);
    }
}

TEST(Scavenger, AFailureAnywhereIsTold) {
  const World world(7, 25);
  ScavengedNode undisturbed(world, kFiles - 1);
  const uint64_t first = undisturbed.disk.operations();
  ASSERT_TRUE(undisturbed.scavenge(kFiles - 1));
  const uint64_t operations = undisturbed.disk.operations() - first;
  for (uint64_t at = 0; at < operations; at += kCrashEvery)
    for (const FaultKind kind : {FaultKind::kError, FaultKind::kNoSpace}) {
      SCOPED_TRACE("a failure at operation " + std::to_string(at));
      ScavengedNode node(world, kFiles - 1, at + 1);
      node.disk.fail_at(first + at, kind);
      const auto failed = node.scavenge(kFiles - 1);
      if (!failed && node.confirmed() != Address{}) node.expect_scavenged(kFiles - 1);
      // The same process goes on; then another one.
      const auto again = node.scavenge(kFiles - 1);
      ASSERT_TRUE(again) << again.error().message;
      node.expect_scavenged(kFiles - 1);
      node.open();
      node.expect_scavenged(kFiles - 1);
    }
}

TEST(Scavenger, AFullDiskIsWaitedFor) {
  const World world(9);
  ScavengedNode node(world, kFiles - 1);
  node.host->is_full = true;
  node.scavenger->start();
  node.scavenger->scavenge(World::end_of(kFiles - 1));
  const auto wait_until = [&](auto holds) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!holds() && std::chrono::steady_clock::now() < deadline)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_TRUE(holds());
  };
  wait_until([&] { return node.host->trouble() == ErrorCode::kResourceExhausted; });
  EXPECT_EQ(node.host->removed, 0u);
  node.host->is_full = false;
  wait_until([&] { return node.host->done() == World::end_of(kFiles - 1); });
  EXPECT_EQ(node.host->trouble(), std::nullopt);
  node.scavenger->stop();
  node.expect_scavenged(kFiles - 1);
}

// Promise: a damaged file keeps no other from being scavenged, and is never taken for scavenged.
TEST(Scavenger, ADamagedFileIsWaitedFor) {
  const World world(11);
  size_t found = 0;
  for (uint64_t number = 0; number < kFiles; ++number)
    for (const uint64_t part : {uint64_t{1}, uint64_t{2}, uint64_t{3}}) {
      SCOPED_TRACE("file " + std::to_string(number) + " part " + std::to_string(part));
      ScavengedNode node(world, kFiles - 1);
      const EventFileInfo info = node.host->catalogue().files()[number];
      const storage::Path path = storage::Path(kDirectory) / name_of(info);
      node.disk.flip_bit(path, part * info.bytes / 4, 3);
      const auto damaged = node.scavenge(kFiles - 1);
      if (damaged) continue;  // the damage is where nothing is looked for
      ++found;
      ASSERT_EQ(damaged.error().code, ErrorCode::kCorruption) << damaged.error().message;
      EXPECT_EQ(node.host->catalogue().files().size(), kFiles - 1);
      EXPECT_EQ(node.confirmed(), Address{});
      if (number + 1 < kFiles) {
        const auto missing = node.scavenge(kFiles - 1);
        ASSERT_FALSE(missing);
        EXPECT_EQ(missing.error().code, ErrorCode::kUnavailable) << missing.error().message;
      }
      // It comes again, as it was.
      node.add(number);
      const auto done = node.scavenge(kFiles - 1);
      ASSERT_TRUE(done) << done.error().message;
      node.expect_scavenged(kFiles - 1);
      EXPECT_EQ(node.confirmed(), World::end_of(kFiles - 1));
    }
  EXPECT_GT(found, kFiles);
}

// Promise: a file that comes from a member which has not scavenged yet is scavenged, whenever it
// comes; until then nobody says that no dead event is left.
TEST(Scavenger, AnOlderFileThatComesLaterIsScavenged) {
  const World world(13);
  ScavengedNode node(world, kFiles - 1);
  ASSERT_TRUE(node.scavenge(kFiles - 1));
  for (uint64_t number = 0; number + 1 < kFiles; ++number)
    for (const bool opened_anew : {false, true}) {
      SCOPED_TRACE(number);
      const EventFileInfo info = node.host->catalogue().files()[number];
      if (info.revision == 0) continue;
      ASSERT_TRUE(node.host->catalogue().drop(info));
      EXPECT_EQ(node.confirmed(), Address{});
      node.add(number);
      if (opened_anew) node.open();
      EXPECT_EQ(node.confirmed(), Address{}) << "an older file counts as scavenged";
      // Nobody asks again: that it was done once is enough.
      ASSERT_TRUE(node.scavenger->work({}));
      EXPECT_EQ(node.host->catalogue().files()[number], info);
      EXPECT_EQ(node.confirmed(), World::end_of(kFiles - 1));
      node.expect_scavenged(kFiles - 1);
    }
}

TEST(Scavenger, WaitsForWhatIsNotWritten) {
  const World world(15);
  ScavengedNode node(world, 2);
  ASSERT_TRUE(node.scavenge(4));
  EXPECT_EQ(node.host->removed, 0u);
  EXPECT_EQ(node.confirmed(), Address{});
  node.add(3);
  node.add(4);
  node.add(5);
  ASSERT_TRUE(node.scavenge(4));
  node.expect_scavenged(4);
}

// Whoever asks again and again, oftener than history grows, does not put off what was asked first.
TEST(Scavenger, ThoseThatComeLaterHoldNothingUp) {
  const World world(7);
  ScavengedNode node(world, 1);
  ASSERT_TRUE(node.scavenge(2));
  ASSERT_TRUE(node.scavenge(5));
  node.add(2);
  ASSERT_TRUE(node.scavenge(5));
  node.expect_scavenged(2);
  for (uint64_t number = 3; number < kFiles; ++number)
    node.add(number);
  ASSERT_TRUE(node.scavenge(5));
  node.expect_scavenged(5);
}

TEST(Scavenger, WhatNobodyHasIsNotWaitedFor) {
  const World world(17);
  ScavengedNode node(world, kFiles - 1);
  ASSERT_TRUE(node.host->catalogue().drop(node.host->catalogue().files()[2]));
  EXPECT_EQ(node.scavenge(kFiles - 1).error().code, ErrorCode::kUnavailable);
  node.host->nobody_has = true;
  ASSERT_TRUE(node.scavenge(kFiles - 1));
  EXPECT_EQ(node.confirmed(), World::end_of(kFiles - 1));
  // Somebody has it after all, and its floors count.
  node.add(2);
  EXPECT_EQ(node.confirmed(), Address{});
  ASSERT_TRUE(node.scavenge(kFiles - 1));
  node.expect_scavenged(kFiles - 1);
}

TEST(Scavenger, ReadsThatHaveTheFileBeforeGoOn) {
  const World world(19);
  ScavengedNode node(world, kFiles - 1);
  BlockCache cache(1u << 20);
  std::vector<EventCursor> cursors;
  for (const EventFileInfo& info : node.host->catalogue().files())
    cursors.push_back(
        node.host->catalogue().open_file(info, cache).value()->events(Address{}, Order::kForwards));
  ASSERT_TRUE(node.scavenge(kFiles - 1));
  for (uint64_t number = 0; number < kFiles; ++number) {
    EXPECT_EQ(read_all(std::move(cursors[number])).value(), world.files[number].events);
    // What is kept of the one before is not served for the one that is there now.
    const auto info = node.host->catalogue().files()[number];
    const auto file = node.host->catalogue().open_file(info, cache).value();
    EXPECT_EQ(read_all(file->events(Address{}, Order::kForwards)).value(),
              world.alive(number, kFiles - 1));
  }
}

TEST(Scavenger, ADamagedNoteIsMadeAnewAndANewerOneRefused) {
  const World world(21);
  ScavengedNode node(world, kFiles - 1);
  ASSERT_TRUE(node.scavenge(kFiles - 1));
  const storage::Path path = storage::Path(kDirectory) / "SCAVENGED";
  node.disk.flip_bit(path, 40, 1);
  EXPECT_EQ(node.confirmed(), Address{});
  ASSERT_TRUE(node.scavenge(kFiles - 1));
  EXPECT_EQ(node.confirmed(), World::end_of(kFiles - 1));
  ASSERT_TRUE(storage::replace_atomic_file(node.disk, path, {storage::four_letters("EVSC"), 2},
                                           as_bytes("another form")));
  const auto opened = Scavenger::open(node.disk, *node.host, node.options);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace tailrace::history
