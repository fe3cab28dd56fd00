#pragma once
// What a session does with a key.

#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>

#include "core/bytes.h"

namespace tailrace::kv {

using SessionId = uint64_t;
using Serial = uint64_t;

/// What a read-modify-write does with the key.
enum class Modification : uint8_t {
  kWrite,  // the new value is the key's
  kErase,  // the key is deleted; on an absent key the same as kKeep
  kKeep,   // nothing is written
};

/// A view of the caller's function `Modification(const ByteSpan* present, std::string& next)`:
/// present is null when the key is absent and else valid during the call only; next comes empty and
/// receives the new value. It may be called several times for one operation (a race was lost); only
/// its last call counts. It must not call the store, must not throw (the process ends), and takes
/// no longer than it must: the record may be locked. Valid as long as the function it was made
/// from.
///
/// An object may have `Modification change(MutableByteSpan value)` besides: it is called instead
/// where the key has a short value that may be changed where it stands, and gets a copy of it to
/// change, its size kept. A counter that way needs no string. Both must come to the same.
class Modify {
 public:
  Modify() = default;
  template <typename Function>
  requires(!std::is_same_v<std::remove_cvref_t<Function>, Modify>)
      Modify(Function&& function)  // NOLINT(google-explicit-constructor): a view, as string_view is
      : context_(const_cast<void*>(static_cast<const void*>(std::addressof(function)))),
        ways_(&kWays<std::remove_reference_t<Function>>) {}
  Modification operator()(const ByteSpan* present, std::string& next) const {
    return ways_->call(context_, present, next);
  }
  bool can_change() const { return ways_->change != nullptr; }
  Modification change(MutableByteSpan value) const { return ways_->change(context_, value); }
  /// change() of a value of eight bytes, which never leaves the registers.
  struct ChangedNumber {
    uint64_t value;
    Modification decision;
  };
  ChangedNumber change_number(uint64_t value) const {
    return ways_->change_number(context_, value);
  }

 private:
  struct Ways {
    Modification (*call)(void*, const ByteSpan*, std::string&);
    Modification (*change)(void*, MutableByteSpan) = nullptr;  // both or neither
    ChangedNumber (*change_number)(void*, uint64_t) = nullptr;
  };
  template <typename Function>
  static constexpr Ways ways_of() {
    Ways ways{
        [](void* context, const ByteSpan* present, std::string& next) noexcept -> Modification {
          return (*static_cast<Function*>(context))(present, next);
        }};
    if constexpr (requires(Function & function) { function.change(MutableByteSpan()); }) {
      ways.change = [](void* context, MutableByteSpan value) noexcept -> Modification {
        return static_cast<Function*>(context)->change(value);
      };
      ways.change_number = [](void* context, uint64_t value) noexcept -> ChangedNumber {
        std::byte bytes[sizeof value];
        store(bytes, value);
        const Modification decision = static_cast<Function*>(context)->change(bytes);
        return {load<uint64_t>(bytes), decision};
      };
    }
    return ways;
  }
  template <typename Function>
  static constexpr Ways kWays = ways_of<Function>();

  // Two words: passed in registers.
  void* context_ = nullptr;
  const Ways* ways_ = nullptr;
};

enum class OperationKind : uint8_t {
  kRead,
  kUpsert,
  kErase,
  kRmw,             // `modify`
  kInsertIfAbsent,  // `value`
  kCompareAndSwap,  // `value` if the present value equals `expected`; an absent key never does
};

/// One operation of a batch.
struct Operation {
  OperationKind kind = OperationKind::kRead;
  ByteSpan key;
  ByteSpan value;
  ByteSpan expected;
  Modify modify;
  std::string* result = nullptr;  // kRead: receives the value; kCompareAndSwap, kInsertIfAbsent:
                                  // the present value when nothing was written; may be null
  Serial serial = 0;              // not for kRead
  /// Out. kRead: there was a value. kErase: the key was present. Else: something was written.
  bool done = false;
};

}  // namespace tailrace::kv
