#pragma once
// Cap'n Proto's standard stream framing: a segment table (number of segments - 1, the words of each
// one, all 32-bit little-endian, padded to 8 bytes), then the segments. One message is one frame.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/bytes.h"
#include "core/result.h"

namespace capnp {
class MessageBuilder;
}

namespace tailrace::rpc {

inline constexpr uint32_t kMostSegments = 16;

/// Finds the frames in a stream of bytes from someone who may lie. What a segment table announces
/// is checked before anything is allocated for it, and memory grows only with the bytes that have
/// really come: at most twice of them (and 16 KiB, or 64 KiB where a buffer was filled at once).
/// A large frame is read to its end and hardly further, so that little has to be moved for the next
/// one. One thread.
class FrameDecoder {
 public:
  explicit FrameDecoder(size_t max_frame_bytes);
  /// From the next frame on.
  void set_max_frame_bytes(size_t bytes) { max_frame_bytes_ = bytes; }
  /// A buffer of no more is kept while it is empty, so that one large frame after the other does
  /// not make it grow each time.
  void set_kept_bytes(size_t bytes) { kept_bytes_ = bytes; }

  /// Where to read the next bytes to; never empty. Invalidates what peek() returned.
  MutableByteSpan room();
  /// What capacity() will be after room().
  size_t capacity_with_room() const;
  /// Whether a part of a frame has come.
  bool has_part() const { return begin_ != end_; }
  /// So many bytes of room() were filled.
  void filled(size_t bytes);

  /// The next whole frame, aligned to 8 bytes, segment table included; nothing: more bytes are
  /// needed. kInvalidArgument when the stream cannot be one of frames within the limits: then it
  /// is of no more use.
  Result<std::optional<ByteSpan>> peek();
  /// Steps over the frame that peek() returned.
  void consume();
  /// Where that frame stands: as long as somebody keeps this, nothing is written over it, and what
  /// comes next goes to other memory. Same thread.
  std::shared_ptr<const void> memory() const { return words_; }

  size_t capacity() const { return capacity_; }
  /// Lets go of the buffer while it is empty.
  void give_back();

 private:
  /// Bytes of the frame that begins at begin_, or nothing while its table is not complete.
  Result<std::optional<size_t>> announced_bytes() const;
  /// What capacity_ grows to.
  size_t next_capacity() const;
  /// Whether what is held, or nothing, is to stand at the buffer's beginning before more is read.
  bool begins_anew() const;
  const std::byte* data() const { return reinterpret_cast<const std::byte*>(words_.get()); }
  std::byte* data() { return reinterpret_cast<std::byte*>(words_.get()); }
  void resize(size_t capacity);

  size_t max_frame_bytes_;
  size_t kept_bytes_ = 2u << 20;
  std::shared_ptr<uint64_t[]> words_;  // frames are whole words: aligned once, aligned for ever
  size_t capacity_ = 0;
  size_t begin_ = 0, end_ = 0;  // of the bytes not yet consumed
  size_t frame_bytes_ = 0;      // of the frame at begin_, when known; else 0
  size_t room_ = 0;             // what room() gave
  bool was_filled_ = false;     // more may have come than there was room for
};

/// Adds the message as one frame.
void append_frame(capnp::MessageBuilder& message, std::vector<std::byte>& out);
/// The same, but without the segment that begins at `left_out`: returns where in `out` it belongs,
/// or nothing when the message has no such segment.
std::optional<size_t> append_frame_without(capnp::MessageBuilder& message,
                                           const std::byte* left_out, std::vector<std::byte>& out);

}  // namespace tailrace::rpc
