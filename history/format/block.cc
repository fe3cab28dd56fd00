#include "history/format/block.h"

#include <string>

#include <zstd.h>

#include "storage/crc32c.h"

namespace tailrace::history {

namespace {

constexpr size_t kCheckedFrom = offsetof(BlockHead, stored_bytes);

uint32_t checksum_of(const std::byte* block, size_t stored_bytes) {
  return crc32c({block + kCheckedFrom, sizeof(BlockHead) - kCheckedFrom + stored_bytes});
}

tl::unexpected<Error> no_block(const std::string& what) {
  return make_error(ErrorCode::kCorruption, what);
}

struct FreeDecompressor {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

/// One a thread, for making one costs more than a block.
ZSTD_DCtx* decompressor() {
  static thread_local const std::unique_ptr<ZSTD_DCtx, FreeDecompressor> context(ZSTD_createDCtx());
  return context.get();
}

Result<> check_head(const BlockHead& head, BlockKind kind, ByteSpan stored, size_t most_bytes) {
  if (head.stored_bytes != stored.size() - sizeof(BlockHead))
    return no_block("it says that it has " + std::to_string(head.stored_bytes) + " bytes, it has " +
                    std::to_string(stored.size() - sizeof(BlockHead)));
  const uint32_t found = checksum_of(stored.data(), head.stored_bytes);
  if (found != head.crc)
    return no_block("its checksum is " + std::to_string(head.crc) + ", that of its bytes " +
                    std::to_string(found));
  if (head.kind != static_cast<uint8_t>(kind) || head.reserved != 0)
    return no_block("it is of kind " + std::to_string(head.kind) + " where one of kind " +
                    std::to_string(static_cast<int>(kind)) + " is to be");
  if (head.raw_bytes > most_bytes)
    return no_block("it says that it has " + std::to_string(head.raw_bytes) +
                    " bytes decompressed, " + std::to_string(most_bytes) + " are allowed");
  if (head.codec > static_cast<uint8_t>(Compression::kLast))
    return make_error(ErrorCode::kUnsupported, "it is compressed by method " +
                                                   std::to_string(head.codec) +
                                                   " of a newer version; upgrade this node");
  return {};
}

}  // namespace

void BlockSealer::Free::operator()(ZSTD_CCtx_s* context) const {
  ZSTD_freeCCtx(context);
}

BlockSealer::BlockSealer(Compression compression, int level)
    : compression_(compression), level_(level) {
  if (compression_ == Compression::kZstd) context_.reset(ZSTD_createCCtx());
}

BlockSealer::~BlockSealer() = default;

Result<BlockHead> BlockSealer::seal(BlockKind kind, ByteSpan raw, std::vector<std::byte>& into) {
  const size_t at = into.size();
  const bool compresses = compression_ == Compression::kZstd && !raw.empty();
  const size_t room = compresses ? ZSTD_compressBound(raw.size()) : raw.size();
  into.resize(at + sizeof(BlockHead) + room);
  std::byte* const place = into.data() + at + sizeof(BlockHead);
  BlockHead head{0,
                 static_cast<uint32_t>(raw.size()),
                 static_cast<uint32_t>(raw.size()),
                 static_cast<uint8_t>(kind),
                 static_cast<uint8_t>(Compression::kNone),
                 0};
  if (compresses) {
    const size_t bytes =
        ZSTD_compressCCtx(context_.get(), place, room, raw.data(), raw.size(), level_);
    if (ZSTD_isError(bytes) != 0)
      return make_error(ErrorCode::kIo,
                        std::string("zstd cannot compress: ") + ZSTD_getErrorName(bytes));
    if (bytes < raw.size()) {
      head.stored_bytes = static_cast<uint32_t>(bytes);
      head.codec = static_cast<uint8_t>(Compression::kZstd);
    }
  }
  if (head.codec == static_cast<uint8_t>(Compression::kNone) && !raw.empty())
    std::memcpy(place, raw.data(), raw.size());
  into.resize(at + sizeof(BlockHead) + head.stored_bytes);
  store(into.data() + at, head);
  head.crc = checksum_of(into.data() + at, head.stored_bytes);
  store(into.data() + at, head);
  return head;
}

Result<> open_block(BlockKind kind, ByteSpan stored, size_t most_bytes,
                    std::vector<std::byte>& raw) {
  if (stored.size() < sizeof(BlockHead)) return no_block("it ends early");
  const auto head = load<BlockHead>(stored.data());
  TAILRACE_RETURN_IF_ERROR(check_head(head, kind, stored, most_bytes));
  const ByteSpan bytes = stored.subspan(sizeof(BlockHead));
  if (Compression{head.codec} == Compression::kNone) {
    if (head.raw_bytes != bytes.size()) return no_block("it is stored in another length");
    raw.assign(bytes.begin(), bytes.end());
    return {};
  }
  raw.resize(head.raw_bytes);
  const size_t got =
      ZSTD_decompressDCtx(decompressor(), raw.data(), raw.size(), bytes.data(), bytes.size());
  if (ZSTD_isError(got) != 0)
    return no_block(std::string("zstd cannot decompress it: ") + ZSTD_getErrorName(got));
  if (got != raw.size())
    return no_block("it has " + std::to_string(got) + " bytes decompressed and says " +
                    std::to_string(raw.size()));
  return {};
}

}  // namespace tailrace::history
