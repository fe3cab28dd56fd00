#pragma once
// What a copy of a checkpoint consists of (docs/formats/fasterkv.md): which files, how long, and
// what of the log is in them. It follows from the manifest alone, so that it is the same whenever
// the copy is made: before and after the log grew, was compacted, or was opened again.

#include <optional>
#include <string>
#include <vector>

#include "kv/checkpoint/files.h"

namespace tailrace::kv {

/// Of a checkpoint that is a state and not one of pairs.
class CopyLayout {
 public:
  explicit CopyLayout(const Manifest& manifest);

  struct Part {
    std::string name;  // relative to the store's directory
    uint64_t bytes = 0;
    std::optional<LogAddress> segment;  // its first address, of a file of the log
  };
  /// All files but the MANIFEST, in the order of a copy; whole blocks.
  const std::vector<Part>& parts() const { return parts_; }
  /// Where the MANIFEST is.
  const std::string& manifest_name() const { return manifest_name_; }
  /// The directories below checkpoints/ that there are, ascending.
  const std::vector<uint64_t>& tokens() const { return tokens_; }

  /// Of the log, in whole blocks, all that is not zeros; nothing when the two are the same. It
  /// begins with a page's header.
  LogAddress data_from() const { return data_from_; }
  LogAddress data_until() const { return data_until_; }
  /// Below it, and from data_until() on, only headers count.
  LogAddress first_block() const { return first_block_; }
  /// Zeros in place of what does not count: the blocks of a page that are not the checkpoint's, and
  /// their checksums in its header. What counts never changes; the rest depends on when one looks.
  /// Blocks of the log from `address` on.
  void blank(LogAddress address, MutableByteSpan blocks) const;

 private:
  void blank_header(LogAddress page, uint64_t offset, MutableByteSpan block) const;

  const uint64_t page_bytes_;
  LogAddress data_from_ = 0;
  LogAddress first_block_ = 0;
  LogAddress data_until_ = 0;
  std::vector<Part> parts_;
  std::string manifest_name_;
  std::vector<uint64_t> tokens_;
};

}  // namespace tailrace::kv
