#pragma once
// Little-endian fields one behind the other, as in the manifests of both versions.

#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.h"
#include "core/result.h"
#include "storage/file_system.h"

namespace tailrace::kv {

class FieldWriter {
 public:
  template <typename T>
  void put(const T& value) {
    const size_t at = bytes_.size();
    bytes_.resize(at + sizeof value);
    store(bytes_.data() + at, value);
  }
  void put_text(std::string_view text) {
    put(static_cast<uint32_t>(text.size()));
    const ByteSpan bytes = as_bytes(text);
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  ByteSpan bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

/// Takes fields from the front; once something is missing, all later ones are zero and ok() is
/// false.
class FieldReader {
 public:
  explicit FieldReader(ByteSpan bytes) : rest_(bytes) {}
  template <typename T>
  T take() {
    if (rest_.size() < sizeof(T)) {
      fail();
      return T{};
    }
    const T value = load<T>(rest_.data());
    rest_ = rest_.subspan(sizeof(T));
    return value;
  }
  std::string take_text() {
    const auto bytes = take<uint32_t>();
    if (rest_.size() < bytes) {
      fail();
      return {};
    }
    std::string text = to_string(rest_.first(bytes));
    rest_ = rest_.subspan(bytes);
    return text;
  }
  /// A number of items of so many bytes each that can still follow; else 0, and ok() is false.
  uint32_t take_count(size_t item_bytes) {
    const auto count = take<uint32_t>();
    if (count > rest_.size() / item_bytes) {
      fail();
      return 0;
    }
    return count;
  }
  bool ok() const { return ok_; }
  size_t left() const { return rest_.size(); }

 private:
  void fail() {
    ok_ = false;
    rest_ = {};
  }

  ByteSpan rest_;
  bool ok_ = true;
};

/// kCorruption, with file and offset.
inline tl::unexpected<Error> damaged(const storage::Path& path, uint64_t offset,
                                     const std::string& what) {
  return make_error(ErrorCode::kCorruption,
                    path.string() + ", offset " + std::to_string(offset) + ": " + what);
}

}  // namespace tailrace::kv
