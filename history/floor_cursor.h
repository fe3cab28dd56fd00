#pragma once
// Walks through the floors of one event file, by the names of their streams.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "history/event_file.h"

namespace tailrace::history {

/// One thread. Holds one block in memory; does not use the cache. What is given ascends strictly.
class FloorCursor {
 public:
  explicit FloorCursor(std::shared_ptr<const EventFile> file);

  /// The next one, whose name is valid until the next call; nothing behind the last one.
  /// kCorruption naming file and byte, after which every call fails with it.
  Result<std::optional<StreamFloor>> next();

 private:
  friend class FileCheck;

  /// False: there is no other block.
  Result<bool> load_block();
  /// Why the block cannot stand behind the one before; empty: it can.
  std::string_view refusal() const;

  const std::shared_ptr<const EventFile> file_;
  uint64_t at_;  // of the next block
  uint64_t given_ = 0;
  std::vector<std::byte> raw_;
  std::vector<StreamFloor> floors_;  // of the block
  size_t next_ = 0;                  // of them
  std::string last_;                 // the name before the block; empty: there is none
  size_t before_bytes_ = 0;          // of the block before
  std::optional<Error> failure_;
};

}  // namespace tailrace::history
