#pragma once
// What applying a transaction did to streams, as it does it: encoded at once, a few bytes for each
// append. The applier's thread. Internal.
//
// A record's entry, of varints:
//
//   (address - the entry before's) / 8     of the first entry of a chunk: address / 8
//   number of items
//   items   dense id of the stream * 2, then ordinal of the first event, number of events, version
//           of the first; or dense id * 2 + 1, then the version below which no event is readable,
//           and the number of the effect that made it so, which names the stream; or 1 (no stream
//           has the dense id 0), then the record's end, where a stretch of the log ends
//
// A transaction that did nothing to a stream (a check failed, all was a replay) has no entry.

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/varint.h"

namespace tailrace::statemachine {

class OutcomeRecorder {
 public:
  /// What comes next is of the record at that address: above those before.
  void begin_record(uint64_t address) {
    end_record();
    address_ = address;
    effect_ = 0;
  }
  /// What comes next is by that effect of the record; those of its first list come before those of
  /// its second one.
  void begin_effect(size_t number) { effect_ = number; }
  /// Events of the record, from that ordinal on, have the stream's versions from `first` on.
  void appended(uint64_t dense_id, uint16_t ordinal, size_t events, uint64_t first) {
    ++items_;
    append_varint(item_bytes_, dense_id << 1);
    append_varint(item_bytes_, ordinal);
    append_varint(item_bytes_, events);
    append_varint(item_bytes_, first);
  }
  void unreadable_below(uint64_t dense_id, uint64_t first) {
    ++items_;
    append_varint(item_bytes_, dense_id << 1 | 1);
    append_varint(item_bytes_, first);
    append_varint(item_bytes_, effect_);
  }
  /// A stretch of the log ends at the record's end, `address`: what is unreadable there is in no
  /// event file that ends there or before.
  void stretch_ends(uint64_t address) {
    ++items_;
    append_varint(item_bytes_, 1);
    append_varint(item_bytes_, address);
  }
  /// All entries since the last call; the reference is valid until the next begin_record().
  const std::vector<std::byte>& take() {
    end_record();
    last_ = 0;
    taken_.swap(chunk_);
    chunk_.clear();
    return taken_;
  }

 private:
  void end_record() {
    if (items_ == 0) return;
    append_varint(chunk_, (address_ - last_) / kAddressUnit);
    append_varint(chunk_, std::exchange(items_, 0));
    append_bytes(chunk_, item_bytes_);
    item_bytes_.clear();
    last_ = address_;
  }

  static constexpr uint64_t kAddressUnit = 8;

  uint64_t address_ = 0, last_ = 0, items_ = 0, effect_ = 0;
  std::vector<std::byte> item_bytes_, chunk_, taken_;
};

}  // namespace tailrace::statemachine
