#pragma once
// Tells whole batches from broken ones while records and damage go by in the order of the log.

#include <vector>

#include "fasterlog/format/record.h"

namespace tailrace::fasterlog {

class BatchTracker {
 public:
  enum class Verdict {
    kRecord,      // of a batch whose mark is still to come
    kWholeBatch,  // the mark of a batch that is wholly there
    kLostBegin,   // a mark that fits, of a batch whose beginning is damaged
    kBroken,      // a record that cannot stand there, see reason()
  };

  /// `start`: the end of a mark or the first address; or else, with `inside_batch`, any record's
  /// beginning: the batch there counts as whole although it began before.
  BatchTracker(Address start, bool inside_batch, uint64_t page_bytes,
               const std::vector<EpochStart>& epochs,
               const ConfigurationTable& configurations = {});

  Verdict take(const ParsedRecord& record);
  /// All up to `end` is bad.
  void damage(Address end);

  std::string_view reason() const { return reason_; }
  /// Of whole batches (and before the start).
  const std::vector<EpochStart>& epochs() const { return epochs_; }
  /// Likewise, of those that it was told of only the one in force at the start.
  const ConfigurationTable& configurations() const { return configurations_; }

 private:
  enum class Begin {
    kKnown,   // begin_ is where the present batch begins
    kDamage,  // it begins at begin_, or its beginning is lost
    kStart,   // it begins at begin_ or before
  };

  const uint64_t page_bytes_;
  Address begin_;
  Begin begin_is_;
  std::vector<EpochStart> epochs_;
  std::vector<EpochStart> unfinished_;
  ConfigurationTable configurations_;
  ConfigurationTable unfinished_configurations_;
  std::string_view reason_;
};

}  // namespace tailrace::fasterlog
