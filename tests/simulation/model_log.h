#pragma once
// A log in memory that remembers what an fsync has reached: crash() loses the rest.

#include <algorithm>
#include <cstddef>
#include <memory>
#include <vector>

#include "core/address.h"
#include "core/random.h"
#include "replication/protocol/events.h"

namespace tailrace::simulation {

/// Whole, as it stands in the log: its size, what it is, and its epoch come first.
struct Batch {
  Address start;
  Epoch epoch;
  std::vector<std::byte> bytes;
  bool configuration = false;  // a record of the members
  uint32_t chain = 0;          // crc32c of all bytes of the log up to here
  Address end() const { return start + bytes.size(); }
};

ByteSpan payload_of(const Batch& batch);
/// Of a batch that is a record of the members.
replication::MembersRecord members_of(const Batch& batch);

class ModelLog {
 public:
  Address begin = fasterlog::kFirstAddress;
  size_t durable_batches = 0;
  Address flush_end;  // of the newest flush that has begun

  Address tail() const {
    return batches_.empty() ? fasterlog::kFirstAddress : batches_.back().end();
  }
  Address durable() const {
    return durable_batches == 0 ? fasterlog::kFirstAddress : batches_[durable_batches - 1].end();
  }
  Address flushing() const { return std::max(durable(), std::min(flush_end, tail())); }
  const std::vector<Batch>& batches() const { return batches_; }

  /// A batch: its size and epoch, then random bytes.
  AddressRange append(Epoch epoch, size_t payload, Random& random);
  /// One with that payload.
  AddressRange append(Epoch epoch, ByteSpan payload);
  AddressRange append_members(Epoch epoch, const replication::MembersRecord& record);
  /// False unless `bytes` are whole batches that continue this log.
  bool append_raw(Address at, ByteSpan bytes);
  /// Whole batches from `from`, about `most` bytes, none at or above `limit`.
  std::vector<std::byte> read(Address from, size_t most, Address limit) const;
  void crash();
  void make_durable(Address upto);
  /// Drops what lies behind `to`, durably.
  void cut(Address to);
  replication::LogPosition position() const;
  replication::EpochTable epoch_table() const;

 private:
  void push(std::vector<std::byte> bytes);
  void keep(size_t batches);

  std::vector<Batch> batches_;
  // What stands in them: the position is asked for all the time.
  replication::EpochTable epochs_;
  /// All that there ever were, so that the one in force where it begins is there; null: none. Never
  /// changed, for whoever was told a position holds it.
  std::shared_ptr<const fasterlog::ConfigurationTable> configurations_;
};

}  // namespace tailrace::simulation
