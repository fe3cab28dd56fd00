#pragma once
// The digest of what an event file holds: of its range, its epoch and the bytes of its entries and
// floors, before they are compressed. So it is the same on all nodes. Internal.

#include <memory>

#include "core/address.h"
#include "core/bytes.h"
#include "history/format/event_entry.h"

struct XXH3_state_s;

namespace tailrace::history {

/// One thread.
class ContentHash {
 public:
  ContentHash();
  ~ContentHash();
  /// The bytes of a block of entries or of floors; blocks come in their order.
  void add(ByteSpan block);
  /// What all of it comes to, with the rest that is known of a file at its end.
  struct Rest {
    AddressRange range;
    Epoch epoch;
    uint32_t revision = 0, entries = 0, floors = 0;
  };
  ContentDigest digest(const Rest& rest);

 private:
  struct Free {
    void operator()(XXH3_state_s* state) const;
  };
  std::unique_ptr<XXH3_state_s, Free> state_;
};

}  // namespace tailrace::history
