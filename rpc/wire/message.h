#pragma once
// Building and reading Cap'n Proto messages: internal to this folder.

#include <optional>
#include <string>

#include <capnp/message.h>
#include <capnp/orphan.h>
#include <capnp/serialize.h>

#include "core/bytes.h"

namespace tailrace::rpc {

using tailrace::to_string;

inline ByteSpan to_span(capnp::Data::Reader data) {
  return {reinterpret_cast<const std::byte*>(data.begin()), data.size()};
}
inline ByteSpan to_span(capnp::Text::Reader text) {
  return {reinterpret_cast<const std::byte*>(text.begin()), text.size()};
}
inline capnp::Data::Reader to_data(ByteSpan bytes) {
  return {reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size()};
}
inline capnp::Data::Reader to_data(std::string_view text) {
  return {reinterpret_cast<const kj::byte*>(text.data()), text.size()};
}
inline std::string to_string(capnp::Text::Reader text) {
  return {text.begin(), text.size()};
}
inline std::string to_string(capnp::Data::Reader data) {
  return {reinterpret_cast<const char*>(data.begin()), data.size()};
}

/// Below, a copy costs less than one more piece to write.
inline constexpr size_t kLeastLentBytes = 16u << 10;

/// Data of the message that `to` belongs to, which refers to the bytes: a segment of its own, up to
/// the end of the last word, for OutgoingFrames::append(). They begin at a word and live until the
/// frame has been sent.
template <typename Builder>
capnp::Orphan<capnp::Data> lend(Builder to, ByteSpan bytes) {
  return capnp::Orphanage::getForMessageContaining(to).referenceExternalData(to_data(bytes));
}

/// Twice the message may be traversed (each list is read once), 16 levels deep.
inline capnp::ReaderOptions reader_options(size_t frame_bytes) {
  capnp::ReaderOptions options;
  options.traversalLimitInWords = 2 * (frame_bytes / sizeof(capnp::word)) + 64;
  options.nestingLimit = 16;
  return options;
}

inline kj::ArrayPtr<const capnp::word> to_words(ByteSpan frame) {
  return {reinterpret_cast<const capnp::word*>(frame.data()), frame.size() / sizeof(capnp::word)};
}

/// Memory for one small message at a time, so that building one allocates nothing. Cap'n Proto
/// wants it zeroed and leaves it so.
class Scratch {
 public:
  static constexpr size_t kWords = 1024;
  kj::ArrayPtr<capnp::word> take() {
    in_use_ = true;
    return {words_, kWords};
  }
  bool in_use() const { return in_use_; }
  void give_back() { in_use_ = false; }

 private:
  bool in_use_ = false;
  capnp::word words_[kWords] = {};
};

/// A message that is built, sent and forgotten. The first one alive in a thread uses its scratch.
class OutgoingMessage {
 public:
  OutgoingMessage() : scratch_(thread_scratch()) {
    if (scratch_.in_use()) {
      builder_.emplace();
    } else {
      builder_.emplace(scratch_.take());
      borrowed_ = true;
    }
  }
  ~OutgoingMessage() {
    builder_.reset();
    if (borrowed_) scratch_.give_back();
  }
  OutgoingMessage(const OutgoingMessage&) = delete;
  OutgoingMessage& operator=(const OutgoingMessage&) = delete;

  template <typename Root>
  typename Root::Builder init() {
    return builder_->initRoot<Root>();
  }
  capnp::MessageBuilder& builder() { return *builder_; }

 private:
  static Scratch& thread_scratch() {
    thread_local Scratch scratch;
    return scratch;
  }
  Scratch& scratch_;
  bool borrowed_ = false;
  std::optional<capnp::MallocMessageBuilder> builder_;
};

}  // namespace tailrace::rpc
