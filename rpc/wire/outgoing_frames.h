#pragma once
// Frames that wait to be written to a socket.

#include <cstdint>
#include <span>
#include <vector>

#include <sys/uio.h>

#include "core/shared_bytes.h"

namespace capnp {
class MessageBuilder;
}

namespace tailrace::rpc {

/// One thread.
class OutgoingFrames {
 public:
  /// Adds the message as one frame. The segment that begins where `lent` does, if there is one, is
  /// not copied: `lent` is kept until clear(). May be null.
  void append(capnp::MessageBuilder& message, SharedBytes lent);
  bool empty() const { return bytes() == 0; }
  size_t bytes() const { return own_.size() + lent_bytes_; }
  /// What stands behind the first `from` bytes, in order and as far as `to` has room: how many
  /// pieces that are. Valid until the next append() or clear().
  size_t pieces_from(size_t from, std::span<iovec> to) const;
  void clear();
  /// What is allocated for frames, sent or not; give_back() lets go of it where nothing waits.
  size_t capacity() const { return own_.capacity(); }
  void give_back() {
    if (empty()) std::vector<std::byte>().swap(own_);
  }

 private:
  struct Lent {
    size_t before;  // its place in own_
    SharedBytes bytes;
  };
  std::vector<std::byte> own_;
  std::vector<Lent> lent_;
  size_t lent_bytes_ = 0;
};

}  // namespace tailrace::rpc
