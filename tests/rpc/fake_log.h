#pragma once
// A log in memory that is durable at once, and can be cut, full, or unreadable.

#include <algorithm>
#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/mutex.h"
#include "tests/support/log_double.h"

namespace tailrace::rpc::testing {

class FakeLog : public tailrace::testing::LogDouble {
 public:
  struct Stored {
    Address address, end;
    Epoch epoch;
    fasterlog::RecordKind kind;
    std::string payload;
  };

  Result<AddressRange> try_enqueue_batch(std::span<const fasterlog::RecordView> records,
                                         std::vector<Address>* addresses) override {
    const MutexLock lock(mutex_);
    if (would_block_ > 0) {
      --would_block_;
      return make_error(ErrorCode::kWouldBlock, "full");
    }
    const Address first = tail_;
    for (const fasterlog::RecordView& record : records) {
      const Address at = tail_;
      tail_ = tail_ + align_up(32 + record.payload.size(), 8);
      if (epochs_.empty() || epochs_.back().epoch != epoch_) epochs_.push_back({epoch_, at});
      records_.push_back({at, tail_, epoch_, record.kind, to_string(record.payload)});
      if (addresses != nullptr) addresses->push_back(at);
    }
    if (listener_) listener_();
    return AddressRange{first, tail_};
  }
  Result<AddressRange> try_enqueue(fasterlog::RecordKind kind, ByteSpan payload) override {
    const fasterlog::RecordView record{kind, payload};
    return try_enqueue_batch({&record, 1}, nullptr);
  }
  Result<AddressRange> try_enqueue(fasterlog::RecordKind, std::span<const ByteSpan>) override {
    return make_error(ErrorCode::kUnsupported, "fake");
  }
  using LogDouble::enqueue;
  Result<AddressRange> enqueue(fasterlog::RecordKind kind, ByteSpan payload, SteadyTime) override {
    return try_enqueue(kind, payload);
  }
  Result<AddressRange> try_enqueue_in(Epoch epoch,
                                      std::span<const fasterlog::RecordView> records) override {
    if (epoch != last_epoch()) return make_error(ErrorCode::kFailedPrecondition, "another epoch");
    return try_enqueue_batch(records, nullptr);
  }
  /// The lead is lost: what stands from `to` on is cut off, and another one's records come there.
  Result<> become_writer(Epoch epoch) override {
    const MutexLock lock(mutex_);
    epoch_ = epoch;
    return {};
  }
  void cut(Address to) {
    const MutexLock lock(mutex_);
    while (!records_.empty() && records_.back().end > to)
      records_.pop_back();
    while (!epochs_.empty() && epochs_.back().start >= to)
      epochs_.pop_back();
    tail_ = to;
    ++cuts;
  }
  std::atomic<int> cuts{0};
  mutable std::atomic<int> scanners{0};  // that there are
  /// Whether a scan that begins within a record fails, as that of a real log does; and how many
  /// scans have asked for commit marks, which is how the records around an address are found.
  std::atomic<bool> strict{false};
  std::atomic<int> looks{0};
  std::atomic<size_t> most_read_ahead{0};  // of all other scans
  std::atomic<int> scans{0};               // so many
  Result<> become_copy() override { return {}; }
  size_t max_payload_bytes() const override { return 4u << 20; }
  Result<> try_append_raw(Address, ByteSpan) override {
    return make_error(ErrorCode::kUnsupported, "fake");
  }
  Result<> wait_durable(Address, SteadyTime, std::stop_token) override { return {}; }
  std::optional<Error> failure() const override { return std::nullopt; }
  Address begin() const override { return fasterlog::kFirstAddress; }
  Address durable() const override { return tail(); }
  Address tail() const override {
    const MutexLock lock(mutex_);
    return tail_;
  }
  Epoch last_epoch() const override {
    const MutexLock lock(mutex_);
    return epoch_;
  }
  std::vector<fasterlog::EpochStart> epoch_table() const override {
    const MutexLock lock(mutex_);
    return epochs_;
  }
  const fasterlog::RecoveryReport& recovery() const override { return recovery_; }
  Result<fasterlog::Record> read(Address, std::vector<std::byte>&) override {
    return make_error(ErrorCode::kUnsupported, "fake");
  }
  std::unique_ptr<fasterlog::LogScanner> scan(Address from, ScanOptions) override;
  Result<> read_raw(Address, size_t, std::vector<std::byte>&) override { return {}; }
  /// All of a strict log is one batch.
  Result<Address> mark_end_at(Address address) const override {
    return strict ? fasterlog::kFirstAddress : address;
  }
  Result<Address> truncate_before(Address address) override { return address; }
  uint64_t reclaimable_bytes(Address) const override { return 0; }
  uint64_t reclaimable_segments(Address) const override { return 0; }
  uint64_t disk_bytes() const override { return tail().value; }
  Result<> close() override { return {}; }
  void register_metrics(observability::MetricRegistry&, TellAddresses) override {}

  /// The first record at or above `from` that ends at or below `limit`.
  std::optional<Stored> next(Address from, Address limit) const {
    const MutexLock lock(mutex_);
    auto it = std::lower_bound(records_.begin(), records_.end(), from,
                               [](const Stored& one, Address at) { return one.address < at; });
    if (it == records_.end() || it->end > limit) return std::nullopt;
    return *it;
  }
  size_t count() const {
    const MutexLock lock(mutex_);
    return records_.size();
  }
  /// Empty: there is no record.
  std::string last_payload() const {
    const MutexLock lock(mutex_);
    return records_.empty() ? std::string() : records_.back().payload;
  }
  void block_next(int times) {
    const MutexLock lock(mutex_);
    would_block_ = times;
  }
  std::function<void()> listener_;  // set before use
  /// What every scan comes to from now on.
  void fail_reads(Error error) {
    const MutexLock lock(mutex_);
    read_failure_ = std::move(error);
  }
  std::optional<Error> read_failure() const {
    const MutexLock lock(mutex_);
    return read_failure_;
  }

 private:
  mutable Mutex mutex_;
  std::deque<Stored> records_ TAILRACE_GUARDED_BY(mutex_);
  std::optional<Error> read_failure_ TAILRACE_GUARDED_BY(mutex_);
  Address tail_ TAILRACE_GUARDED_BY(mutex_) = fasterlog::kFirstAddress;
  Epoch epoch_ TAILRACE_GUARDED_BY(mutex_){1};
  std::vector<fasterlog::EpochStart> epochs_ TAILRACE_GUARDED_BY(mutex_);
  int would_block_ TAILRACE_GUARDED_BY(mutex_) = 0;
  fasterlog::RecoveryReport recovery_;
};

class FakeScanner : public fasterlog::LogScanner {
 public:
  FakeScanner(const FakeLog& log, Address from)
      : log_(log), cuts_(log.cuts.load()), position_(from) {
    ++log_.scanners;
  }
  ~FakeScanner() override { --log_.scanners; }
  Result<std::optional<fasterlog::Record>> next(Address limit) override {
    if (log_.cuts.load() != cuts_) return make_error(ErrorCode::kOutOfRange, "the log was cut");
    if (const auto failure = log_.read_failure()) return tl::unexpected(*failure);
    auto found = log_.next(position_, limit);
    if (!found) return std::nullopt;
    if (log_.strict && found->address != position_)
      return make_error(ErrorCode::kCorruption, "no sound record begins here");
    current_ = std::move(*found);
    position_ = current_.end;
    return fasterlog::Record{current_.address, current_.end, current_.epoch, current_.kind,
                             as_bytes(current_.payload)};
  }
  Result<> wait(SteadyTime, std::stop_token) override {
    return make_error(ErrorCode::kUnsupported, "the test's log has no such call");
  }
  Address position() const override { return position_; }

 private:
  const FakeLog& log_;
  const int cuts_;
  Address position_;
  FakeLog::Stored current_;
};

inline std::unique_ptr<fasterlog::LogScanner> FakeLog::scan(Address from, ScanOptions options) {
  if (options.with_commit_marks) {
    ++looks;
  } else {
    ++scans;
    most_read_ahead = std::max(most_read_ahead.load(), options.read_ahead_bytes);
  }
  return std::make_unique<FakeScanner>(*this, from);
}

}  // namespace tailrace::rpc::testing
