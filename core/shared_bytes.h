#pragma once
// Bytes that several parts hold and none changes, whatever owns them.

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "core/bytes.h"

namespace tailrace {

/// A view of bytes together with what keeps them alive; null: there are none. Used like a pointer
/// to a ByteSpan. Copies share the owner. Each object belongs to one thread, as a shared_ptr does;
/// the bytes may be read by any.
class SharedBytes {
 public:
  SharedBytes() = default;
  SharedBytes(std::nullptr_t) {}
  SharedBytes(std::shared_ptr<const std::vector<std::byte>> bytes) {
    if (!bytes) return;
    bytes_ = ByteSpan(*bytes);
    owner_ = std::move(bytes);
  }
  SharedBytes(std::shared_ptr<std::vector<std::byte>> bytes)
      : SharedBytes(std::shared_ptr<const std::vector<std::byte>>(std::move(bytes))) {}
  /// `bytes` live as long as `owner`; null when that is.
  SharedBytes(std::shared_ptr<const void> owner, ByteSpan bytes)
      : owner_(std::move(owner)), bytes_(owner_ ? bytes : ByteSpan()) {}

  static SharedBytes copy_of(ByteSpan bytes) {
    return std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end());
  }

  explicit operator bool() const { return owner_ != nullptr; }
  friend bool operator==(const SharedBytes& bytes, std::nullptr_t) { return !bytes; }
  const ByteSpan& operator*() const { return bytes_; }
  const ByteSpan* operator->() const { return &bytes_; }
  const std::shared_ptr<const void>& owner() const { return owner_; }

 private:
  std::shared_ptr<const void> owner_;
  ByteSpan bytes_;
};

}  // namespace tailrace
