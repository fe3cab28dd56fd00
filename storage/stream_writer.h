#pragma once
// Writes large files from their beginning to their end, one after the other: past the page cache,
// with several pieces on their way to the disk while the next one is filled.

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/bytes.h"
#include "core/result.h"
#include "storage/aligned_buffer.h"
#include "storage/file_system.h"

namespace tailrace::storage {

/// One thread at a time. After an error every call but abandon() fails with it: a failed write is
/// final.
class StreamWriter {
 public:
  static constexpr size_t kPieceBytes = 4u << 20;
  static constexpr size_t kPieces = 4;

  explicit StreamWriter(FileSystem& file_system) : file_system_(file_system) {}
  /// Waits for what is on its way; what was not saved is not durable.
  ~StreamWriter();
  StreamWriter(const StreamWriter&) = delete;
  StreamWriter& operator=(const StreamWriter&) = delete;

  /// Makes `path` where it is absent, with room for `bytes`, which is what the file will have. The
  /// next byte written is that at `offset`, a multiple of kBlockBytes; those before it stay.
  /// kResourceExhausted when the disk has no room.
  Result<> open(const Path& path, uint64_t bytes, uint64_t offset);
  bool is_open() const { return file_ != nullptr; }

  /// The bytes at written(), not beyond the file's end. Waits when all pieces are on their way.
  Result<> write(ByteSpan bytes);
  uint64_t written() const { return piece_begin_ + filled_; }

  /// All whole blocks that were written are durable. Returns where they end.
  Result<uint64_t> save();
  /// All of the file was written: it is durable, and as long as open() said.
  Result<> close();
  /// The file stays as it is, and the memory is given back.
  void abandon();

 private:
  Result<> begin_piece();
  /// Sends the first `bytes` of the piece, whole blocks, on their way.
  Result<> submit(size_t bytes);
  /// Takes in completions; waits until a piece is free, or until all are.
  Result<> wait(bool for_all);
  Result<> take_completions(std::chrono::nanoseconds timeout);
  tl::unexpected<Error> failed(Error error);

  FileSystem& file_system_;
  std::unique_ptr<IoQueue> queue_;
  std::unique_ptr<File> file_;
  uint64_t file_bytes_ = 0;
  std::vector<AlignedBuffer> pieces_;  // made when they are first needed
  std::vector<size_t> free_;           // of pieces_
  std::optional<size_t> current_;      // being filled
  uint64_t piece_begin_ = 0;           // its first byte's place in the file, a whole block's
  size_t filled_ = 0;                  // of it, always less than all
  std::vector<Completion> completions_;
  std::optional<Error> failure_;
};

}  // namespace tailrace::storage
