#pragma once
// A core that a test drives event by event, and what it wanted done in the last step. The disk is
// the test's: nothing is persisted, settled or durable before it says so.

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "replication/protocol/core.h"

namespace tailrace::replication {

inline constexpr NodeId kNobody{0}, kOne{1}, kTwo{2}, kThree{3}, kFour{4}, kFive{5};
inline constexpr NodeId kLearner{4};  // in the cluster of kMembers
inline constexpr uint64_t kEpochStartBytes = 36;
inline constexpr uint64_t kMembersBytes = 128;

/// A log of [begin, durable) with nothing on its way to the disk.
inline LogPosition log_of(uint64_t begin, uint64_t durable, EpochTable table = {}) {
  LogPosition log;
  log.begin = Address{begin};
  log.durable = log.tail = Address{durable};
  log.last_epoch = epoch_before(table, log.durable);
  log.epochs = std::make_shared<const EpochTable>(std::move(table));
  return log;
}
inline LogPosition empty_log() {
  return log_of(64, 64);
}

inline SharedBytes bytes(size_t count) {
  return std::make_shared<std::vector<std::byte>>(count);
}

inline Member member_of(NodeId id, bool voter = true) {
  const std::string number = std::to_string(id.value);
  return {id, voter, "peer" + number, "client" + number};
}
inline Members three_voters_and_a_learner() {
  return {member_of(kOne), member_of(kTwo), member_of(kThree), member_of(kLearner, false)};
}
inline Members five_voters() {
  return {member_of(kOne), member_of(kTwo), member_of(kThree), member_of(kFour), member_of(kFive)};
}
/// With these records of members at these places.
inline LogPosition with_members(LogPosition log,
                                const std::vector<std::pair<AddressRange, Members>>& records) {
  fasterlog::ConfigurationTable table;
  for (const auto& [range, members] : records)
    table.push_back({range.first, range.end, log.last_epoch, encode_members({members, 1})});
  log.configurations = std::make_shared<const fasterlog::ConfigurationTable>(std::move(table));
  return log;
}

struct Given {
  LogPosition log = empty_log();
  Promise promise{Epoch{0}, kNobody, 9, Vote::kFull};
  Address committed;
  Members members = three_voters_and_a_learner();
  std::chrono::milliseconds give_up_after{0};
  NodeId upstream = {};
  std::chrono::milliseconds finalize_after{0};
  uint32_t most_cluster_version = kClusterVersion;
  bool check_invariants = true;
};

/// A log of epoch 1 that ends at 500.
inline Given with_log() {
  Given given;
  given.log = log_of(64, 500, {{Epoch{1}, Address{64}}});
  given.promise.epoch = Epoch{1};
  return given;
}

inline Given without_vote() {
  Given given;
  given.promise.vote = Vote::kNone;
  return given;
}

class Driven {
 public:
  /// Started at 1000 ms, its log settled, connected to everyone.
  explicit Driven(NodeId self, Given given = {})
      : log_(given.log), core_(std::make_unique<Core>(options(self, given))) {
    feed(Started{log_, given.promise, given.committed, now_});
    settle();
    for (const Member& member : given.members)
      if (member.id != self) feed(PeerConnected{member.id});
  }

  void feed(const Event& event) {
    actions_.clear();
    core_->step(event, actions_);
    for (const Action& action : actions_) {
      if (const auto* append = std::get_if<AppendRaw>(&action))
        log_.tail = append->at + (append->bytes->size() - append->skip);
      if (const auto* cut = std::get_if<CutLog>(&action)) cut_to(cut->to);
    }
  }
  void receive(NodeId from, Message message) { feed(Received{from, std::move(message), now_}); }
  /// Passes the time and ticks.
  void pass(std::chrono::milliseconds time, Address applied = Address{}) {
    now_ += time;
    feed(Tick{now_, applied});
  }
  /// The newest promise is on disk.
  void persist() { feed(PromisePersisted{state().promise}); }
  /// All that the log was told to do is done.
  void settle() {
    while (state().settling > 0)
      feed(LogSettled{log_});
  }
  /// Up to there the log is durable now; what is new is of `epoch`.
  void durable(uint64_t address, Epoch epoch, Address applied = Address{}) {
    EpochTable table = *log_.epochs;
    if (table.empty() || table.back().epoch < epoch) table.push_back({epoch, log_.durable});
    const Address tail = std::max(log_.tail, Address{address});
    auto configurations = log_.configurations;
    log_ = log_of(log_.begin.value, address, std::move(table));
    log_.tail = tail;
    log_.configurations = std::move(configurations);
    feed(LogMoved{log_, applied});
  }
  /// A flush has begun up to there.
  void flushing(uint64_t address) {
    log_.flushing = Address{address};
    log_.tail = std::max(log_.tail, log_.flushing);
    feed(LogMoved{log_, Address{}});
  }
  /// Tells how the log stands, as the driver does at each tick.
  /// Everything that is committed was applied.
  void log_moved() { feed(LogMoved{log_, state().committed}); }
  void log_moved(Address applied) { feed(LogMoved{log_, applied}); }
  /// What was appended and is not durable yet is forgotten, as by DropAppends.
  void drop_tail() { log_.tail = log_.durable; }

  // ---- A candidate.
  /// Granted, its promise on disk; asks.
  void seek(Epoch epoch) {
    feed(Granted{core_->options().self, epoch});
    settle();
    persist();
  }
  void sealed(NodeId by, Vote vote = Vote::kFull) {
    sealed(by, vote, log_.last_epoch, log_.durable.value);
  }
  void sealed(NodeId by, Vote vote, Epoch last, uint64_t end) {
    receive(by, Sealed{state().epoch, last, Address{64}, Address{end}, 7, vote});
  }

  // ---- A leader.
  /// Elected by `by`, its epoch-start record durable at the end of its log.
  void lead(Epoch epoch, std::vector<NodeId> by = {kTwo}, Vote vote = Vote::kFull) {
    seek(epoch);
    for (const NodeId voter : by)
      sealed(voter, vote);
    if (state().promise != state().persisted) persist();
    enqueue_epoch_start();
    durable(log_.tail.value, epoch);
  }
  void enqueue_epoch_start() {
    const Address from = log_.tail;
    log_.tail = from + kEpochStartBytes;
    feed(WriterReady{{from, log_.tail}, log_});
  }
  /// The record that the last step wanted stands at the end of the log.
  void append_members() {
    append_record(wants<AppendMembers>()->record);
    feed(MembersAppended{log_});
  }
  /// From a leader: received, not durable.
  void append_members(const Members& members) { append_record({members, 1}); }
  void append_record(const MembersRecord& record) {
    fasterlog::ConfigurationTable table;
    if (log_.configurations) table = *log_.configurations;
    const Address from = log_.tail;
    log_.tail = from + kMembersBytes;
    table.push_back({from, log_.tail, state().epoch, encode_members(record)});
    log_.configurations = std::make_shared<const fasterlog::ConfigurationTable>(std::move(table));
  }
  void ask(MemberChange::Kind kind, Member member) {
    feed(ChangeAsked{MemberChange{kind, std::move(member)}});
  }
  /// By a client; nobody tells the core.
  void enqueue(uint64_t size) { log_.tail = log_.tail + size; }
  void subscribe(NodeId from, uint64_t durable, Epoch last = Epoch{0}, Vote vote = Vote::kFull,
                 uint64_t incarnation = 7) {
    receive(from, Subscribe{state().epoch, last, Address{64}, Address{durable}, incarnation, vote});
  }
  void acknowledge(NodeId from, uint64_t address, uint64_t round = 0, Vote vote = Vote::kFull) {
    receive(from, Acknowledge{state().epoch, Address{address}, Address{}, round, now_, vote,
                              state().followers.at(from).incarnation});
  }
  /// Subscribes at the end of the log and acknowledges it.
  void caught_up(NodeId follower, Vote vote = Vote::kFull) {
    subscribe(follower, log_.durable.value, log_.last_epoch, vote);
    acknowledge(follower, log_.durable.value, 0, vote);
  }

  // ---- A follower.
  /// Follows `leader`, which has accepted its log.
  void follow(NodeId leader, Epoch epoch) {
    receive(leader, Leading{epoch});
    settle();
    if (state().promise != state().persisted) persist();
    receive(leader, Accept{epoch, state().log.durable, Address{}});
  }

  const CoreState& state() const { return core_->state(); }
  const Core& core() const { return *core_; }
  const LogPosition& log() const { return log_; }
  std::chrono::nanoseconds now() const { return now_; }

  // ---- What the last step wanted.
  /// The first action of this kind, or null.
  template <typename T>
  const T* wants() const {
    for (const Action& action : actions_)
      if (const T* found = std::get_if<T>(&action)) return found;
    return nullptr;
  }
  /// The first message of this kind sent to `to`, or null.
  template <typename T>
  const T* sent(NodeId to) const {
    for (const Action& action : actions_)
      if (const auto* send = std::get_if<Send>(&action); send != nullptr && send->peer == to)
        if (const T* found = std::get_if<T>(&send->message)) return found;
    return nullptr;
  }

 private:
  static CoreOptions options(NodeId self, const Given& given) {
    CoreOptions result;
    result.self = self;
    result.members = given.members;
    result.give_up_after = given.give_up_after;
    result.upstream = given.upstream;
    result.window_bytes = 1000;
    result.batch_bytes = 400;
    result.follower_pin_bytes = 5000;
    result.check_invariants = given.check_invariants;
    result.finalize_after = given.finalize_after;
    result.most_cluster_version = given.most_cluster_version;
    return result;
  }
  void cut_to(Address to) {
    EpochTable table = *log_.epochs;
    std::erase_if(table, [&](const fasterlog::EpochStart& entry) { return entry.start >= to; });
    fasterlog::ConfigurationTable configurations;
    if (log_.configurations) configurations = *log_.configurations;
    std::erase_if(configurations, [&](const auto& record) { return record.start >= to; });
    log_ = log_of(log_.begin.value, to.value, std::move(table));
    log_.configurations =
        std::make_shared<const fasterlog::ConfigurationTable>(std::move(configurations));
  }

  LogPosition log_;
  std::chrono::nanoseconds now_{std::chrono::milliseconds(1000)};
  std::unique_ptr<Core> core_;
  std::vector<Action> actions_;
};

}  // namespace tailrace::replication
