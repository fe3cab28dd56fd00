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
  batches_.push_back(std::move(batch));
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
  while (!batches_.empty() && batches_.back().end() > to)
    batches_.pop_back();
  durable_batches = std::min(durable_batches, batches_.size());
  flush_end = std::min(flush_end, tail());
}

replication::LogPosition ModelLog::position() const {
  return {begin,
          durable(),
          durable_batches == 0 ? Epoch{} : batches_[durable_batches - 1].epoch,
          tail(),
          std::make_shared<replication::EpochTable>(epoch_table()),
          std::make_shared<fasterlog::ConfigurationTable>(configurations()),
          flushing()};
}

/// All that there ever were, so that the one in force where it begins is there.
fasterlog::ConfigurationTable ModelLog::configurations() const {
  fasterlog::ConfigurationTable table;
  for (const Batch& batch : batches_) {
    const ByteSpan payload = payload_of(batch);
    if (batch.configuration)
      table.push_back({batch.start, batch.end(), batch.epoch, {payload.begin(), payload.end()}});
  }
  return table;
}

replication::EpochTable ModelLog::epoch_table() const {
  replication::EpochTable table;
  for (const Batch& batch : batches_) {
    if (!table.empty() && table.back().epoch == batch.epoch) continue;
    if (batch.start < begin) table.clear();  // reaches back to the record before begin
    table.push_back({batch.epoch, batch.start});
  }
  return table;
}

}  // namespace tailrace::simulation
