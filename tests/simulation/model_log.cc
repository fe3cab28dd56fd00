#include "model_log.h"

#include <algorithm>
#include <utility>

#include "core/crc32c.h"

namespace tailrace::simulation {

namespace {
constexpr size_t kHeaderBytes = 16;  // size, epoch
}

void ModelLog::push(Epoch epoch, std::vector<std::byte> bytes) {
  const Address start = tail();
  const uint32_t chain = crc32c(bytes, batches_.empty() ? 0 : batches_.back().chain);
  batches_.push_back({start, epoch, std::move(bytes), chain});
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
  std::vector<std::byte> bytes(kHeaderBytes);
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  store(bytes.data(), static_cast<uint64_t>(bytes.size()));
  store(bytes.data() + 8, epoch.value);
  push(epoch, std::move(bytes));
  return {batches_.back().start, batches_.back().end()};
}

bool ModelLog::append_raw(Address at, ByteSpan bytes) {
  if (at != tail()) return false;
  while (!bytes.empty()) {
    if (bytes.size() < kHeaderBytes) return false;
    const uint64_t size = load<uint64_t>(bytes.data());
    const Epoch epoch{load<uint64_t>(bytes.data() + 8)};
    if (size < kHeaderBytes || size > bytes.size()) return false;
    if (!batches_.empty() && epoch < batches_.back().epoch) return false;
    push(epoch, {bytes.begin(), bytes.begin() + static_cast<long>(size)});
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
}

replication::LogPosition ModelLog::position() const {
  return {begin, durable(), durable_batches == 0 ? Epoch{} : batches_[durable_batches - 1].epoch,
          tail(), std::make_shared<replication::EpochTable>(epoch_table())};
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
