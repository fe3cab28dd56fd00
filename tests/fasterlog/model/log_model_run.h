#pragma once
// One seed's random operations on a log, and on the model of it.

#include <memory>
#include <set>

#include "core/random.h"
#include "fasterlog/format/record.h"
#include "tests/fasterlog/host_thread.h"
#include "tests/fasterlog/model/log_model.h"
#include "tests/fasterlog/saved_log.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::fasterlog {

using testing::CrashPolicy;
using testing::FaultFileSystem;
using testing::FaultKind;

inline SteadyTime soon() {
  return system_clock().now() + std::chrono::seconds(30);
}

class ModelRun {
 public:
  explicit ModelRun(uint64_t seed)
      : random_(seed), disk_(seed), leader_disk_(seed + 1), copies_(random_.chance(1, 4)) {
    segment_bytes_ = (64u << 10) << random_.below(2);
  }

  void run() {
    ASSERT_NO_FATAL_FAILURE(open());
    if (copies_) open_leader();
    const uint64_t steps = random_.between(10, 60);
    for (uint64_t i = 0; i < steps; ++i) {
      if (random_.chance(1, 40)) inject();
      ASSERT_NO_FATAL_FAILURE(step()) << "step " << i;
      if (broken_) {
        ASSERT_TRUE(faulted_) << "the log failed without a fault";
        ASSERT_NO_FATAL_FAILURE(crash()) << "step " << i;
      } else {
        note_durable();
      }
    }
    ASSERT_NO_FATAL_FAILURE(close_and_open());
  }

 private:
  struct ConsumerModel {
    Address acknowledged;
    Address attempted;      // as far as an acknowledgement that failed would have gone
    bool in_doubt = false;  // whether it is there at all
    uint64_t most_pinned_bytes = 0;
    std::unique_ptr<Consumer> open;
    Address read_to;
    std::vector<Address> ends;  // of records it read, and did not acknowledge
  };

  // ---- Opening, closing, crashing.

  LogOptions options(const char* directory) {
    LogOptions result = saved_log_options(segment_bytes_);
    result.directory = directory;
    result.spare_segments = static_cast<uint32_t>(random_.below(3));
    result.flushes_in_flight = static_cast<uint32_t>(random_.between(1, 4));
    if (random_.chance(2, 3)) result.overlap_bytes = random_.below(3) * 2000;
    result.proven_lag_bytes = random_.chance(1, 2) ? 0 : 64u << 20;
    switch (random_.below(6)) {
      case 0:
        result.commit = CommitPolicy::on_request();
        break;
      case 1:
        result.commit = CommitPolicy::each(random_.between(1, 20'000), {});
        break;
      case 2:
        result.commit = CommitPolicy::each(0, std::chrono::microseconds(200));
        break;
      case 3:
        result.commit = CommitPolicy::each(8000, std::chrono::microseconds(500));
        break;
      default:
        break;
    }
    return result;
  }

  void open() {
    auto log = Log::open(disk_, options("/log"));
    if (!log && faulted_) {  // a fault may strike an open too
      disk_.crash(CrashPolicy::kLoseUnsynced);
      faulted_ = power_only_ = false;
      log = Log::open(disk_, options("/log"));
    }
    ASSERT_TRUE(log.has_value()) << log.error().message;
    log_ = std::move(*log);
    // Not by random_: a seed goes the same way with a host and without.
    if (++opened_ % 2 == 0) host_ = std::make_unique<HostThread>(*log_);
    std::optional<Error> error;
    ASSERT_NO_FATAL_FAILURE(model_.take_over(*log_, error));
    if (error) failed(*error);
    ASSERT_NO_FATAL_FAILURE(check_consumers());
    if (diverged_at_ && log_->durable() <= *diverged_at_) diverged_at_.reset();
    take_role();
  }
  void take_role() {
    const Result<> role =
        copies_ && !diverged_at_ ? log_->become_copy() : log_->become_writer(epoch_);
    if (!role) broken_ = true;
    if (!role && !faulted_) ADD_FAILURE() << role.error().message;
  }
  void close_and_open() {
    for (auto& [name, consumer] : consumers_)
      consumer.open.reset();
    const bool closed = log_->close().has_value();
    ASSERT_TRUE(closed || faulted_);
    if (closed && !model_.records.empty())
      model_.acknowledged = std::max(model_.acknowledged, model_.records.rbegin()->second.end);
    host_.reset();
    log_.reset();
    if (!closed) return crash();
    open();
  }
  void crash() {
    if (!faulted_) disk_.fail_at(disk_.operations(), FaultKind::kPowerCut);
    if (log_ && random_.chance(1, 2)) note_durable();
    for (auto& [name, consumer] : consumers_)
      consumer.open.reset();
    host_.reset();
    log_.reset();
    // What a failed sync dropped a process could still read: no such disk is promised anything.
    const CrashPolicy policies[] = {CrashPolicy::kLoseUnsynced, CrashPolicy::kKeepAll,
                                    CrashPolicy::kRandom, CrashPolicy::kProcessEnds};
    disk_.crash(policies[random_.below(faulted_ && !power_only_ ? 3 : 4)]);
    broken_ = faulted_ = power_only_ = false;
    open();
  }
  void inject() {
    if (faulted_) return;
    const FaultKind kinds[] = {FaultKind::kError, FaultKind::kNoSpace, FaultKind::kPowerCut,
                               FaultKind::kShort, FaultKind::kTorn};
    const FaultKind kind = kinds[random_.below(5)];
    faulted_ = true;
    power_only_ = kind == FaultKind::kPowerCut || kind == FaultKind::kTorn;
    disk_.fail_at(disk_.operations() + random_.below(30), kind, random_.below(9));
  }
  /// A call failed. Right after a fault, and only then.
  void failed(const Error& error) {
    EXPECT_NE(error.code, ErrorCode::kTimedOut) << "a call hangs: " << error.message;
    EXPECT_TRUE(faulted_) << error.message;
    // A full disk is waited out; all else is final.
    if (error.code != ErrorCode::kResourceExhausted || log_->failure()) broken_ = true;
  }
  void note_durable() { model_.acknowledged = std::max(model_.acknowledged, log_->durable()); }

  // ---- One operation.

  void step() {
    const uint64_t dice = random_.below(100);
    if (dice < 40) {
      if (copies_ && !diverged_at_) return ship();
      return enqueue();
    }
    if (dice < 52) return wait();
    if (dice < 56) return read_some();
    if (dice < 60) return scan();
    if (dice < 66) return truncate_before();
    if (dice < 72) return truncate_after();
    if (dice < 88) return consume();
    if (dice < 91) return close_and_open();
    if (dice < 95) return crash();
    if (copies_) return diverge();
    epoch_.value += random_.below(2);
    if (auto role = log_->become_writer(epoch_); !role) failed(role.error());
  }

  std::string new_payload() {
    const uint64_t most = random_.chance(1, 10) ? 20'000 : 400;
    std::string payload = std::to_string(++number_) + ":";
    if (random_.chance(1, 30)) return {};
    payload.resize(payload.size() + random_.below(most));
    random_.fill(std::as_writable_bytes(std::span(payload)).subspan(payload.find(':') + 1));
    return payload;
  }

  void enqueue() { enqueue_to(*log_, model_, epoch_); }
  void enqueue_to(Log& log, LogModel& model, Epoch epoch) {
    const auto kind = random_.chance(1, 8)   ? RecordKind::kEpochStart
                      : random_.chance(1, 8) ? RecordKind::kConfiguration
                                             : static_cast<RecordKind>(random_.between(16, 18));
    const bool waits = random_.chance(1, 2);
    if (random_.chance(1, 2)) {
      const std::string payload = new_payload();
      const size_t half = payload.size() / 2;
      const ByteSpan all = as_bytes(payload);
      const ByteSpan parts[] = {all.first(half), {}, all.subspan(half)};
      const std::span<const ByteSpan> spans = parts;
      const auto range = random_.chance(1, 2)
                             ? waits ? log.enqueue(kind, all, soon()) : log.try_enqueue(kind, all)
                         : waits ? log.enqueue(kind, spans, soon())
                                 : log.try_enqueue(kind, spans);
      if (!range) return not_taken(range.error());
      model.add(range->first, {range->end, payload, kind, epoch, *range});
      return;
    }
    std::vector<std::string> payloads(random_.between(1, 5));
    std::vector<RecordView> views;
    uint64_t bytes = 0;
    for (std::string& payload : payloads) {
      payload = new_payload();
      bytes += record_bytes(payload.size());
    }
    if (bytes > 60'000) return;
    for (const std::string& payload : payloads)
      views.push_back({kind, as_bytes(payload)});
    std::vector<Address> addresses;
    const auto range = waits ? log.enqueue_batch(views, soon(), &addresses)
                             : log.try_enqueue_batch(views, &addresses);
    if (!range) return not_taken(range.error());
    ASSERT_EQ(addresses.size(), payloads.size());
    for (size_t i = 0; i < payloads.size(); ++i)
      model.add(addresses[i], {addresses[i] + record_bytes(payloads[i].size()), payloads[i], kind,
                               epoch, *range});
    ASSERT_EQ(range->end.value, model.records.rbegin()->second.end.value);
  }
  void not_taken(const Error& error) {
    if (error.code != ErrorCode::kWouldBlock) failed(error);
  }

  void wait() {
    if (model_.records.empty()) return;
    auto some = model_.records.begin();
    std::advance(some, random_.below(model_.records.size()));
    const Address end = some->second.end;
    Result<> waited;
    if (random_.chance(1, 3)) {
      log_->request_commit();
      waited = log_->scan(some->first)->wait(soon());
    } else {
      // Without a deadline the waiter may flush itself.
      waited = random_.chance(1, 2) ? log_->wait_durable(end) : log_->wait_durable(end, soon());
    }
    if (!waited) return failed(waited.error());
    ASSERT_GE(log_->durable().value, end.value);
  }

  void scan() {
    std::optional<Error> error;
    model_.check_all(*log_, {random_.chance(1, 2), random_.chance(1, 2), 8192}, error);
    if (error) failed(*error);
  }
  void read_some() {
    std::vector<Address> addresses;
    const Address durable = log_->durable();
    for (const auto& [address, record] : model_.records) {
      if (record.end <= durable && random_.chance(1, 3)) addresses.push_back(address);
    }
    std::vector<std::byte> buffer;
    for (size_t i = 0; i < 3 && !addresses.empty(); ++i) {
      auto record = log_->read(addresses[random_.below(addresses.size())], buffer);
      if (!record) return failed(record.error());
      ASSERT_NO_FATAL_FAILURE(model_.check_content(*record));
    }
    if (random_.chance(1, 2)) std::reverse(addresses.begin(), addresses.end());
    size_t seen = 0;
    const auto done = log_->read_batch(addresses, [&](const Record& record) {
      EXPECT_EQ(record.address.value, addresses[seen++].value);
      model_.check_content(record);
      return true;
    });
    if (!done) return failed(done.error());
    ASSERT_EQ(seen, addresses.size());
    // Any other address gives an error, or one of the log's own records.
    const Address any{random_.below(log_->tail().value + 100)};
    auto record = log_->read(any, buffer);
    if (record && record->kind > RecordKind::kCommitMark) model_.check_content(*record);
  }

  // ---- Truncation.

  Address least_pin() const {
    Address least = Address::max();
    for (const auto& [name, consumer] : consumers_) {
      if (consumer.most_pinned_bytes == 0 && !consumer.in_doubt)
        least = std::min(least, consumer.acknowledged);
    }
    return least;
  }
  void truncate_before() {
    const Address durable = log_->durable();
    Address address{random_.chance(1, 4) ? durable.value : random_.below(durable.value + 1)};
    if (diverged_at_) address = std::min(address, *diverged_at_);  // what differs is cut off later
    const Address pin = least_pin();
    const auto to = log_->truncate_before(address);
    if (!to) {
      model_.begin_in_doubt = std::max(model_.begin_in_doubt.value_or(address), address);
      return failed(to.error());
    }
    ASSERT_GE(*to, model_.begin);
    ASSERT_LE(to->value, std::max(model_.begin, std::min(address, pin)).value)
        << "beyond what was asked for, or a consumer's pin";
    ASSERT_EQ(to->value, log_->begin().value);
    model_.drop_before(*to);
  }
  Address mark_not_above(Address address) {
    const auto scanner = log_->scan(log_->begin(), {true, false, 65536});
    Address found = log_->begin();
    for (;;) {
      auto record = scanner->next(Address::max());
      if (!record || !*record || (*record)->end > address) return found;
      if ((*record)->kind == RecordKind::kCommitMark) found = (*record)->end;
    }
  }
  void truncate_after() {
    const uint64_t length = log_->tail() - log_->begin();
    // Mostly little, so that logs grow.
    const uint64_t most = random_.chance(1, 3) ? length : std::min<uint64_t>(length, 1000);
    cut(log_->tail() - random_.below(most + 1));
  }
  void cut(Address address) {
    const Address least = mark_not_above(address);
    const auto to = log_->truncate_after(address);
    if (!to) {
      model_.cut_in_doubt = std::min(model_.cut_in_doubt.value_or(least), least);
      return failed(to.error());
    }
    ASSERT_LE(to->value, address.value);
    ASSERT_GE(to->value, least.value);
    ASSERT_EQ(log_->durable().value, to->value);
    ASSERT_EQ(log_->tail().value, to->value);
    ASSERT_NO_FATAL_FAILURE(model_.drop_after(*to));
    if (diverged_at_ && *to <= *diverged_at_) {
      diverged_at_.reset();
      take_role();
    }
    for (auto& [name, consumer] : consumers_) {
      consumer.acknowledged = std::min(consumer.acknowledged, *to);
      consumer.attempted = std::min(consumer.attempted, *to);
      if (!consumer.open || consumer.read_to <= *to) continue;
      EXPECT_EQ(consumer.open->next().error().code, ErrorCode::kOutOfRange);
      if (!consumer.ends.empty()) {
        EXPECT_FALSE(consumer.open->acknowledge(consumer.ends.back()).has_value())
            << "a consumer acknowledged what was cut";
      }
      consumer.open.reset();
    }
  }

  // ---- Consumers (log_model_consumers.cc).

  void consume();
  void open_consumer(const std::string& name);
  void read_on(ConsumerModel& consumer);
  void acknowledge(ConsumerModel& consumer);
  void check_consumers();

  // ---- A copy of another log.

  void open_leader() {
    auto leader = Log::open(leader_disk_, options("/leader"));
    ASSERT_TRUE(leader.has_value());
    leader_ = std::move(*leader);
    ASSERT_TRUE(leader_->become_writer(leader_epoch_).has_value());
  }
  void ship() {
    ASSERT_NO_FATAL_FAILURE(enqueue_to(*leader_, leader_model_, leader_epoch_));
    if (random_.chance(1, 2)) return;
    ASSERT_TRUE(leader_->wait_durable(leader_->tail(), soon()).has_value());
    const Address at = log_->tail();
    std::vector<std::byte> bytes;
    auto raw = leader_->read_raw(at, random_.between(1, 50'000), bytes);
    ASSERT_TRUE(raw.has_value()) << raw.error().message;
    auto taken = log_->try_append_raw(at, bytes);
    if (!taken) return not_taken(taken.error());
    ASSERT_EQ(log_->tail().value, (at + bytes.size()).value);
    for (auto each = leader_model_.records.lower_bound(at);
         each != leader_model_.records.end() && each->first < at + bytes.size(); ++each)
      model_.add(each->first, each->second);
  }
  /// The copy writes what no other log has, and has to cut it off again.
  void diverge() {
    if (diverged_at_) {
      if (auto role = log_->become_copy(); !role) return failed(role.error());
      return cut(*diverged_at_);
    }
    if (auto ended = log_->become_copy(); !ended) return failed(ended.error());
    diverged_at_ = log_->tail();
    epoch_ = Epoch{leader_epoch_.value + 1};
    if (auto role = log_->become_writer(epoch_); !role) return failed(role.error());
  }

  Random random_;
  FaultFileSystem disk_, leader_disk_;
  const bool copies_;
  uint64_t segment_bytes_ = 0;
  LogModel model_, leader_model_;
  std::unique_ptr<Log> log_, leader_;
  std::unique_ptr<HostThread> host_;  // of log_; null: its own thread flushes
  int opened_ = 0;
  std::map<std::string, ConsumerModel> consumers_;  // closed before the log
  std::optional<Address> diverged_at_;
  Epoch epoch_{1}, leader_epoch_{1};
  uint64_t number_ = 0;
  bool faulted_ = false;     // an injected fault may strike
  bool power_only_ = false;  // and it is a power cut
  bool broken_ = false;      // it struck
};

}  // namespace tailrace::fasterlog
