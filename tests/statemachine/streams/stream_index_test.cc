// What appends are refused for, what they are answered, and what policies and ends do.

#include <atomic>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/statemachine/harness.h"
#include "tests/statemachine/streams/streams_support.h"

namespace tailrace::statemachine {
namespace {

using Kind = AppendOutcome::Kind;
using State = StreamPresence::State;

class StreamIndexTest : public ::testing::Test {
 protected:
  AppendOutcome append(std::string_view stream, size_t events,
                       ExpectedVersion expected = kExpectAny,
                       const std::vector<EventId>& ids = {}) {
    const auto places = places_in(address_ += 8, events);
    const auto done = node_.index().append({stream, expected, ids, places, time_ns_}, ++serial_);
    EXPECT_TRUE(done) << done.error().message;
    node_.done(serial_);
    return done.value_or(AppendOutcome{});
  }
  static std::vector<EventId> ids(std::vector<uint64_t> numbers) {
    std::vector<EventId> made;
    for (const uint64_t number : numbers)
      made.push_back(number == 0 ? EventId{} : stream_event_id(number));
    return made;
  }
  AppendOutcome append_ids(std::string_view stream, std::vector<uint64_t> numbers,
                           ExpectedVersion expected = kExpectAny) {
    const size_t events = numbers.size();
    return append(stream, events, expected, ids(std::move(numbers)));
  }
  void set_policy(std::string_view stream, const PolicyChange& change) {
    ASSERT_TRUE(node_.index().set_policy(stream, change, ++serial_));
    node_.done(serial_);
  }
  StreamHead head(std::string_view stream) {
    StreamReader<kv::Store> reader(node_.store());
    const auto read = reader.head(stream);
    EXPECT_TRUE(read && *read);
    return read && *read ? **read : StreamHead{};
  }
  std::vector<StreamVersion> versions(std::string_view stream, StreamVersion from = 0,
                                      Direction direction = Direction::kForwards) {
    StreamReader<kv::Store> reader(node_.store());
    const auto read = reader.entries(stream, from, SIZE_MAX, direction);
    EXPECT_TRUE(read) << read.error().message;
    std::vector<StreamVersion> found;
    if (read)
      for (const auto& entry : read->entries)
        found.push_back(entry.version);
    return found;
  }
  size_t pairs_of_kind(char kind) {
    size_t count = 0;
    for (const auto& [key, value] : node_.pairs())
      count += key[0] == kind;
    return count;
  }

  StreamsNode node_{1};
  uint64_t address_ = 0, time_ns_ = 1000;
  kv::Serial serial_ = 0;
};

// Promise: each expectation is met by what it names, and by nothing else; a refusal says what is
// there instead, and writes nothing.
TEST_F(StreamIndexTest, RefusesAnotherVersionThanWasExpected) {
  EXPECT_EQ(append("s", 1, exactly(0)).kind, Kind::kWrongVersion);
  EXPECT_EQ(append("s", 1, kExpectExists).kind, Kind::kWrongVersion);
  EXPECT_TRUE(node_.pairs().empty());
  const AppendOutcome first = append("s", 3, kExpectNone);
  EXPECT_EQ(first.kind, Kind::kAppended);
  EXPECT_EQ(std::pair(first.first, first.last), std::pair(StreamVersion{0}, StreamVersion{2}));
  const kv::Model before = node_.pairs();
  for (const ExpectedVersion wrong : {kExpectNone, exactly(1), exactly(3), exactly(UINT64_MAX)}) {
    const AppendOutcome refused = append("s", 1, wrong);
    EXPECT_EQ(refused.kind, Kind::kWrongVersion);
    EXPECT_EQ(refused.found, (StreamPresence{State::kExists, 2}));
  }
  EXPECT_EQ(node_.pairs(), before);
  EXPECT_EQ(append("s", 1, exactly(2)).first, 3u);
  EXPECT_EQ(append("s", 1, kExpectExists).first, 4u);
  EXPECT_EQ(append("s", 1).first, 5u);
}

TEST_F(StreamIndexTest, RefusesWhatCanNeverWork) {
  const std::vector<EventPlace> none, one = {{8, 0}}, far = {{EventPlace::kAddressEnd, 0}};
  const std::vector<EventId> two = ids({1, 2});
  const auto code = [&](std::span<const EventId> of, const std::vector<EventPlace>& places) {
    const auto done = node_.index().append({"s", kExpectAny, of, places, 1}, 1);
    return done ? ErrorCode::kIo : done.error().code;
  };
  EXPECT_EQ(code({}, none), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code({}, far), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code(two, one), ErrorCode::kInvalidArgument);
  PolicyChange change;
  change.dedupe = kMostDedupe + 1;
  EXPECT_EQ(node_.index().set_policy("s", change, 1).error().code, ErrorCode::kInvalidArgument);
  EXPECT_TRUE(node_.pairs().empty());
}

// Promise: a batch that is sent again is answered with its place, whatever version it expects, and
// changes nothing; also after the stream was deleted.
TEST_F(StreamIndexTest, AnswersARepeatWithItsPlace) {
  append("s", 2);
  EXPECT_EQ(append_ids("s", {1, 2, 3}, exactly(1)).kind, Kind::kAppended);
  append_ids("s", {4});
  const kv::Model before = node_.pairs();
  for (const ExpectedVersion expected : {exactly(1), kExpectNone, kExpectAny, exactly(77)}) {
    const AppendOutcome again = append_ids("s", {1, 2, 3}, expected);
    EXPECT_EQ(again.kind, Kind::kReplayed);
    EXPECT_EQ(std::pair(again.first, again.last), std::pair(StreamVersion{2}, StreamVersion{4}));
  }
  EXPECT_EQ(append_ids("s", {2, 3}).first, 3u);
  EXPECT_EQ(append_ids("s", {3, 4}).kind, Kind::kReplayed);
  EXPECT_EQ(append_ids("s", {4}).first, 5u);
  EXPECT_EQ(node_.pairs(), before);
  ASSERT_TRUE(node_.index().remove("s", ++serial_));
  EXPECT_EQ(append_ids("s", {1, 2, 3}).kind, Kind::kReplayed);
  EXPECT_EQ(head("s").deleted, true);
}

// Promise: a batch of which only a part is known, or not in a row, is refused, and the first event
// that is known is named.
TEST_F(StreamIndexTest, RefusesABatchOfWhichAPartIsThere) {
  append_ids("s", {1, 2, 3});
  append("s", 1);
  append_ids("s", {4});
  const auto expect_partial = [&](std::vector<uint64_t> numbers, size_t index) {
    const AppendOutcome refused = append_ids("s", std::move(numbers));
    EXPECT_EQ(refused.kind, Kind::kPartialMatch);
    EXPECT_EQ(refused.index, index);
  };
  expect_partial({9, 2}, 1);
  expect_partial({3, 9}, 0);
  expect_partial({2, 1}, 0);
  expect_partial({1, 3}, 0);
  expect_partial({3, 4}, 0);  // one without an id stands between them
  expect_partial({1, 0}, 0);  // events without an id are never matched
  expect_partial({0, 8, 1}, 2);
  EXPECT_EQ(append("s", 1).first, 5u);
}

TEST_F(StreamIndexTest, RefusesABatchWithOneIdTwice) {
  const AppendOutcome refused = append_ids("s", {1, 2, 0, 0, 1});
  EXPECT_EQ(refused.kind, Kind::kRepeatedId);
  EXPECT_EQ(refused.index, 4u);
  EXPECT_TRUE(node_.pairs().empty());
}

// Promise: the ids of the last `dedupe` events that have one are known, of no earlier event, and
// events without ids push none out. Without ids there is no record of them.
TEST_F(StreamIndexTest, RemembersTheLastIds) {
  append("plain", 3);
  EXPECT_EQ(pairs_of_kind(kIdsKey), 0u);
  for (uint64_t number = 1; number <= kDefaultDedupe + 1; ++number) {
    append_ids("s", {number});
    append("s", 2);
  }
  EXPECT_EQ(append_ids("s", {kDefaultDedupe + 1}).kind, Kind::kReplayed);
  EXPECT_EQ(append_ids("s", {2}).kind, Kind::kReplayed);
  EXPECT_EQ(append_ids("s", {1}).kind, Kind::kAppended);
  PolicyChange change;
  change.dedupe = 2;
  set_policy("s", change);
  EXPECT_EQ(append_ids("s", {1}).kind, Kind::kReplayed);
  EXPECT_EQ(append_ids("s", {kDefaultDedupe}).kind, Kind::kAppended);
  change.dedupe = 0;
  set_policy("s", change);
  EXPECT_EQ(pairs_of_kind(kIdsKey), 0u);
  EXPECT_EQ(append_ids("s", {1}).kind, Kind::kAppended);
  EXPECT_EQ(append_ids("s", {1}).kind, Kind::kAppended);
}

// Promise: a deleted stream counts as not existing, and its numbers go on; its last one is known.
TEST_F(StreamIndexTest, GoesOnWithTheNumbersAfterADelete) {
  append("s", 70);
  ASSERT_TRUE(node_.index().remove("s", ++serial_));
  EXPECT_EQ(node_.index().presence("s"), (StreamPresence{State::kDeleted, 69}));
  EXPECT_EQ(append("s", 1, kExpectExists).kind, Kind::kWrongVersion);
  EXPECT_TRUE(versions("s").empty());
  EXPECT_EQ(append("s", 2, exactly(69)).first, 70u);
  ASSERT_TRUE(node_.index().remove("s", ++serial_));
  EXPECT_EQ(append("s", 20, kExpectNone).first, 72u);
  ASSERT_EQ(versions("s").size(), 20u);
  EXPECT_EQ(versions("s").front(), 72u);
  const auto nothing = node_.index().remove("never", ++serial_);
  ASSERT_TRUE(nothing);
  EXPECT_EQ(*nothing, StreamPresence{});
}

// Promise: a tombstone is final, and leaves the head alone.
TEST_F(StreamIndexTest, RefusesEverythingAfterATombstone) {
  append_ids("s", {1, 2});
  append("s", 1000);
  ASSERT_TRUE(node_.index().tombstone("s", ++serial_));
  ASSERT_TRUE(node_.index().tombstone("never", ++serial_));
  for (const char* const name : {"s", "never"}) {
    EXPECT_EQ(append(name, 1).kind, Kind::kTombstoned);
    EXPECT_EQ(append_ids(name, {1, 2}).kind, Kind::kTombstoned);
    EXPECT_FALSE(node_.index().check(name, kExpectAny)->holds);
    PolicyChange change;
    change.max_count = 5;
    EXPECT_EQ(node_.index().set_policy(name, change, ++serial_)->state, State::kTombstoned);
    EXPECT_EQ(node_.index().remove(name, ++serial_)->state, State::kTombstoned);
    EXPECT_EQ(head(name).policy, StreamPolicy{});
    EXPECT_TRUE(versions(name).empty());
  }
  for (int i = 0; i < 3; ++i)
    append("other", 1);
  EXPECT_EQ(pairs_of_kind(kPageKey), 0u);
  EXPECT_EQ(pairs_of_kind(kIdsKey), 0u);
  EXPECT_EQ(pairs_of_kind(kDroppedKey), 0u);
}

// Promise: max_count and truncate_before say which events are readable, and what they made
// unreadable stays so.
TEST_F(StreamIndexTest, KeepsWhatThePolicySays) {
  append("s", 10);
  PolicyChange change;
  change.max_count = 4;
  set_policy("s", change);
  EXPECT_EQ(versions("s"), (std::vector<StreamVersion>{6, 7, 8, 9}));
  append("s", 2);
  EXPECT_EQ(head("s").first, 8u);
  change.max_count = 0;
  set_policy("s", change);
  EXPECT_EQ(head("s").first, 8u);
  change = {};
  change.truncate_before = 10;
  set_policy("s", change);
  EXPECT_EQ(versions("s", 100, Direction::kBackwards), (std::vector<StreamVersion>{11, 10}));
  change.truncate_before = 1'000'000;
  set_policy("s", change);
  EXPECT_EQ(head("s").first, 12u);
  append("s", 1);
  EXPECT_EQ(versions("s"), std::vector<StreamVersion>{12});
  EXPECT_TRUE(head("s").exists());
}

// Promise: a stream to which nobody appends is empty once its last event is too old, and index and
// reader agree on the moment.
TEST_F(StreamIndexTest, IsEmptyOnceAllIsTooOld) {
  PolicyChange change;
  change.max_age_ns = 100;
  set_policy("s", change);
  append("s", 3);
  EXPECT_EQ(first_readable(head("s"), 1099), 0u);
  EXPECT_EQ(first_readable(head("s"), 1100), 3u);
  time_ns_ = 1099;
  append("s", 1);
  EXPECT_EQ(head("s").first, 0u);
  time_ns_ = 1199;
  append("s", 1);
  EXPECT_EQ(head("s").first, 4u);
}

// Promise: as a stream goes on, the pages of what is too old go, though nobody reads it.
TEST_F(StreamIndexTest, DropsPagesOfWhatIsTooOld) {
  PolicyChange change;
  change.max_age_ns = 1000;
  set_policy("s", change);
  for (int i = 0; i < 10'000; ++i) {
    time_ns_ += 10;
    append("s", 1);
  }
  // A hundred events are young enough: two pages, one that is begun, one that was not full then.
  EXPECT_LE(pairs_of_kind(kPageKey), 4u);
  StreamReader<kv::Session> reader(node_.session());
  const auto first = reader.first_of_age("s", time_ns_, [](EventPlace place) -> Result<uint64_t> {
    return 1000 + place.record_address / 8 * 10;
  });
  ASSERT_TRUE(first);
  EXPECT_EQ(*first, 10'000u - 100u);
}

// Promise: time never goes back within a stream.
TEST_F(StreamIndexTest, TimeNeverGoesBack) {
  append("s", 1);
  time_ns_ = 10;
  append("s", 1);
  EXPECT_EQ(head("s").last_time_ns, 1000u);
}

// Promise: a stream of few events is one pair; one of many has a page for 64 of them.
TEST_F(StreamIndexTest, TakesOnePairForAFewEvents) {
  for (size_t i = 0; i < StreamHead::kMostInline; ++i)
    append("s", 1);
  EXPECT_EQ(node_.pairs().size(), 2u);  // with the numbers of all streams
  for (size_t i = 0; i < 1000; ++i)
    append("s", 1);
  EXPECT_LE(pairs_of_kind(kPageKey), 1008 / kPageEvents + 1);
}

// Promise: what a large stream leaves is removed a few pages at a time, also over a restart, while
// others are written.
TEST_F(StreamIndexTest, RemovesManyPagesBitByBit) {
  for (int i = 0; i < 40; ++i)
    append("large", 64);
  ASSERT_TRUE(node_.index().tombstone("large", ++serial_));
  node_.done(serial_);
  EXPECT_EQ(pairs_of_kind(kPageKey), 40u - 2 * PageRemover::kAtOnce);
  node_.checkpoint();
  EXPECT_EQ(node_.restart(testing::CrashPolicy::kLoseUnsynced), serial_);
  append("other", 1);
  EXPECT_EQ(pairs_of_kind(kPageKey), 40u - 3 * PageRemover::kAtOnce);
  append("other", 1);
  append("other", 1);
  EXPECT_EQ(pairs_of_kind(kPageKey), 0u);
  EXPECT_EQ(pairs_of_kind(kDroppedKey), 0u);
}

// Promise: lists of pages that wait are done one after the other, each whole.
TEST_F(StreamIndexTest, RemovesThePagesOfSeveralStreams) {
  for (const char* const name : {"one", "two", "three"}) {
    append(name, 30 * kPageEvents);
    append("kept", kPageEvents);
  }
  for (const char* const name : {"one", "two", "three"})
    ASSERT_TRUE(node_.index().tombstone(name, ++serial_));
  node_.done(serial_);
  for (int i = 0; i < 12; ++i)
    append("other", 1);
  EXPECT_EQ(pairs_of_kind(kPageKey), 3u + 1);
  EXPECT_EQ(pairs_of_kind(kDroppedKey), 0u);
  EXPECT_EQ(versions("kept").size(), 3 * kPageEvents);
}

// Promise: while the pages of a deleted stream wait to be removed, the stream goes on, and its new
// events stay.
TEST_F(StreamIndexTest, KeepsThePageWhereADeletedStreamGoesOn) {
  append("s", 40 * kPageEvents + 10);
  ASSERT_TRUE(node_.index().remove("s", ++serial_));
  append("s", 20);
  EXPECT_GT(pairs_of_kind(kDroppedKey), 0u);
  for (int i = 0; i < 12; ++i)
    append("other", 1);
  EXPECT_EQ(pairs_of_kind(kDroppedKey), 0u);
  ASSERT_EQ(versions("s").size(), 20u);
  EXPECT_EQ(versions("s").front(), 40 * kPageEvents + 10);
}

// Promise: a reader that is used again finds what was appended since.
TEST_F(StreamIndexTest, AReaderFindsWhatWasAppendedSince) {
  StreamReader<kv::Store> reader(node_.store());
  for (size_t events = 9; events < 200; events += 9) {
    append("s", 9);
    const auto read = reader.entries("s", 0, SIZE_MAX, Direction::kForwards);
    ASSERT_TRUE(read) << read.error().message;
    ASSERT_EQ(read->entries.size(), events);
  }
}

// Promise: no call makes the store write more than was said before.
TEST_F(StreamIndexTest, CostsNoMoreThanWasSaid) {
  const auto tail = [&] { return node_.store().log_extent().tail; };
  const std::string name(200, 'n');
  uint64_t number = 0;
  PolicyChange change;
  change.max_count = 100;
  change.dedupe = kMostDedupe;
  set_policy(name, change);
  for (const size_t events : {1, 7, 64, 300, 4096, 1, 1, 2000, 3}) {
    std::vector<uint64_t> numbers;
    for (size_t i = 0; i < events; ++i)
      numbers.push_back(++number);
    // Nothing of it can be changed where it stands.
    node_.checkpoint();
    const uint64_t before = tail();
    append_ids(name, numbers);
    EXPECT_LE(tail() - before, most_store_bytes_of_append(name.size(), events, true)) << events;
  }
  node_.checkpoint();
  const uint64_t before = tail();
  ASSERT_TRUE(node_.index().tombstone(name, ++serial_));
  EXPECT_LE(tail() - before, most_store_bytes_of_append(name.size(), 1, true));
}

// Promise: while one thread writes, others read events that follow each other, each where its
// writer put it.
TEST_F(StreamIndexTest, IsReadBesideItsWriter) {
  constexpr StreamVersion kEvents = kSanitized ? 4000 : 20'000;
  std::atomic<bool> end{false};
  const auto read = [&](Direction direction) {
    StreamReader<kv::Store> reader(node_.store());
    for (StreamVersion from = 0; !end.load(); from += 97) {
      const auto found = reader.entries("s", from % kEvents, 200, direction);
      ASSERT_TRUE(found) << found.error().message;
      for (size_t i = 0; i < found->entries.size(); ++i) {
        const auto& entry = found->entries[i];
        ASSERT_EQ(entry.place.record_address, entry.version + 1);
        const auto& first = found->entries.front();
        ASSERT_EQ(entry.version,
                  direction == Direction::kForwards ? first.version + i : first.version - i);
      }
    }
  };
  std::vector<std::thread> readers;
  readers.emplace_back(read, Direction::kForwards);
  readers.emplace_back(read, Direction::kBackwards);
  PolicyChange change;
  change.max_count = 700;
  set_policy("s", change);
  for (StreamVersion next = 0; next < kEvents;) {
    std::vector<EventPlace> places;
    for (size_t count = 1 + next % 5; count > 0; --count)
      places.push_back({++next, 0});
    ASSERT_TRUE(node_.index().append({"s", kExpectAny, {}, places, next}, ++serial_));
    if (next % 3000 < 5) {
      ASSERT_TRUE(node_.index().remove("s", ++serial_));
    }
    node_.done(serial_);
  }
  end.store(true);
  for (std::thread& reader : readers)
    reader.join();
}

// Promise: streams that are on disk are fetched side by side, and no append waits for the disk
// then.
TEST(StreamCacheTest, FetchesColdStreamsAhead) {
  StreamsNode node(1, kv::tiny_options("/kv"));
  constexpr size_t kStreams = 4000;
  kv::Serial serial = 0;
  std::vector<std::string> names;
  const auto append = [&](const std::string& name, size_t events) {
    const auto places = places_in(++serial * 8, events);
    std::vector<EventId> ids;
    for (size_t i = 0; i < events; ++i)
      ids.push_back(stream_event_id(serial * 100 + i));
    const auto done = node.index().append({name, kExpectAny, ids, places, serial}, serial);
    ASSERT_TRUE(done) << done.error().message;
    node.done(serial);
  };
  for (size_t i = 0; i < kStreams; ++i) {
    names.push_back("stream-" + std::to_string(i));
    append(names.back(), 8);
  }
  const auto is_cold = [&](const std::string& name) {
    std::string key, value;
    head_key(name, key);
    return node.store().try_read(as_bytes(key), value) == kv::Store::ReadOutcome::kCold;
  };
  ASSERT_TRUE(is_cold(names[0]) && is_cold(names[31]));
  std::vector<StreamAhead> ahead;
  for (size_t i = 0; i < 32; ++i)
    ahead.push_back({names[i], 1});
  ASSERT_TRUE(node.index().prefetch(ahead));
  EXPECT_EQ(node.session().pending(), 32u);
  ASSERT_TRUE(node.index().presence(names[5]));
  EXPECT_EQ(node.session().pending(), 0u);
  for (size_t i = 0; i < 32; ++i)
    append(names[i], 1);
  StreamReader<kv::Store> reader(node.store());
  for (size_t i = 0; i < 32; ++i)
    EXPECT_EQ(reader.entries(names[i], 0, SIZE_MAX, Direction::kForwards)->entries.size(), 9u);
}

}  // namespace
}  // namespace tailrace::statemachine
