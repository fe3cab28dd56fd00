#include "model_log.h"

#include <algorithm>
#include <utility>

#include "storage/crc32c.h"

namespace tailrace::simulation {

namespace {
constexpr size_t kHeaderBytes = 16;  // size, kind, epoch

std::vector<std::byte> batch_of(Epoch epoch, bool configuration, ByteSpan payload) {
  std::vector<std::byte> bytes(kHeaderBytes + payload.size());
  std::copy(payload.begin(), payload.end(), bytes.data() + kHeaderBytes);
  store(bytes.data(), static_cast<uint32_t>(bytes.size()));
  store(bytes.data() + 4, static_cast<uint32_t>(configuration));
  store(bytes.data() + 8, epoch.value);
  return bytes;
}

}  // namespace

void ModelLog::push(std::vector<std::byte> bytes) {
  Batch batch;
  batch.start = tail();
  batch.epoch = Epoch{load<uint64_t>(bytes.data() + 8)};
  batch.configuration = load<uint32_t>(bytes.data() + 4) != 0;
  batch.chain = crc32c(bytes, batches_.empty() ? 0 : batches_.back().chain);
  batch.bytes = std::move(bytes);
  if (epochs_.empty() || epochs_.back().epoch != batch.epoch)
    epochs_.push_back({batch.epoch, batch.start});
  if (batch.configuration) {
    const ByteSpan payload = payload_of(batch);
    auto table = configurations_ ? std::make_shared<fasterlog::ConfigurationTable>(*configurations_)
                                 : std::make_shared<fasterlog::ConfigurationTable>();
    table->push_back({batch.start, batch.end(), batch.epoch, {payload.begin(), payload.end()}});
    configurations_ = std::move(table);
  }
  batches_.push_back(std::move(batch));
}

/// The first so many; drops the rest.
void ModelLog::keep(size_t batches) {
  batches_.resize(batches);
  const auto end = tail();
  while (!epochs_.empty() && epochs_.back().start >= end)
    epochs_.pop_back();
  if (!configurations_ || configurations_->empty() || configurations_->back().start < end) return;
  auto table = std::make_shared<fasterlog::ConfigurationTable>(*configurations_);
  while (!table->empty() && table->back().start >= end)
    table->pop_back();
  configurations_ = std::move(table);
}

void ModelLog::crash() {
  keep(durable_batches);
  flush_end = durable();
}

replication::MembersRecord members_of(const Batch& batch) {
  return replication::decode_members(payload_of(batch)).value();
}

ByteSpan payload_of(const Batch& batch) {
  return ByteSpan(batch.bytes).subspan(kHeaderBytes);
}

AddressRange ModelLog::append(Epoch epoch, size_t payload, Random& random) {
  std::vector<std::byte> bytes(payload);
  random.fill(bytes);
  return append(epoch, ByteSpan(bytes));
}

AddressRange ModelLog::append(Epoch epoch, ByteSpan payload) {
  push(batch_of(epoch, false, payload));
  return {batches_.back().start, batches_.back().end()};
}

AddressRange ModelLog::append_members(Epoch epoch, const replication::MembersRecord& record) {
  push(batch_of(epoch, true, encode_members(record)));
  return {batches_.back().start, batches_.back().end()};
}

bool ModelLog::append_raw(Address at, ByteSpan bytes) {
  if (at != tail()) return false;
  while (!bytes.empty()) {
    if (bytes.size() < kHeaderBytes) return false;
    const uint64_t size = load<uint32_t>(bytes.data());
    const Epoch epoch{load<uint64_t>(bytes.data() + 8)};
    if (size < kHeaderBytes || size > bytes.size()) return false;
    if (!batches_.empty() && epoch < batches_.back().epoch) return false;
    push({bytes.begin(), bytes.begin() + static_cast<long>(size)});
    bytes = bytes.subspan(size);
  }
  return true;
}

std::vector<std::byte> ModelLog::read(Address from, size_t most, Address limit) const {
  std::vector<std::byte> result;
  for (auto it = std::ranges::lower_bound(batches_, from, {}, &Batch::start); it != batches_.end();
       ++it) {
    const Batch& batch = *it;
    if (batch.end() > limit) break;
    if (!result.empty() && result.size() + batch.bytes.size() > most) break;
    result.insert(result.end(), batch.bytes.begin(), batch.bytes.end());
  }
  return result;
}

void ModelLog::make_durable(Address upto) {
  while (durable_batches < batches_.size() && batches_[durable_batches].end() <= upto)
    ++durable_batches;
}

void ModelLog::cut(Address to) {
  size_t kept = batches_.size();
  while (kept > 0 && batches_[kept - 1].end() > to)
    --kept;
  keep(kept);
  durable_batches = std::min(durable_batches, batches_.size());
  flush_end = std::min(flush_end, tail());
}

replication::LogPosition ModelLog::position() const {
  return {begin,
          durable(),
          durable_batches == 0 ? Epoch{} : batches_[durable_batches - 1].epoch,
          tail(),
          std::make_shared<replication::EpochTable>(epoch_table()),
          configurations_,
          flushing()};
}

replication::EpochTable ModelLog::epoch_table() const {
  // It reaches back to the record before begin.
  auto from = std::ranges::lower_bound(epochs_, begin, {}, &fasterlog::EpochStart::start);
  if (from != epochs_.begin()) --from;
  return {from, epochs_.end()};
}

}  // namespace tailrace::simulation
