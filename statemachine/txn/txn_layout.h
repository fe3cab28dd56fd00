#pragma once
// The fixed parts of the bytes of a transaction and of its result, and how they are read and
// written. docs/formats/txn.md has the tables. Internal.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "core/bytes.h"
#include "core/result.h"

namespace tailrace::statemachine {

inline constexpr uint8_t kTxnVersion = 1;
inline constexpr uint8_t kTxnResultVersion = 1;

struct TxnHead {
  uint8_t version;
  uint8_t flags;
  uint16_t checks;
  uint16_t then;
  uint16_t otherwise;
  uint64_t time_ns;
};
static_assert(sizeof(TxnHead) == 16 && std::is_trivially_copyable_v<TxnHead>);
inline constexpr uint8_t kTxnHasOnce = 1;

/// Begins a check and an effect.
struct TxnItemHead {
  uint8_t kind;
  uint8_t flags;
  uint16_t name_bytes;
};
static_assert(sizeof(TxnItemHead) == 4 && std::is_trivially_copyable_v<TxnItemHead>);
inline constexpr uint8_t kItemHasTime = 1;      // put, expire
inline constexpr uint8_t kItemExpected = 3;     // append: these bits are an Expected
inline constexpr uint8_t kItemHasMaxCount = 1;  // policy, and the two below
inline constexpr uint8_t kItemHasMaxAge = 2;
inline constexpr uint8_t kItemHasTruncateBefore = 4;
inline constexpr uint8_t kItemHasDedupe = 8;

struct TxnEventHead {
  uint8_t flags;
  uint8_t content_type;
  uint8_t type_bytes;
  uint8_t tags;
  uint32_t metadata_bytes;
  uint32_t data_bytes;
};
static_assert(sizeof(TxnEventHead) == 12 && std::is_trivially_copyable_v<TxnEventHead>);
inline constexpr uint8_t kEventHasId = 1;

struct TxnResultHead {
  uint8_t version;
  uint8_t flags;
  uint16_t failed;
  uint16_t results;
  uint16_t reserved;
  uint64_t position;
};
static_assert(sizeof(TxnResultHead) == 16 && std::is_trivially_copyable_v<TxnResultHead>);
inline constexpr uint8_t kResultSucceeded = 1;

struct FailedCheckHead {
  uint8_t list;
  uint8_t found;
  uint16_t index;
};
static_assert(sizeof(FailedCheckHead) == 4 && std::is_trivially_copyable_v<FailedCheckHead>);

struct EffectResultHead {
  uint8_t kind;
  uint8_t flags;
};
static_assert(sizeof(EffectResultHead) == 2 && std::is_trivially_copyable_v<EffectResultHead>);
inline constexpr uint8_t kResultReplayed = 1;

/// Where the bytes go, one part behind the other.
class ByteWriter {
 public:
  explicit ByteWriter(std::byte* place) : place_(place) {}
  template <typename T>
  void number(const T& value) {
    store(place_, value);
    place_ += sizeof value;
  }
  void bytes(ByteSpan from) {
    if (!from.empty()) std::memcpy(place_, from.data(), from.size());
    place_ += from.size();
  }

 private:
  std::byte* place_;
};

/// How many a ByteWriter would write.
class ByteCounter {
 public:
  template <typename T>
  void number(const T&) {
    counted_ += sizeof(T);
  }
  void bytes(ByteSpan from) { counted_ += from.size(); }
  size_t counted() const { return counted_; }

 private:
  size_t counted_ = 0;
};

/// Reads bytes from front to back and never beyond them. The first error stays; from then on all
/// that is read is zero or empty. So a reader is asked once for each item, not for each field.
class ByteReader {
 public:
  /// `subject` begins each message: "no transaction". `from` <= bytes.size().
  ByteReader(std::string_view subject, ByteSpan bytes, size_t from = 0)
      : subject_(subject), bytes_(bytes), at_(from), read_from_(from) {}

  template <typename T>
  T number() {
    if (!has(sizeof(T))) return T{};
    at_ += sizeof(T);
    return load<T>(bytes_.data() + at_ - sizeof(T));
  }
  ByteSpan bytes(size_t count) {
    if (!has(count)) return {};
    at_ += count;
    return bytes_.subspan(at_ - count, count);
  }
  std::string_view text(size_t count) { return as_text(bytes(count)); }

  /// "no transaction: at byte 12: `what`", where what was read last begins.
  void damaged(std::string_view what);
  /// The same, with "is of a newer version; upgrade this node" behind it.
  void newer(const std::string& what);
  /// Damaged if anything is left.
  void expect_end();

  bool is_sound() const { return !error_; }
  size_t at() const { return at_; }
  Result<> result() const;

 private:
  bool has(size_t count) {
    if (error_) return false;
    read_from_ = at_;
    if (count <= bytes_.size() - at_) return true;
    ends_early(count);
    return false;
  }
  void ends_early(size_t count);
  void fail(ErrorCode code, std::string_view what);

  const std::string_view subject_;
  const ByteSpan bytes_;
  size_t at_;
  size_t read_from_;  // where what was read last begins
  std::optional<Error> error_;
};

}  // namespace tailrace::statemachine
