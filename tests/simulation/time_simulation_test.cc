// Clocks that jump and nodes with different files, from one seed: the rules of log time, of
// sessions and of expiry as the program has them (fasterlog/time/log_time.h,
// statemachine/types/rules.h), between model nodes. The checkers know true time, and nothing of
// what the rules remember.
//
//   - Log time never goes back, and is carried no further than its rule says.
//   - A key that was put with a time to live is there for that long in log time, and gone then.
//   - A command of a session is applied once at most, whenever and wherever it is sent again.
//   - All nodes come to the same state, whatever their files say.
//
// Replays one seed: TAILRACE_SEED=…

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "core/random.h"
#include "fasterlog/time/log_time.h"
#include "statemachine/types/rules.h"

namespace tailrace {
namespace {

using fasterlog::ClockReading;
using fasterlog::LogTimeRule;
using statemachine::Rules;
using namespace std::chrono_literals;

/// Deliberate: each has to be noticed.
struct Faults {
  bool rules_from_files = false;
  bool expiry_by_clock = false;
  bool serial_one_is_new = false;
  bool follows_any_reading = false;
  bool bounds_hold_nothing = false;  // a lower ttl ends a session before its bound
  bool evicts_without_a_trace = false;
};

constexpr uint64_t kBorn = 1'790'000'000'000'000'000, kSecond = 1'000'000'000;

uint64_t in_ns(Nanoseconds time) {
  return static_cast<uint64_t>(time.count());
}

struct Record {
  enum class Kind { kMark, kPut, kCommand, kRules } kind;
  uint64_t number = 0;  // mark: log time; put: the key; command: the client
  uint64_t expires_at = 0, serial = 0, bound = 0;
  Rules rules = {};
};

/// What applying the log comes to.
struct State {
  struct Session {
    uint64_t serial = 0, used = 0, bound = 0, address = 0;
    bool operator==(const Session&) const = default;
  };
  uint64_t log_time = 0;
  Rules rules;
  std::map<uint64_t, uint64_t> keys;  // when they expire
  std::map<uint64_t, Session> sessions;
  std::set<std::pair<uint64_t, uint64_t>> applied;  // client and serial
  uint64_t twice = 0;                               // commands that were applied again
  uint64_t records = 0;                             // that were applied
  uint64_t floor = 0;                               // the greatest bound of an evicted session
  bool operator==(const State&) const = default;

  void apply(const Record& record, const Rules& file, const Faults& faults) {
    const Rules& by = faults.rules_from_files ? file : rules;
    ++records;
    switch (record.kind) {
      case Record::Kind::kMark:
        return move_to(record.number, by, faults);
      case Record::Kind::kPut:
        keys[record.number] = record.expires_at;
        return;
      case Record::Kind::kRules:
        rules = record.rules;
        return;
      case Record::Kind::kCommand:
        break;
    }
    const auto found = sessions.find(record.number);
    const bool begins = found == sessions.end();
    if (begins && (record.serial != 1 ||
                   (!faults.serial_one_is_new && !may_begin(record.bound, log_time, by, floor))))
      return;
    Session& session = begins ? sessions[record.number] : found->second;
    if (record.serial != session.serial + 1) return;
    if (begins) session.bound = record.bound;
    session.serial = record.serial;
    session.used = log_time;
    session.address = records;
    twice += !applied.emplace(record.number, record.serial).second;
    if (by.limits && sessions.size() > by.limits->sessions) evict(faults);
  }
  void evict(const Faults& faults) {
    const auto oldest =
        std::ranges::min_element(sessions, {}, [](const auto& one) { return one.second.address; });
    if (!faults.evicts_without_a_trace) floor = std::max(floor, oldest->second.bound);
    sessions.erase(oldest);
  }
  void move_to(uint64_t to, const Rules& by, const Faults& faults) {
    if (to <= log_time) return;
    for (auto& [client, session] : sessions)
      if (session.used == log_time && to - log_time > session_slack_ns(by)) session.used = to - 1;
    std::erase_if(sessions, [&](const auto& one) {
      return is_too_old(one.second.used, to, by) &&
             (faults.bounds_hold_nothing || !statemachine::is_held(one.second.bound, to));
    });
    log_time = to;
  }
  bool has(uint64_t key) const { return keys.contains(key) && keys.at(key) > log_time; }
};

struct Node {
  Nanoseconds error{0}, booted{0}, suspended_until{0}, error_since{0}, read{0};
  LogTimeRule rule;
  Rules file;
  State state;
  size_t applied = 0;  // records of the log
};

class World {
 public:
  World(uint64_t seed, Faults faults) : random_(seed), faults_(faults) {
    for (Node& node : nodes_) {
      node.booted = Nanoseconds(static_cast<int64_t>(random_.below(1000) * kSecond));
      node.file = draw_rules();
    }
    lead(0);
  }
  std::string run() {
    for (int event = 0; event < 100 && problem_.empty(); ++event) {
      something_happens();
      const uint64_t ticks = random_.chance(1, 25) ? random_.below(4000) : random_.below(30);
      for (uint64_t i = 0; i < ticks && problem_.empty(); ++i)
        tick();
    }
    committed_ = log_.size();
    for (Node& node : nodes_)
      apply(node);
    for (const Node& node : nodes_)
      if (problem_.empty() && node.state != nodes_[0].state) problem_ = "states differ";
    return problem_;
  }

 private:
  Node& leader() { return nodes_[leader_]; }
  uint64_t wall(const Node& node) const {
    return kBorn + static_cast<uint64_t>((now_ + node.error).count());
  }
  ClockReading reading(const Node& node) const { return {wall(node), now_ + node.booted}; }
  Rules draw_rules() {
    Rules rules;
    rules.session_ttl_ns = random_.between(30, 3600) * kSecond;
    if (random_.chance(1, 2))
      rules.limits = {.sessions = static_cast<uint32_t>(random_.between(1, 8))};
    return rules;
  }
  void fail(std::string what) {
    if (problem_.empty()) problem_ = std::move(what);
  }

  // ---- Faults.

  void something_happens() {
    Node& node = nodes_[random_.below(nodes_.size())];
    switch (random_.below(10)) {
      case 0: {
        constexpr Nanoseconds kErrors[] = {0s, 0s, 1s, 90s, 1h, 24h, 87600h};
        node.error = kErrors[random_.below(std::size(kErrors))] * (random_.chance(1, 2) ? 1 : -1);
        return;
      }
      case 1:
        // Another file, and a process that knows nothing of before but its log and state.
        node.file = draw_rules();
        node.rule = {};
        if (&node == &leader()) lead(random_.below(nodes_.size()));
        return;
      case 2:
        node.suspended_until = now_ + std::chrono::seconds(random_.below(2000));
        if (&node == &leader()) lead(random_.below(nodes_.size()));
        return;
      case 3:
        return lead(random_.below(nodes_.size()));
      case 4:
      case 5:
        return put();
      default:
        return begin_session();
    }
  }
  void lead(size_t node) {
    for (size_t tried = 0; nodes_[node].suspended_until > now_ && tried < nodes_.size(); ++tried)
      node = (node + 1) % nodes_.size();
    nodes_[node].suspended_until = now_;  // if all are, it wakes
    leader().rule.end();
    leader_ = node;
    leads_since_ = now_;
    believed_ = 0;
    // What was not committed is lost; all that was is applied before it serves.
    log_.resize(committed_);
    apply(leader());
    leader().rule.see(leader().state.log_time, reading(leader()));
    leader().rule.begin();
    budget_ = LogTimeRule::kMostStep;
    first_stamp_ = 0;
  }

  // ---- Time passes.

  void tick() {
    now_ += 1s;
    for (Node& node : nodes_) {
      // A smaller change leaves it where it was, to the rule.
      if (std::chrono::abs(node.error - node.read) > LogTimeRule::kMostStep)
        node.error_since = now_ - 1s;
      node.read = node.error;
    }
    believed_ += kSecond;
    believe();
    for (Node& node : nodes_) {
      if (node.suspended_until > now_) continue;
      if (&node == &leader()) {
        node.rule.see(node.state.log_time, reading(node));
        node.rule.advance(reading(node));
      } else {
        if (random_.chance(3, 4)) apply(node);
        node.rule.see(node.state.log_time, reading(node));
      }
    }
    for (; !on_their_way_.empty() && on_their_way_.begin()->first <= now_;
         on_their_way_.erase(on_their_way_.begin()))
      batch(on_their_way_.begin()->second);
    if (leader().state.rules != leader().file && random_.chance(1, 4))
      batch({Record::Kind::kRules, 0, 0, 0, 0, leader().file});
    if (random_.chance(1, 20)) flush();
  }
  /// Where log time may be by a clock that has stayed as it is for long enough.
  void believe() {
    const bool steady = now_ - std::max(leads_since_, leader().error_since) >= LogTimeRule::kDoubt;
    if (steady) believed_ = std::max(believed_, wall(leader()));
  }
  void batch(const Record& record) {
    log_.push_back(record);
    flush();
  }
  void flush() {
    Node& node = leader();
    uint64_t stamp = node.rule.advance(reading(node));
    if (faults_.follows_any_reading) stamp = wall(node);
    log_.push_back({Record::Kind::kMark, stamp});
    if (random_.chance(1, 30)) return;  // not yet
    committed_ = log_.size();
    apply(node);
    check_log_time(node.state.log_time);
    check_keys();
  }
  void apply(Node& node) {
    for (; node.applied < committed_; ++node.applied)
      node.state.apply(log_[node.applied], node.file, faults_);
  }

  // ---- Clients.

  void put() {
    Node& node = leader();
    const Nanoseconds ttl = std::chrono::seconds(random_.between(1, 5000));
    node.rule.advance(reading(node));
    const uint64_t by_rule = std::max(node.state.log_time, node.rule.reckon_ns());
    const uint64_t now_ns = faults_.expiry_by_clock ? wall(node) : by_rule;
    // A doubted clock may make a key live longer, and by kMostReckoned at most.
    const uint64_t log_now = std::max(node.state.log_time, node.rule.time_ns());
    const uint64_t extra = node.rule.doubts() ? by_rule - log_now : 0;
    // (By more where log time began at the least there is, by a clock that said nothing.)
    const bool began_late =
        node.rule.time_ns() < LogTimeRule::kLeastWall + in_ns(LogTimeRule::kMostReckoned);
    if (extra > in_ns(LogTimeRule::kMostReckoned) && !began_late)
      fail("a key is kept for too long");
    const uint64_t key = next_++;
    const size_t before = committed_;
    batch({Record::Kind::kPut, key, now_ns + in_ns(ttl)});
    // Acknowledged, at the log time of its own mark.
    if (committed_ > before) puts_[key] = {node.state.log_time, in_ns(ttl), extra};
  }
  /// It has a hello, and sends its first command some time later, and perhaps again much later.
  void begin_session() {
    const State& state = leader().state;
    if (state.rules == Rules{}) return;  // the log has none yet
    const uint64_t ttl = state.rules.session_ttl_ns, client = next_++;
    const uint64_t bound = greatest_bound(state.log_time, state.rules, state.floor);
    if (!may_begin(bound, state.log_time, state.rules, state.floor)) fail("nobody may begin");
    Record first{Record::Kind::kCommand, client, 0, 1, bound};
    const auto later = [&](uint64_t most) {
      return now_ + Nanoseconds(static_cast<int64_t>(random_.below(most)));
    };
    on_their_way_.emplace(random_.chance(3, 4) ? now_ : later(2 * ttl), first);
    for (uint64_t again = random_.below(4); again > 0; --again)
      on_their_way_.emplace(later(4 * std::max(ttl, 3600 * kSecond)), first);
    if (random_.chance(1, 3)) {
      first.serial = 2;
      first.bound = 0;
      on_their_way_.emplace(later(ttl), first);
    }
  }

  // ---- Checkers.

  void check_log_time(uint64_t log_time) {
    const Node& node = leader();
    believe();
    if (log_time < last_log_time_) return fail("log time went back");
    const Nanoseconds passed = now_ - last_stamp_at_;
    budget_ += (now_ - checked_at_) / 16;
    checked_at_ = now_;
    if (last_log_time_ != 0) {
      const auto gain = Nanoseconds(static_cast<int64_t>(log_time - last_log_time_)) - passed;
      if (gain > budget_) {
        if (log_time > believed_)
          return fail("log time gained " + std::to_string(gain.count() / 1'000'000) + " ms in " +
                      std::to_string(passed.count() / 1'000'000) + " ms");
        budget_ = LogTimeRule::kMostStep;
      } else if (gain > 0ns) {
        budget_ -= gain;
      }
    }
    budget_ = std::min(LogTimeRule::kMostStep, budget_);
    if (first_stamp_ == 0) {
      first_stamp_ = log_time;
      first_stamp_at_ = now_;
    } else if (log_time - first_stamp_ + 1000 < in_ns((now_ - first_stamp_at_) / 16 * 15)) {
      return fail("log time is slower than 15/16 of elapsed time");
    }
    // What has not moved counts from when it came there.
    if (std::exchange(last_log_time_, log_time) != log_time) last_stamp_at_ = now_;
    if (node.state.twice != 0) fail("a command was applied twice");
  }
  void check_keys() {
    const Node& node = leader();
    for (auto put = puts_.begin(); put != puts_.end();) {
      const auto& [since, ttl, extra] = put->second;
      const uint64_t lived = node.state.log_time - since;
      if (node.state.has(put->first)) {
        if (lived >= ttl + extra) return fail("a key outlives its time");
      } else if (lived + kSecond < ttl) {
        return fail("a key is gone before its time");
      }
      put = lived > ttl + extra + kSecond ? puts_.erase(put) : std::next(put);
    }
  }

  Random random_;
  const Faults faults_;
  std::vector<Node> nodes_{3};
  size_t leader_ = 0, committed_ = 0;
  Nanoseconds now_{0}, leads_since_{0}, last_stamp_at_{0}, first_stamp_at_{0}, checked_at_{0};
  uint64_t last_log_time_ = 0, first_stamp_ = 0, believed_ = 0, next_ = 1;
  Nanoseconds budget_ = LogTimeRule::kMostStep;
  std::vector<Record> log_;
  std::multimap<Nanoseconds, Record> on_their_way_;
  struct Put {
    uint64_t since, ttl;  // acknowledged at
    uint64_t extra;       // reckoned from a clock that was doubted
  };
  std::map<uint64_t, Put> puts_;
  std::string problem_;
};

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

TEST(TimeSimulation, HoldsWhatItPromises) {
  const uint64_t from = from_environment("TAILRACE_SEED", 1);
  const uint64_t seeds = from_environment("TAILRACE_SEEDS", 200);
  for (uint64_t seed = from; seed < from + seeds; ++seed)
    ASSERT_EQ(World(seed, {}).run(), "") << "seed " << seed;
}

void expect_caught(const Faults& faults) {
  for (uint64_t seed = 1; seed <= 2000; ++seed) {
    const std::string problem = World(seed, faults).run();
    if (problem.empty()) continue;
    std::cout << "seed " << seed << ": " << problem << "\n";
    return;
  }
  FAIL() << "nobody has noticed";
}

TEST(TimeSimulation, NoticesRulesThatAreReadFromFiles) {
  expect_caught({.rules_from_files = true});
}
TEST(TimeSimulation, NoticesExpiryByTheClockAlone) {
  expect_caught({.expiry_by_clock = true});
}
TEST(TimeSimulation, NoticesThatSerialOneIsAlwaysNew) {
  expect_caught({.serial_one_is_new = true});
}
TEST(TimeSimulation, NoticesLogTimeThatFollowsAnyReading) {
  expect_caught({.follows_any_reading = true});
}
TEST(TimeSimulation, NoticesThatNothingIsLeftOfAnEvictedSession) {
  expect_caught({.evicts_without_a_trace = true});
}
TEST(TimeSimulation, NoticesThatALowerTtlEndsASessionBeforeItsBound) {
  expect_caught({.bounds_hold_nothing = true});
}

}  // namespace
}  // namespace tailrace
