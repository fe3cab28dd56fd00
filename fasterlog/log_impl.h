#pragma once
// The log behind log.h. Its calls stand by event: open.cc, roles.cc (who writes, and close),
// enqueue.cc, copy.cc, durability.cc, read.cc, truncation.cc, log_metrics.cc.

#include <memory>
#include <string_view>
#include <vector>

#include "core/mutex.h"
#include "fasterlog/engine/flusher.h"
#include "fasterlog/engine/log_core.h"
#include "fasterlog/engine/log_source.h"
#include "fasterlog/log.h"

namespace tailrace::fasterlog {

class LogImpl final : public Log {
 public:
  LogImpl(std::unique_ptr<storage::DirectoryLock> lock, std::unique_ptr<LogCore> core,
          std::unique_ptr<storage::IoQueue> queue, RecoveryReport report)
      : lock_(std::move(lock)),
        core_(std::move(core)),
        report_(report),
        flusher_(*core_, std::move(queue)),
        last_mark_end_{core_->durable.load()},
        copied_epoch_(report.last_epoch) {
    flusher_.start();
  }
  ~LogImpl() override { (void)close(); }

  Result<> become_writer(Epoch epoch) override;
  Result<> become_copy() override;
  Result<> close() override;

  Result<AddressRange> try_enqueue(RecordKind kind, ByteSpan payload) override;
  Result<AddressRange> try_enqueue(RecordKind kind, std::span<const ByteSpan> parts) override;
  Result<AddressRange> try_enqueue_batch(std::span<const RecordView> records,
                                         std::vector<Address>* addresses) override;
  Result<AddressRange> try_enqueue_in(Epoch epoch, std::span<const RecordView> records) override;
  Result<AddressRange> enqueue(RecordKind kind, ByteSpan payload, SteadyTime deadline) override;
  Result<AddressRange> enqueue(RecordKind kind, std::span<const ByteSpan> parts,
                               SteadyTime deadline) override;
  Result<AddressRange> enqueue_batch(std::span<const RecordView> records, SteadyTime deadline,
                                     std::vector<Address>* addresses) override;
  size_t max_payload_bytes() const override {
    return core_->options.page_bytes - kFirstAddress.value - kHeaderBytes;
  }

  Result<> try_append_raw(Address at, ByteSpan bytes) override;

  Address request_commit() override;
  Result<> wait_durable(Address address, SteadyTime deadline, std::stop_token stop) override;
  DurableInterest want_durable(Address address) override;
  ListenerHandle add_durable_listener(DurableListener listener) override;
  ListenerHandle add_flush_listener(DurableListener listener) override;
  Result<std::unique_ptr<FlushSteps>> host_flushes(std::function<void()> wake) override;
  std::optional<Error> failure() const override { return core_->failure_copy(); }
  std::optional<Error> shortage() const override {
    if (!core_->disk_full.load()) return std::nullopt;
    if (core_->refused_for_room.load() || !has_room_for_any()) return no_room();
    return std::nullopt;
  }

  Address begin() const override { return Address{core_->begin.load()}; }
  Address durable() const override { return Address{core_->durable.load()}; }
  Address flushing() const override { return Address{core_->flushing.load()}; }
  Address tail() const override { return core_->ring.tail(); }
  Epoch last_epoch() const override {
    return std::max(last_record_epoch(), Epoch{core_->epoch.load()});
  }
  std::vector<EpochStart> epoch_table() const override;
  Epoch epoch_before(Address end) const override;
  std::shared_ptr<const ConfigurationTable> configurations() const override;
  const RecoveryReport& recovery() const override { return report_; }

  Result<Record> read(Address address, std::vector<std::byte>& buffer) override;
  Result<> read_batch(std::span<const Address> addresses,
                      const std::function<bool(const Record&)>& visit) override;
  std::unique_ptr<LogScanner> scan(Address from, ScanOptions options) override;
  Result<> read_raw(Address from, size_t most_bytes, std::vector<std::byte>& into) override;
  Result<> read_raw_flushing(Address from, size_t most_bytes,
                             std::vector<std::byte>& into) override;

  Result<Address> mark_end_at(Address address) const override;

  Result<Address> truncate_before(Address address) override;
  Result<Address> truncate_after(Address address) override;
  uint64_t reclaimable_bytes(Address limit) const override;
  uint64_t reclaimable_segments(Address limit) const override;

  Result<std::unique_ptr<Consumer>> open_consumer(const std::string& name,
                                                  ConsumerOptions options) override;
  Result<> remove_consumer(const std::string& name) override;
  std::vector<ConsumerStatus> consumers() const override;
  uint64_t disk_bytes() const override { return core_->segments.disk_bytes(); }
  Result<> discard_before(Address address) override;
  Address first_byte() const override;
  std::vector<OldBytes> old_bytes() const override;

  void register_metrics(observability::MetricRegistry& registry, TellAddresses addresses) override;

 private:
  // enqueue.cc
  Result<> check_payload(RecordKind kind, uint64_t bytes) const;
  tl::unexpected<Error> refuse_disk() const;
  Error no_room() const;
  /// Of a writer whose disk is full: whether the largest record would still be taken.
  bool has_room_for_any() const;
  /// In epoch `only`, when that is given: in another one nothing is reserved.
  template <typename Fill>
  Result<AddressRange> put(uint64_t bytes, std::optional<Epoch> only, Fill fill);
  Result<AddressRange> put_batch(std::span<const RecordView> records, std::optional<Epoch> only);
  void note_configuration(Address address, Epoch epoch, ByteSpan payload);
  /// Tries until there is room, or the deadline passes.
  template <typename Try>
  Result<AddressRange> until_room(SteadyTime deadline, Try attempt);

  // read.cc
  tl::unexpected<Error> out_of_range(Address address) const;
  /// Whole batches that end at or below `readable`, which may move meanwhile.
  Result<> read_batches(Address from, size_t most_bytes, const std::atomic<uint64_t>& readable,
                        std::vector<std::byte>& into);
  /// The same while all of it is in memory, below `limit`, and nothing was cut after `cuts`: false
  /// where that is not so, or where no batch begins.
  bool copy_batches(Address from, size_t most_bytes, Address limit, uint64_t cuts,
                    std::vector<std::byte>& into);
  storage::AlignedBuffer take_raw_memory();
  void keep_raw_memory(storage::AlignedBuffer memory);
  Result<Record> read_one(const LogSource& source, RecordReader& reader, Address address);

  // durability.cc
  ListenerHandle add_listener(DurableListener listener, bool of_begins);

  // roles.cc
  tl::unexpected<Error> refuse_role(std::string_view role) const;
  static tl::unexpected<Error> refuse_epoch(Epoch asked, Epoch present);
  /// Ends the present role: nobody writes any more, and all that was written is durable.
  Result<> settle() TAILRACE_REQUIRES(role_mutex_);
  void note_epoch(Epoch epoch, Address start);
  void note_configurations(ConfigurationTable found);
  void forget_unwritten_epoch();
  Epoch last_record_epoch() const;
  static void drop_epochs_before(Address begin, std::vector<EpochStart>& epochs);
  static void drop_configurations_before(Address begin, ConfigurationTable& table);

  // truncation.cc
  Result<Address> mark_end_not_above(Address address) const;
  /// Where truncate_before() lands.
  Result<Address> begin_not_above(Address address) const;
  tl::unexpected<Error> give_up(Error error);

  // suffix_truncation.cc
  Result<> cut_at(Address to, Mode role) TAILRACE_REQUIRES(role_mutex_, truncate_mutex_);

  std::unique_ptr<storage::DirectoryLock> lock_;
  std::unique_ptr<LogCore> core_;
  const RecoveryReport report_;
  Flusher flusher_;
  Mutex role_mutex_;      // one change of role at a time
  Mutex truncate_mutex_;  // one truncation at a time
  Mutex raw_memory_mutex_;
  /// Between calls of read_raw().
  storage::AlignedBuffer raw_memory_ TAILRACE_GUARDED_BY(raw_memory_mutex_);
  // Of the one thread that appends as a copy (and of the change to that role).
  Address last_mark_end_;
  Epoch copied_epoch_;
  observability::MetricRegistry::Registration registration_;
};

}  // namespace tailrace::fasterlog
