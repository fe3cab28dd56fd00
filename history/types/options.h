#pragma once
// How event files are written.

#include <chrono>
#include <cstdint>
#include <functional>

#include "core/address.h"
#include "core/cluster_identity.h"
#include "core/result.h"

namespace tailrace::history {

/// The numbers are those of the format.
enum class Compression : uint8_t { kNone = 0, kZstd = 1, kLast = kZstd };

struct EventFileOptions {
  ClusterIdentity cluster;  // if it is known
  uint32_t revision = 0;
  Compression compression = Compression::kZstd;
  int level = 3;  // of zstd: 1 is fastest, 19 shortest
};

struct HistorianOptions {
  EventFileOptions files;
  /// Files end at multiples of it: a power of two, a multiple of the log's page. All nodes of a
  /// cluster have the same.
  uint64_t stretch_bytes = 64u << 20;
  /// From here on it is known what became of the log's transactions; 0: of all. What lies before is
  /// other members' to give: the first file that this node writes is of a whole stretch behind it.
  Address known_from;
  /// Nobody has asked what became of transactions before: this is the first start with history.
  bool has_no_outcomes_yet = false;
  /// No file is begun unless so much would stay free behind it: the log and the store are to find
  /// room longer than history does.
  uint64_t reserve_disk_bytes = 256u << 20;
  /// So often a look is taken whether there is something to write, and after an error whether it
  /// succeeds now.
  std::chrono::milliseconds interval{1000};
  /// Told by the historian's thread where history is durable now: what only history has read of the
  /// log before may go. An error is logged. May be null.
  std::function<Result<>(Address complete)> on_complete;
};

}  // namespace tailrace::history
