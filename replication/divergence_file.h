#pragma once
// The file DIVERGED in a node's data directory: its state differs from the cluster's, and a restart
// must not forget it. docs/formats/diverged.md has the byte table.

#include <optional>

#include "core/result.h"
#include "replication/state_comparison.h"
#include "storage/file_system.h"

namespace tailrace::replication {

class DivergenceFile {
 public:
  DivergenceFile(storage::FileSystem& file_system, const storage::Path& directory)
      : file_system_(file_system), path_(directory / "DIVERGED") {}

  /// Nothing when there is none. kCorruption when it does not check: it says all the same that the
  /// state is not to be served.
  Result<std::optional<Divergence>> read() const;
  /// Keeps room for write(); a disk without any is not an error.
  Result<> reserve();
  /// Durable when it returns. kResourceExhausted, with nothing changed, only where no room was
  /// kept.
  Result<> write(const Divergence& divergence, uint64_t unix_time_ns);
  const storage::Path& path() const { return path_; }

 private:
  storage::FileSystem& file_system_;
  const storage::Path path_;
};

}  // namespace tailrace::replication
