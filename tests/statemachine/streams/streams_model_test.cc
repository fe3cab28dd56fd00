// The index of streams against an event store in memory, by seeds. TAILRACE_SEED=N replays one,
// TAILRACE_SEEDS=N tries so many.

#include "tests/statemachine/streams/streams_model.h"

#include <set>

#include "core/random.h"
#include "tests/statemachine/harness.h"
#include "tests/statemachine/streams/streams_support.h"

namespace tailrace::statemachine {
namespace {

constexpr uint64_t kStreamSeeds = kSanitized ? 2 : 12;
constexpr int kSteps = 700;

/// What a record of a log would say, and what came of it.
struct StreamCall {
  enum class Kind { kAppend, kPolicy, kRemove, kTombstone };
  Kind kind = Kind::kAppend;
  std::string stream;
  ExpectedVersion expected;
  std::vector<EventId> ids;
  std::vector<EventPlace> places;
  uint64_t time_ns = 0;
  PolicyChange change;
  kv::Serial serial = 0;
  std::string answer;
};

std::string text_of(const StreamPresence& found) {
  return std::to_string(static_cast<int>(found.state)) + "@" +
         (found.last ? std::to_string(*found.last) : "-");
}
std::string text_of(const AppendOutcome& outcome) {
  return std::to_string(static_cast<int>(outcome.kind)) + " " + std::to_string(outcome.first) +
         "-" + std::to_string(outcome.last) + " found " + text_of(outcome.found) + " index " +
         std::to_string(outcome.index);
}

class StreamsRun {
 public:
  explicit StreamsRun(uint64_t seed)
      : random_(seed), node_(seed, options()), twin_(seed, kv::small_options("/kv")) {
    streams_ = 3 + random_.below(12);
  }

  void run() {
    for (int step = 0; step < kSteps && !::testing::Test::HasFailure(); ++step) {
      SCOPED_TRACE("step " + std::to_string(step));
      take_step();
    }
    // A serial that was given up half done would hold up every scan.
    if (::testing::Test::HasFailure()) return;
    node_.finish_checkpoint();
    for (const auto& [name, stream] : model_.streams())
      read(name);
    list();
    EXPECT_TRUE(node_.pairs() == twin_.pairs())
        << "a node that was started again has other pairs than one that was not";
    expect_no_page_left();
  }

 private:
  kv::StoreOptions options() {
    kv::StoreOptions options =
        random_.chance(2, 3) ? kv::tiny_options("/kv") : kv::small_options("/kv");
    options.copy_reads_to_tail = random_.chance(1, 2);
    return options;
  }

  std::string any_stream() {
    const uint64_t number = random_.chance(1, 3) ? 0 : random_.below(streams_);
    // Some names are longer than the store's short keys.
    return number % 5 == 4 ? std::string(300, 'x') + std::to_string(number)
                           : "s-" + std::to_string(number);
  }
  const ModelStream* known(const std::string& name) const {
    const auto at = model_.streams().find(name);
    return at == model_.streams().end() ? nullptr : &at->second;
  }
  ExpectedVersion any_expected(const std::string& name) {
    const auto last = model_.presence(name).last;
    switch (random_.below(12)) {
      case 0:
        return kExpectNone;
      case 1:
        return kExpectExists;
      case 2:
        return exactly(random_.below(20));
      case 3:
        return exactly(last.value_or(0) + 1);
      case 4:
      case 5:
      case 6:
        return exactly(last.value_or(0));
      default:
        return kExpectAny;
    }
  }

  // --- calls ---

  void take_step() {
    const uint64_t dice = random_.below(1000);
    if (dice < 700) return record();
    if (dice < 850) return read(any_stream());
    if (dice < 880) return check(any_stream());
    if (dice < 890) return list();
    if (dice < 910) return first_of_age(any_stream());
    if (dice < 960) return checkpoint();
    restart();
  }

  /// One to three calls of one serial, as a command has them.
  void record() {
    ++serial_;
    std::vector<StreamCall> calls(random_.chance(1, 4) ? 1 + random_.below(3) : 1);
    for (StreamCall& call : calls) {
      plan(call);
      answer_by_model(call);
      if (::testing::Test::HasFailure()) return;
    }
    if (random_.chance(1, 2)) prefetch(calls);
    for (StreamCall& call : calls) {
      ASSERT_EQ(run_on(node_, call), call.answer) << call.stream.substr(0, 20);
      ASSERT_EQ(run_on(twin_, call), call.answer);
      calls_.push_back(call);
    }
    node_.done(serial_);
    twin_.done(serial_);
  }

  void plan(StreamCall& call) {
    call.stream = any_stream();
    call.serial = serial_;
    const uint64_t dice = random_.below(100);
    if (dice < 84) return plan_append(call);
    if (dice < 94) return plan_policy(call);
    call.kind = dice < 98 ? StreamCall::Kind::kRemove : StreamCall::Kind::kTombstone;
    if (call.kind == StreamCall::Kind::kTombstone && random_.chance(3, 4))
      call.stream = "t-" + std::to_string(random_.below(50));
  }

  void plan_append(StreamCall& call) {
    call.expected = any_expected(call.stream);
    size_t events = 1;
    if (random_.chance(1, 3)) events = 1 + random_.below(12);
    if (random_.chance(1, 20)) events = 1 + random_.below(400);
    time_ns_ += random_.below(1000);
    // A clock that goes back now and then.
    call.time_ns = time_ns_ - std::min(time_ns_, random_.chance(1, 10) ? random_.below(3000) : 0);
    if (random_.chance(2, 3)) plan_ids(call, events);
    call.places = places_in(address_ += 64, call.ids.empty() ? events : call.ids.size());
  }

  void plan_ids(StreamCall& call, size_t events) {
    call.ids.resize(events);
    for (EventId& id : call.ids)
      if (!random_.chance(1, 30)) id = stream_event_id(++last_id_);
    if (!random_.chance(1, 3)) return;
    const ModelStream* const stream = known(call.stream);
    if (stream == nullptr || stream->ids.empty()) return;
    // Some that are there, in order; perhaps with others, in another order, or one of them twice.
    const auto& ids = stream->ids;
    const size_t from = random_.below(ids.size());
    const size_t most = std::min<size_t>(ids.size() - from, 1 + random_.below(8));
    std::vector<EventId> again;
    for (size_t i = 0; i < most; ++i)
      again.push_back(ids[from + i].first);
    if (random_.chance(1, 6)) std::swap(again.front(), again.back());
    if (random_.chance(1, 6)) again.push_back(stream_event_id(++last_id_));
    if (random_.chance(1, 6)) again.insert(again.begin(), stream_event_id(++last_id_));
    if (random_.chance(1, 8)) again.push_back(again[random_.below(again.size())]);
    if (random_.chance(1, 8)) again.push_back(EventId{});
    call.ids = again;
  }

  void plan_policy(StreamCall& call) {
    call.kind = StreamCall::Kind::kPolicy;
    const auto last = model_.presence(call.stream).last.value_or(0);
    if (random_.chance(1, 3))
      call.change.max_count = random_.chance(1, 3) ? 0 : 1 + random_.below(300);
    if (random_.chance(1, 3))
      call.change.max_age_ns = random_.chance(1, 2) ? 0 : 1 + random_.below(100'000);
    if (random_.chance(1, 3)) call.change.truncate_before = random_.below(last + 10);
    constexpr uint32_t kDedupes[] = {0, 1, 3, 17, kDefaultDedupe, kMostDedupe};
    if (random_.chance(1, 3)) call.change.dedupe = kDedupes[random_.below(6)];
  }

  void answer_by_model(StreamCall& call) {
    const StreamPresence found = model_.presence(call.stream);
    call.answer = text_of(found);
    switch (call.kind) {
      case StreamCall::Kind::kAppend:
        call.answer =
            text_of(model_.append(call.stream, call.expected, call.ids, call.places, call.time_ns));
        break;
      case StreamCall::Kind::kPolicy:
        model_.set_policy(call.stream, call.change);
        break;
      case StreamCall::Kind::kRemove:
        model_.remove(call.stream);
        break;
      case StreamCall::Kind::kTombstone:
        model_.tombstone(call.stream);
        break;
    }
  }

  static std::string run_on(StreamsNode& node, const StreamCall& call) {
    const auto text = [](const auto& result) {
      return result ? text_of(*result) : "error: " + result.error().message;
    };
    StreamIndex& index = node.index();
    switch (call.kind) {
      case StreamCall::Kind::kAppend:
        return text(index.append({call.stream, call.expected, call.ids, call.places, call.time_ns},
                                 call.serial));
      case StreamCall::Kind::kPolicy:
        return text(index.set_policy(call.stream, call.change, call.serial));
      case StreamCall::Kind::kRemove:
        return text(index.remove(call.stream, call.serial));
      case StreamCall::Kind::kTombstone:
        return text(index.tombstone(call.stream, call.serial));
    }
    return {};
  }

  void prefetch(const std::vector<StreamCall>& calls) {
    std::vector<StreamAhead> ahead;
    for (const StreamCall& call : calls)
      ahead.push_back({call.stream, std::max<size_t>(1, call.places.size())});
    const std::string other = any_stream();
    ahead.push_back({other, 1});
    const auto begun = node_.index().prefetch(ahead);
    ASSERT_TRUE(begun) << begun.error().message;
  }

  // --- comparing ---

  void check(const std::string& name) {
    const ExpectedVersion expected = any_expected(name);
    const auto checked = node_.index().check(name, expected);
    ASSERT_TRUE(checked) << checked.error().message;
    EXPECT_EQ(checked->holds, model_.holds(name, expected));
    EXPECT_EQ(checked->found, model_.presence(name));
  }

  void read(const std::string& name) {
    const StreamVersion from = random_.chance(1, 8) ? UINT64_MAX : random_.below(700);
    const size_t most = random_.chance(1, 2) ? SIZE_MAX : random_.below(150);
    const Direction direction = random_.chance(1, 2) ? Direction::kForwards : Direction::kBackwards;
    if (random_.chance(1, 2)) {
      StreamReader<kv::Store> reader(node_.store());
      expect_entries(name, from, most, direction, reader.entries(name, from, most, direction));
    } else {
      StreamReader<kv::Session> reader(node_.session());
      expect_entries(name, from, most, direction, reader.entries(name, from, most, direction));
    }
  }

  void expect_entries(const std::string& name, StreamVersion from, size_t most, Direction direction,
                      const Result<StreamEntries>& read) {
    ASSERT_TRUE(read) << read.error().message;
    const ModelStream* const stream = known(name);
    ASSERT_EQ(read->head.has_value(), stream != nullptr);
    if (stream == nullptr) return;
    const StreamHead& head = *read->head;
    ASSERT_NO_FATAL_FAILURE(expect_head(head, *stream));
    std::vector<StreamEntries::Entry> expected;
    const auto add = [&](StreamVersion version) {
      expected.push_back({version, stream->events[version].place});
    };
    if (direction == Direction::kForwards)
      for (StreamVersion v = std::max(from, head.first); v < head.next && expected.size() < most;
           ++v)
        add(v);
    else if (head.next > 0)
      for (StreamVersion v = std::min(from, head.next - 1) + 1;
           v-- > head.first && expected.size() < most;)
        add(v);
    EXPECT_TRUE(read->entries == expected)
        << read->entries.size() << " entries, not " << expected.size() << ", from " << from;
  }

  void expect_head(const StreamHead& head, const ModelStream& stream) {
    ASSERT_EQ(head.next, stream.events.size());
    ASSERT_EQ(head.deleted, stream.deleted);
    ASSERT_EQ(head.tombstoned, stream.tombstoned);
    ASSERT_EQ(head.policy, stream.policy);
    ASSERT_EQ(head.last_time_ns, stream.last_time_ns());
    ASSERT_EQ(head.remembers_ids, !stream.ids.empty());
    if (!stream.events.empty()) {
      ASSERT_EQ(head.last_place, stream.events.back().place);
    }
    // Whole pages of what was too old are gone, and no more than was too old.
    ASSERT_GE(head.first, stream.first);
    ASSERT_LE(head.first, std::max(stream.first, stream.too_old));
  }

  void first_of_age(const std::string& name) {
    const ModelStream* const stream = known(name);
    StreamReader<kv::Store> reader(node_.store());
    std::map<EventPlace, uint64_t> times;
    if (stream != nullptr)
      for (const ModelStream::Event& event : stream->events)
        times[event.place] = event.time_ns;
    const uint64_t now_ns = time_ns_ + random_.below(50'000);
    size_t asked = 0;
    const auto first = reader.first_of_age(name, now_ns, [&](EventPlace place) -> Result<uint64_t> {
      ++asked;
      return times.at(place);
    });
    ASSERT_TRUE(first) << first.error().message;
    if (stream == nullptr) return;
    const auto head = reader.head(name);
    ASSERT_TRUE(head && *head);
    EXPECT_EQ(*first, std::max((*head)->first, stream->first_young(now_ns)));
    EXPECT_LE(asked, 24u);
  }

  void list() {
    const std::string prefix = random_.chance(1, 2) ? "" : random_.chance(1, 2) ? "s-" : "s-1";
    const std::string after = random_.chance(1, 2) ? "" : any_stream();
    const size_t most = random_.chance(1, 2) ? SIZE_MAX : random_.below(5);
    const size_t most_bytes = random_.chance(1, 2) ? SIZE_MAX : random_.below(1000);
    auto started = StreamList::start(node_.store(), prefix, after, {most, most_bytes});
    ASSERT_TRUE(started) << started.error().message;
    for (bool more = true; more;) {
      const auto next = (*started)->next(1 + random_.below(1u << 16));
      ASSERT_TRUE(next) << next.error().message;
      more = *next;
    }
    std::vector<std::string> names, expected;
    size_t bytes = 0;
    bool cut = false;
    for (const StreamList::Listed& listed : (*started)->take())
      names.push_back(listed.name);
    for (const auto& [name, stream] : model_.streams())
      if (name.starts_with(prefix) && name > after &&
          model_.presence(name).state == StreamPresence::State::kExists) {
        bytes += name.size() + StreamListLimits::kListedBytes;
        cut |= expected.size() >= most || (bytes > most_bytes && !expected.empty());
        if (!cut) expected.push_back(name);
      }
    EXPECT_EQ(names, expected);
    EXPECT_EQ((*started)->is_cut(), cut);
  }

  /// Pages are those that a head can lead to, and those that wait to be removed.
  void expect_no_page_left() {
    const kv::Model pairs = node_.pairs();
    std::set<std::string> expected, pages;
    std::string key;
    const auto expect = [&](uint64_t dense_id, uint64_t from, uint64_t to) {
      for (; from < to; ++from) {
        page_key(dense_id, from, key);
        expected.insert(key);
      }
    };
    size_t lists_of_ids = 0, heads_with_ids = 0;
    for (const auto& [name, value] : pairs) {
      if (name[0] == kPageKey) pages.insert(name);
      if (name[0] == kIdsKey) ++lists_of_ids;
      if (name[0] == kDroppedKey) {
        const auto dropped = decode_dropped(as_bytes(value));
        ASSERT_TRUE(dropped);
        expect(dropped->dense_id, dropped->from, dropped->to);
      }
      if (name[0] != kHeadKey) continue;
      const auto head = decode_head(as_bytes(value));
      ASSERT_TRUE(head);
      if (head->remembers_ids) ++heads_with_ids;
      const StreamVersion paged = head->inline_begin();
      if (paged > 0) expect(head->dense_id, page_of(head->first), page_of(paged - 1) + 1);
    }
    EXPECT_EQ(lists_of_ids, heads_with_ids);
    for (const std::string& page : pages)
      EXPECT_TRUE(expected.contains(page)) << "a page that nothing leads to";
  }

  // --- ends and beginnings ---

  void checkpoint() {
    constexpr kv::CheckpointKind kKinds[] = {kv::CheckpointKind::kFoldOver,
                                             kv::CheckpointKind::kSnapshot,
                                             kv::CheckpointKind::kIncremental};
    const kv::CheckpointKind kind = kKinds[random_.below(3)];
    if (random_.chance(1, 2)) return node_.begin_checkpoint(kind);
    node_.checkpoint(kind);
  }

  /// As a node does: from its newest checkpoint on it applies what the log has.
  void restart() {
    constexpr testing::CrashPolicy kPolicies[] = {
        testing::CrashPolicy::kLoseUnsynced, testing::CrashPolicy::kKeepAll,
        testing::CrashPolicy::kRandom, testing::CrashPolicy::kProcessEnds};
    const kv::Serial point = node_.restart(kPolicies[random_.below(4)]);
    ASSERT_LE(point, serial_);
    for (const StreamCall& call : calls_) {
      if (call.serial <= point) continue;
      node_.done(call.serial - 1);
      ASSERT_EQ(run_on(node_, call), call.answer) << "again, from " << point;
    }
    node_.done(serial_);
  }

  Random random_;
  StreamsNode node_, twin_;  // the twin is never started again
  StreamsModel model_;
  std::vector<StreamCall> calls_;
  uint64_t streams_ = 0, last_id_ = 0;
  uint64_t time_ns_ = 0, address_ = 0;
  kv::Serial serial_ = 0;
};

// Promise: whatever is asked of streams, in any order, the index answers as an event store would
// that keeps every event in memory. Checkpoints are taken between two records, or begin there and
// go on beside the next ones. A node that ends between two records, perhaps while a checkpoint is
// taken, and goes on from its newest one answers the same again, and comes to the same pairs as one
// that never ended. No page is left behind.
TEST(StreamsModel, AgreesWithAnEventStoreInMemory) {
  kv::for_seeds(kStreamSeeds, [](uint64_t seed) { StreamsRun(seed).run(); });
}

}  // namespace
}  // namespace tailrace::statemachine
