#pragma once
// The file LAST-FAILURE in a node's data directory: when and why the node last failed, for its next
// lives. docs/formats/last-failure.md has the byte table. Internal.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/result.h"
#include "storage/file_system.h"

namespace tailrace::app {

/// What failed. The numbers stand in the file.
enum class FailureReason : uint32_t {
  kOther = 0,
  kDisk = 1,       // a write or fsync, or the disk is full; it ended the node
  kDamage = 2,     // bytes that do not check, or contradict what was committed; it ended the node
  kInvariant = 3,  // TAILRACE_CHECK; it ended the node
  kStore = 4,      // committed records could not be applied; the node went on without answering
  kLast = kStore
};
inline constexpr size_t kFailureReasons = static_cast<size_t>(FailureReason::kLast) + 1;

/// "disk", as metrics and `tailrace status` say it.
std::string_view name_of(FailureReason reason);
/// Of a failure that ends a node.
FailureReason reason_of(const Error& error);

struct LastFailure {
  uint64_t unix_time_ns = 0;
  FailureReason reason = FailureReason::kOther;
  std::string message;

  bool operator==(const LastFailure&) const = default;
};

class LastFailureFile {
 public:
  static constexpr size_t kMostMessageBytes = 1000;  // the rest is cut off

  LastFailureFile(storage::FileSystem& file_system, const storage::Path& directory)
      : file_system_(file_system), path_(directory / "LAST-FAILURE") {}

  /// Nothing when there is none. An error says that nobody knows what was there; it is no reason
  /// not to start. Takes as much memory as a valid file, whatever is there.
  Result<std::optional<LastFailure>> read() const;
  /// Keeps room for write(), as far as the disk has it.
  void reserve();
  /// Durable when it returns. One thread at a time.
  Result<> write(const LastFailure& failure);

 private:
  storage::FileSystem& file_system_;
  const storage::Path path_;
};

}  // namespace tailrace::app
