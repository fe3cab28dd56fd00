// The historian against a log: whatever is killed or refused, the events that are alive, and no
// others, are in the files below the anchor.
#include "history/historian.h"

#include <algorithm>
#include <functional>
#include <map>
#include <thread>

#include "fasterlog/log.h"
#include "history/stretch_writer.h"
#include "statemachine/txn/txn.h"
#include "tests/history/history_support.h"
#include "tests/support/temporary_directory.h"

namespace tailrace::history {
namespace {

using testing::CrashPolicy;
using testing::FaultFileSystem;
using testing::FaultKind;

constexpr uint64_t kStretch = 64u << 10;
constexpr uint64_t kTime = 1'700'000'000'000'000'000;
// What stands before the body in a record of these tests; other records are other commands.
constexpr std::byte kTxnMark{1};

class Outcomes final : public EventOutcomes {
 public:
  Result<std::optional<Address>> end_within(AddressRange range) override {
    const auto end = ends.lower_bound(range.first.value);
    if (end == ends.end() || end->first >= range.end.value) return std::nullopt;
    return Address{end->second};
  }
  Result<bool> begin(AddressRange stretch) override {
    const auto first = alive.lower_bound({stretch.first.value, 0});
    const auto floor = floors_of.lower_bound(stretch.first.value);
    return (first != alive.end() && first->first.record_address < stretch.end.value) ||
           (floor != floors_of.end() && floor->first < stretch.end.value);
  }
  Result<std::optional<LoggedTxn>> transaction(const fasterlog::Record& record) override {
    floors_.clear();
    if (const auto found = floors_of.find(record.address.value); found != floors_of.end())
      floors_ = found->second;
    if (record.payload.empty() || record.payload[0] != kTxnMark) return std::nullopt;
    return LoggedTxn{record.payload.subspan(1), kTime + record.address.value};
  }
  Result<std::optional<statemachine::StreamVersion>> version(
      std::string_view, statemachine::EventPlace place) override {
    const auto found = alive.find(place);
    if (found == alive.end()) return std::nullopt;
    return found->second;
  }
  std::span<const LoggedFloor> floors() override { return floors_; }
  std::map<statemachine::EventPlace, uint64_t> alive;
  std::map<uint64_t, std::vector<LoggedFloor>> floors_of;  // by record
  std::map<uint64_t, uint64_t> ends;  // of stretches, by the record that has asked for it

 private:
  std::vector<LoggedFloor> floors_;
};

/// A log of random transactions and other commands, and what history is to have of it.
class LoggedEvents {
 public:
  explicit LoggedEvents(uint64_t seed, int records = 500) : random_(seed) {
    fasterlog::LogOptions options;
    options.directory = temporary_.path() / "log";
    options.owner = "test/1";
    options.page_bytes = 64u << 10;
    options.buffer_pages = 4;
    options.segment_bytes = 128u << 10;
    options.reserve_disk_bytes = 0;
    options.huge_pages = false;
    log_ = std::move(fasterlog::Log::open(storage::posix_file_system(), options)).value();
    EXPECT_TRUE(log_->become_writer(Epoch{3}));
    for (int record = 0; record < records; ++record) {
      if (random_.chance(1, 3))
        append(std::vector<std::byte>(random_.below(2000), std::byte{7}));
      else
        append_txn();
      if (record % 50 == 0) log_->request_commit();
    }
    // Stretches without events. In the first one a stream ends.
    for (int record = 0; record < 100; ++record) {
      if (record == 40) append_end("then-s");
      append(std::vector<std::byte>(2000, std::byte{7}));
    }
    EXPECT_TRUE(log_->wait_durable(log_->tail()));
  }

  fasterlog::Log& log() { return *log_; }
  Outcomes& outcomes() { return outcomes_; }
  const std::vector<AddressRange>& records() const { return records_; }
  /// Of each stretch that has some, by its end.
  const std::map<uint64_t, Floors>& floors() const { return floors_; }
  /// Those whose records begin before the address.
  Events before(Address end) const {
    Events events = events_;
    std::erase_if(events, [&](const OwnedEvent& each) { return each.record >= end.value; });
    return events;
  }

 private:
  Address append(const std::vector<std::byte>& payload) {
    const auto range = log_->enqueue(fasterlog::RecordKind::kData, payload);
    EXPECT_TRUE(range);
    records_.push_back(*range);
    return range->first;
  }

  Address append(const statemachine::Txn& txn) {
    std::vector<std::byte> body, payload{kTxnMark};
    statemachine::encode(txn, body);
    payload.insert(payload.end(), body.begin(), body.end());
    return append(payload);
  }

  /// Of its effects the last one, of the second list, ends the stream.
  void append_end(const std::string& stream) {
    statemachine::Txn txn;
    txn.then.push_back({.kind = statemachine::TxnEffectKind::kDelete, .name = as_bytes("key")});
    txn.otherwise.push_back(
        {.kind = statemachine::TxnEffectKind::kTombstone, .name = as_bytes(stream)});
    const Address record = append(txn);
    note_floor(record, 1, stream, versions_[stream]);
  }

  void note_floor(Address record, uint32_t effect, const std::string& stream, uint64_t version) {
    if (version == 0) return;
    outcomes_.floors_of[record.value].push_back({effect, version});
    floors_[align_down(record.value, kStretch) + kStretch][stream] = version;
  }

  void append_txn() {
    Events events(random_.between(1, 5));
    statemachine::Txn txn;
    // In both lists: ordinals go through the two.
    txn.then.push_back({.kind = statemachine::TxnEffectKind::kAppend, .name = as_bytes("then-s")});
    txn.otherwise.push_back(
        {.kind = statemachine::TxnEffectKind::kAppend, .name = as_bytes("else-s")});
    const size_t first = random_.below(events.size() + 1);
    for (size_t i = 0; i < events.size(); ++i) {
      OwnedEvent& event = events[i];
      event.stream = i < first ? "then-s" : "else-s";
      event.type = "t" + std::to_string(random_.below(3));
      event.data.resize(random_.below(900), 'd');
      event.tags.assign(random_.below(3), "tag");
      const std::vector<std::string_view> tags(event.tags.begin(), event.tags.end());
      txn.add_event(i < first ? txn.then[0] : txn.otherwise[0],
                    {.type = event.type, .data = as_bytes(event.data)}, tags);
    }
    if (first == 0) txn.then.clear();
    if (first == events.size()) txn.otherwise.clear();
    const Address record = append(txn);
    std::vector<std::byte> body;
    statemachine::encode(txn, body);
    statemachine::Txn decoded;
    ASSERT_TRUE(statemachine::decode(body, decoded));
    // Its first effect has made some of its stream unreadable. (Which of its events are alive says
    // `alive` alone.)
    if (random_.chance(1, 5)) {
      const std::string stream = first > 0 ? "then-s" : "else-s";
      note_floor(record, 0, stream, versions_[stream]);
    }
    for (size_t i = 0; i < events.size(); ++i) {
      OwnedEvent& event = events[i];
      if (random_.chance(1, 4)) continue;  // without effect, or dead
      event.version = versions_[event.stream]++;
      event.record = record.value;
      event.position = record.value + 24 + 1 + decoded.events[i].offset;
      event.epoch = 3;
      event.time_ns = kTime + record.value;
      outcomes_.alive[{record.value, static_cast<uint16_t>(i)}] = event.version;
      events_.push_back(event);
    }
  }

  Random random_;
  testing::TemporaryDirectory temporary_;
  std::unique_ptr<fasterlog::Log> log_;
  Outcomes outcomes_;
  std::map<std::string, uint64_t> versions_;
  Events events_;
  std::map<uint64_t, Floors> floors_;
  std::vector<AddressRange> records_;
};

HistorianOptions small_stretches() {
  HistorianOptions options;
  options.stretch_bytes = kStretch;
  options.reserve_disk_bytes = 0;
  options.interval = std::chrono::milliseconds(1);
  return options;
}

/// All events of all files, by address.
Events all_events(const Catalogue& catalogue) {
  Events all;
  BlockCache cache(1u << 20);
  for (const EventFileInfo& info : catalogue.files()) {
    const auto file = catalogue.open_file(info, cache);
    EXPECT_TRUE(file) << file.error().message;
    EXPECT_TRUE((*file)->verify());
    const auto events = read_all((*file)->events(Address{}, Order::kForwards));
    EXPECT_TRUE(events) << events.error().message;
    all.insert(all.end(), events->begin(), events->end());
  }
  return all;
}

/// Of each file that has some, by its end.
std::map<uint64_t, Floors> all_floors(const Catalogue& catalogue) {
  std::map<uint64_t, Floors> all;
  BlockCache cache(0);
  for (const EventFileInfo& info : catalogue.files()) {
    const auto floors = read_floors(*catalogue.open_file(info, cache).value());
    EXPECT_TRUE(floors) << floors.error().message;
    if (!floors->empty()) all[info.range.end.value] = *floors;
  }
  return all;
}

/// Writes all stretches below the log's end, or until the first error.
Result<> write_all(FaultFileSystem& disk, LoggedEvents& logged, Address& complete) {
  TAILRACE_ASSIGN_OR_RETURN(const auto catalogue, Catalogue::open(disk, kDirectory));
  StretchWriter writer(disk, logged.log(), *catalogue, logged.outcomes(), small_stretches());
  TAILRACE_ASSIGN_OR_RETURN(complete, writer.complete());
  for (;;) {
    TAILRACE_ASSIGN_OR_RETURN(const auto done, writer.write_next(logged.log().durable(), {}));
    if (!done) return {};
    complete = *done;
  }
}

TEST(Historian, FilesHaveTheEventsThatAreAliveAndNoOthers) {
  const uint64_t seed = seed_of_test();
  LoggedEvents logged(seed);
  FaultFileSystem disk(1);
  Address complete;
  const auto written = write_all(disk, logged, complete);
  ASSERT_TRUE(written) << written.error().message;
  EXPECT_EQ(complete.value, align_down(logged.log().durable().value, kStretch));
  const auto catalogue = Catalogue::open(disk, kDirectory).value();
  EXPECT_GT(catalogue->files().size(), 5u);
  EXPECT_TRUE(catalogue->gaps({logged.log().begin(), complete}).empty());
  EXPECT_EQ(all_events(*catalogue), logged.before(complete));
  EXPECT_LT(catalogue->files().back().range.end, complete) << "no stretch is empty";
}

// Promise: whatever a stretch has made unreadable stands in its file, also where it has no event.
TEST(Historian, FilesHaveTheFloorsOfTheirStretch) {
  const uint64_t seed = seed_of_test();
  LoggedEvents logged(seed);
  FaultFileSystem disk(1);
  Address complete;
  const auto written = write_all(disk, logged, complete);
  ASSERT_TRUE(written) << written.error().message;
  const auto catalogue = Catalogue::open(disk, kDirectory).value();
  EXPECT_EQ(all_floors(*catalogue), logged.floors());
  BlockCache cache(0);
  const auto last = catalogue->open_file(catalogue->files().back(), cache).value();
  EXPECT_EQ(last->summary().events, 0u) << "the stream does not end in a stretch without events";
  EXPECT_EQ(last->summary().floors, 1u);
}

// Promise: all that is before a scavenge is in files that end there, and nothing else is: also
// where several are in one stretch, and whenever a node came to write.
TEST(Historian, AStretchEndsWhereARecordAsksForIt) {
  const uint64_t seed = seed_of_test();
  LoggedEvents logged(seed);
  Random random(seed);
  std::vector<uint64_t> ends;
  for (int i = 0; i < 6; ++i) {
    const AddressRange record = logged.records()[random.below(logged.records().size())];
    logged.outcomes().ends[record.first.value] = record.end.value;
    ends.push_back(record.end.value);
  }
  FaultFileSystem at_once(1), step_by_step(1);
  Address complete;
  ASSERT_TRUE(write_all(at_once, logged, complete));
  EXPECT_GE(complete.value, *std::max_element(ends.begin(), ends.end()));
  const auto catalogue = Catalogue::open(at_once, kDirectory).value();
  EXPECT_TRUE(catalogue->gaps({logged.log().begin(), complete}).empty());
  EXPECT_EQ(all_events(*catalogue), logged.before(complete));
  BlockCache cache(0);
  for (const EventFileInfo& info : catalogue->files()) {
    const auto file = catalogue->open_file(info, cache).value();
    const Events events = read_all(file->events(Address{}, Order::kForwards)).value();
    for (const uint64_t end : ends) {
      if (info.range.end.value > end && !events.empty()) {
        EXPECT_GE(events.front().record, end);
      }
    }
  }
  const auto steps = Catalogue::open(step_by_step, kDirectory).value();
  StretchWriter writer(step_by_step, logged.log(), *steps, logged.outcomes(), small_stretches());
  const uint64_t durable = logged.log().durable().value;
  for (uint64_t bound = 64; bound < durable;) {
    bound = std::min(durable, bound + random.below(9000));
    while (true) {
      const auto written = writer.write_next(Address{bound}, {});
      ASSERT_TRUE(written) << written.error().message;
      if (!*written) break;
      ASSERT_LE((*written)->value, bound);
    }
  }
  EXPECT_EQ(steps->files(), catalogue->files());
  EXPECT_EQ(steps->end(), complete);
}

// What was said to be complete is there after a crash; and from there on all of it comes, in the
// same files as on a node that was never killed.
TEST(Historian, AKillAtEachOperationLosesNothing) {
  LoggedEvents logged(7, 150);
  FaultFileSystem undisturbed(1);
  Address complete;
  ASSERT_TRUE(write_all(undisturbed, logged, complete));
  const uint64_t operations = undisturbed.operations();
  const auto wanted = Catalogue::open(undisturbed, kDirectory).value()->files();
  const Events events = logged.before(complete);
  ASSERT_GT(wanted.size(), 2u);
  for (uint64_t at = 0; at < operations; at += kCrashEvery)
    for (const CrashPolicy policy :
         {CrashPolicy::kLoseUnsynced, CrashPolicy::kRandom, CrashPolicy::kProcessEnds}) {
      SCOPED_TRACE("killed at operation " + std::to_string(at));
      FaultFileSystem disk(at);
      disk.fail_at(at, FaultKind::kPowerCut);
      Address said;
      EXPECT_FALSE(write_all(disk, logged, said));
      disk.crash(policy);
      EXPECT_GE(Catalogue::open(disk, kDirectory).value()->end(),
                said == logged.log().begin() ? Address{} : said);
      const auto again = write_all(disk, logged, said);
      ASSERT_TRUE(again) << again.error().message;
      const auto catalogue = Catalogue::open(disk, kDirectory).value();
      ASSERT_EQ(catalogue->files(), wanted) << "another node has other files";
      ASSERT_EQ(catalogue->end(), complete);
      ASSERT_TRUE(policy != CrashPolicy::kRandom || all_events(*catalogue) == events);
    }
}

void wait_until(const std::function<bool()>& holds) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!holds() && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_TRUE(holds());
}

Address anchor_of(const statemachine::AnchorRegistry& anchors) {
  for (const auto& [name, address] : anchors.all())
    if (name == kHistoryAnchor) return address;
  return Address::max();
}

TEST(Historian, WritesBelowTheOtherAnchorsAndMovesItsOwn) {
  LoggedEvents logged(8);
  FaultFileSystem disk(1);
  statemachine::AnchorRegistry anchors;
  const auto catalogue = Catalogue::open(disk, kDirectory).value();
  Historian historian(disk, logged.log(), anchors, *catalogue, logged.outcomes(),
                      small_stretches());
  anchors.set("consumer:x", Address{3 * kStretch + 5});
  ASSERT_TRUE(historian.start());
  EXPECT_EQ(anchor_of(anchors), logged.log().begin());
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(catalogue->end(), Address{}) << "no checkpoint is published";
  anchors.set("checkpoint", logged.log().durable());
  historian.wake();
  wait_until([&] { return anchor_of(anchors) == Address{3 * kStretch}; });
  EXPECT_EQ(catalogue->end(), Address{3 * kStretch});
  EXPECT_EQ(historian.status().complete, Address{3 * kStretch});
  EXPECT_EQ(historian.status().stretches, 3u);
  // Truncation passes no further than that, and the historian goes on with what is left.
  ASSERT_TRUE(logged.log().truncate_before(anchors.limit().first));
  anchors.remove("consumer:x");
  const Address last{align_down(logged.log().durable().value, kStretch)};
  wait_until([&] { return anchor_of(anchors) == last; });
  historian.stop();
  EXPECT_EQ(all_events(*catalogue), logged.before(last));
}

TEST(Historian, AFullDiskIsNamedAndItGoesOnByItself) {
  LoggedEvents logged(9);
  FaultFileSystem disk(1);
  statemachine::AnchorRegistry anchors;
  const auto catalogue = Catalogue::open(disk, kDirectory).value();
  Historian historian(disk, logged.log(), anchors, *catalogue, logged.outcomes(),
                      small_stretches());
  disk.set_capacity(2000);
  anchors.set("checkpoint", logged.log().durable());
  ASSERT_TRUE(historian.start());
  wait_until([&] { return historian.status().trouble.has_value(); });
  EXPECT_EQ(historian.status().trouble->code, ErrorCode::kResourceExhausted)
      << historian.status().trouble->message;
  EXPECT_EQ(anchors.limit(), (std::pair{logged.log().begin(), std::string(kHistoryAnchor)}));
  disk.set_capacity(uint64_t{1} << 30);
  const Address last{align_down(logged.log().durable().value, kStretch)};
  wait_until([&] { return historian.status().complete == last; });
  EXPECT_FALSE(historian.status().trouble);
  historian.stop();
  EXPECT_EQ(all_events(*catalogue), logged.before(last));
}

// The log and the store come first: history does not take the last of the disk.
TEST(Historian, LeavesFreeWhatIsToStayFree) {
  LoggedEvents logged(12, 100);
  FaultFileSystem disk(1);
  const auto catalogue = Catalogue::open(disk, kDirectory).value();
  HistorianOptions options = small_stretches();
  options.reserve_disk_bytes = 1'000'000;
  StretchWriter writer(disk, logged.log(), *catalogue, logged.outcomes(), options);
  disk.set_capacity(1'000'000 + kStretch - 1);
  const auto refused = writer.write_next(logged.log().durable(), {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted);
  EXPECT_NE(refused.error().message.find("1000000"), std::string::npos) << refused.error().message;
  disk.set_capacity(1'000'000 + kStretch);
  EXPECT_TRUE(writer.write_next(logged.log().durable(), {}));
}

// After a copied state the log begins in a stretch that others have as a whole.
TEST(Historian, ALogThatBeginsAnewLeavesAGapToBeFetched) {
  LoggedEvents logged(10);
  FaultFileSystem disk(1);
  // It lands on the end of a commit mark, and these are where the flusher has put them: before the
  // first of them nothing is cut off.
  Address begin{2 * kStretch};
  for (uint64_t wanted = begin.value; begin.value % kStretch == 0 || begin.value < kStretch;
       wanted += 1000) {
    ASSERT_LT(wanted, logged.log().durable().value);
    begin = logged.log().truncate_before(Address{wanted}).value();
  }
  const Address whole{align_up(begin.value, kStretch)};
  ASSERT_LE(whole + kStretch, logged.log().durable());
  const Address before{64};
  for (const bool knows_all : {true, false}) {
    const auto catalogue =
        Catalogue::open(disk, storage::Path(kDirectory) / (knows_all ? "all" : "rest")).value();
    HistorianOptions options = small_stretches();
    options.has_no_outcomes_yet = knows_all;
    if (!knows_all) options.known_from = begin;
    StretchWriter writer(disk, logged.log(), *catalogue, logged.outcomes(), options);
    EXPECT_EQ(writer.complete(), knows_all ? begin : whole);
    ASSERT_TRUE(writer.write_next(logged.log().durable(), {}));
    // Whoever knows of all transactions knows that what was truncated had none.
    EXPECT_EQ(
        catalogue->gaps({before, catalogue->end()}),
        knows_all ? std::vector<AddressRange>{} : (std::vector<AddressRange>{{before, whole}}));
  }
}

TEST(Historian, FilesOfAnotherLogAreRefused) {
  LoggedEvents logged(11, 10);
  FaultFileSystem disk(1);
  const auto catalogue = Catalogue::open(disk, kDirectory).value();
  ASSERT_TRUE(catalogue->note_empty(Address{64}, logged.log().durable() + 8));
  statemachine::AnchorRegistry anchors;
  Historian historian(disk, logged.log(), anchors, *catalogue, logged.outcomes(),
                      small_stretches());
  const auto started = historian.start();
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, ErrorCode::kFailedPrecondition);
}

}  // namespace
}  // namespace tailrace::history
