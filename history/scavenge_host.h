#pragma once
// What the scavenger (scavenge/scavenger.h) needs to know of a node's history, and does to it.

#include <cstdint>
#include <optional>
#include <vector>

#include "core/address.h"
#include "core/result.h"
#include "history/catalogue.h"

namespace tailrace::history {

struct ScavengeStatus {
  Address wanted;  // up to there; 0: never asked for
  Address done;    // up to there no dead event is in a file; 0: that is not known
  /// What it waits for, but for history to reach `wanted`. It tries again by itself.
  std::optional<Error> trouble;
};

/// Any thread.
class ScavengeHost {
 public:
  virtual ~ScavengeHost() = default;

  virtual Catalogue& catalogue() = 0;
  /// Up to there all files have been written.
  virtual Address complete() const = 0;
  /// Stretches of the log below complete() of which a file may still come.
  virtual std::vector<AddressRange> missing() const = 0;
  /// kResourceExhausted when a file of so many bytes would take what is kept free.
  virtual Result<> check_room(uint64_t bytes) const = 0;
  /// `now`, which is durable, takes the place of `before`, and has `removed` events less. Reads
  /// that have the one before go on with it.
  virtual Result<> replace(const EventFileInfo& before, const EventFileInfo& now,
                           uint32_t removed) = 0;
  /// The file is put aside if another member can give it anew.
  virtual void found_damaged(const EventFileInfo& info, const Error& error) = 0;
  virtual void set_scavenge_status(ScavengeStatus status) = 0;
};

}  // namespace tailrace::history
