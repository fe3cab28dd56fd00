#pragma once
// The positions of a log's named consumers, in the file CONSUMERS: an atomically replaced file
// (storage/atomic_file.h) of kind "FCON", version 1.
//
//    0  u32  number of consumers
//    4  u32  0
//    8  for each, ascending by name:
//       u64  position            the end of a record, or begin
//       u64  most_pinned_bytes   0: no bound
//       u32  name_bytes          1 to 255
//       u32  0
//            the name
//
// A crash leaves the positions before or after an acknowledgement. Truncation reads the pins under
// the same mutex that an acknowledgement holds, and an acknowledgement only raises a pin, so
// nothing is given away that a stored position still needs.

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/mutex.h"
#include "fasterlog/types/options.h"
#include "fasterlog/types/records.h"
#include "storage/file_system.h"

namespace tailrace::fasterlog {

inline constexpr const char* kConsumersName = "CONSUMERS";

/// Any thread.
class ConsumerTable {
 public:
  ConsumerTable(storage::FileSystem& file_system, storage::Path directory)
      : file_system_(file_system), directory_(std::move(directory)) {}

  /// Reads the file; an absent one is an empty table.
  Result<> load();
  /// Keeps room for the next position, if there is any consumer: a full disk must not stop a cut.
  Result<> reserve() const;
  /// Returns the position to go on from.
  Result<Address> open(const std::string& name, Address fresh_position, uint64_t most_pinned_bytes);
  void close(const std::string& name);
  /// Never backwards. `allowed` is asked under the mutex that cut_at() takes too, so a cut comes
  /// wholly before the question or after the acknowledgement.
  Result<> acknowledge(const std::string& name, Address position,
                       const std::function<Result<>()>& allowed);
  Address position(const std::string& name) const;
  Result<> remove(const std::string& name);
  /// No position stays beyond the log's new end.
  Result<> cut_at(Address end);

  /// Truncation goes no further: the least position that pins; Address::max() when none does.
  Address limit(Address durable) const;
  std::vector<ConsumerStatus> all(Address durable) const;

 private:
  struct Entry {
    Address position;
    uint64_t most_pinned_bytes = 0;
    bool open = false;
    bool pins(Address durable) const {
      // The caller's durable may be older than the position.
      return most_pinned_bytes == 0 || durable <= position ||
             durable - position <= most_pinned_bytes;
    }
  };
  using Entries = std::map<std::string, Entry>;
  /// Makes `next` durable, then takes it over.
  Result<> replace(Entries next) TAILRACE_REQUIRES(mutex_);

  storage::FileSystem& file_system_;
  const storage::Path directory_;
  mutable Mutex mutex_;
  Entries entries_ TAILRACE_GUARDED_BY(mutex_);
  /// Whether the file holds entries_: a replacement failed.
  bool unsure_ TAILRACE_GUARDED_BY(mutex_) = false;
};

}  // namespace tailrace::fasterlog
