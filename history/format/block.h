#pragma once
// Blocks: stretches of a file that are compressed and checked each by itself. Internal.

#include <cstdint>
#include <memory>
#include <vector>

#include "core/bytes.h"
#include "core/result.h"
#include "history/format/layout.h"
#include "history/types/options.h"

struct ZSTD_CCtx_s;

namespace tailrace::history {

/// Makes blocks. One thread.
class BlockSealer {
 public:
  BlockSealer(Compression compression, int level);
  ~BlockSealer();

  /// Head and bytes, behind what `into` has. What compressing does not shorten is stored as it is.
  /// kIo when the library refuses.
  Result<BlockHead> seal(BlockKind kind, ByteSpan raw, std::vector<std::byte>& into);

 private:
  struct Free {
    void operator()(ZSTD_CCtx_s* context) const;
  };
  const Compression compression_;
  const int level_;
  std::unique_ptr<ZSTD_CCtx_s, Free> context_;
};

/// `stored` is head and bytes of one block. Checks all of it, then replaces `raw`. kCorruption, or
/// kUnsupported for a codec of a newer program; raw bytes above `most_bytes` are refused before
/// there is room for them. Any thread.
Result<> open_block(BlockKind kind, ByteSpan stored, size_t most_bytes,
                    std::vector<std::byte>& raw);

}  // namespace tailrace::history
