#pragma once
// What a test double of the log leaves out: every call that most doubles need not have refuses.

#include "fasterlog/log.h"

namespace tailrace::testing {

class LogDouble : public fasterlog::Log {
 public:
  using Record = fasterlog::Record;
  static tl::unexpected<Error> refused() {
    return make_error(ErrorCode::kUnsupported, "the test's log has no such call");
  }

  Result<> discard_before(Address) override { return refused(); }
  Address first_byte() const override { return {}; }
  std::vector<fasterlog::OldBytes> old_bytes() const override { return {}; }
  using Log::enqueue;
  Result<AddressRange> enqueue(fasterlog::RecordKind, std::span<const ByteSpan>,
                               SteadyTime) override {
    return refused();
  }
  Result<AddressRange> enqueue_batch(std::span<const fasterlog::RecordView>, SteadyTime,
                                     std::vector<Address>*) override {
    return refused();
  }
  Result<AddressRange> try_enqueue_in(Epoch, std::span<const fasterlog::RecordView>) override {
    return refused();
  }
  Epoch epoch_before(Address end) const override {
    Epoch epoch;
    for (const fasterlog::EpochStart& each : epoch_table())
      if (each.start < end) epoch = each.epoch;
    return epoch;
  }
  std::optional<Error> shortage() const override { return std::nullopt; }
  std::shared_ptr<const fasterlog::ConfigurationTable> configurations() const override {
    return std::make_shared<const fasterlog::ConfigurationTable>();
  }
  DurableInterest want_durable(Address) override { return nullptr; }
  ListenerHandle add_durable_listener(DurableListener) override { return nullptr; }
  ListenerHandle add_flush_listener(DurableListener listener) override {
    return add_durable_listener(std::move(listener));
  }
  Result<std::unique_ptr<FlushSteps>> host_flushes(std::function<void()>) override {
    return refused();
  }
  Address flushing() const override { return durable(); }
  Result<> read_raw_flushing(Address from, size_t most, std::vector<std::byte>& into) override {
    return read_raw(from, most, into);
  }
  Address request_commit() override { return tail(); }
  Result<> read_batch(std::span<const Address>,
                      const std::function<bool(const Record&)>&) override {
    return refused();
  }
  Result<Address> mark_end_at(Address) const override { return refused(); }
  Result<Address> truncate_after(Address) override { return refused(); }
  Result<std::unique_ptr<fasterlog::Consumer>> open_consumer(const std::string&,
                                                             fasterlog::ConsumerOptions) override {
    return refused();
  }
  Result<> remove_consumer(const std::string&) override { return refused(); }
  std::vector<fasterlog::ConsumerStatus> consumers() const override { return {}; }
};

}  // namespace tailrace::testing
