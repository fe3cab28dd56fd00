#pragma once
// The tables of what a transaction may have: what each kind of check and of effect is called, and
// what it carries. Checking, encoding and decoding read them. Internal.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "statemachine/txn/txn.h"

namespace tailrace::statemachine {

/// What an item's name is.
enum class NameOf : uint8_t { kNothing, kKey, kStream };

enum CheckFields : uint8_t {
  kCheckHasNone = 0,
  kCheckHasValue = 1,
  kCheckHasRange = 2,
  kCheckHasAt = 4,
};

struct CheckInfo {
  CheckKind kind;
  std::string_view title;  // in messages
  NameOf name;
  uint8_t fields;
};

enum EffectFields : uint8_t {
  kEffectHasNone = 0,
  kEffectHasValue = 1,
  kEffectHasTime = 2,
  kEffectHasDelta = 4,
  kEffectHasEvents = 8,
  kEffectHasPolicy = 16,
};

struct EffectInfo {
  TxnEffectKind kind;
  std::string_view title;  // in messages
  NameOf name;
  uint8_t fields;
  bool changes;  // what it names
};

// clang-format off
inline constexpr std::array kCheckTable{
    CheckInfo{CheckKind::kKeyEquals,     "key equals",      NameOf::kKey,     kCheckHasValue},
    CheckInfo{CheckKind::kKeyAbsent,     "key absent",      NameOf::kKey,     kCheckHasNone},
    CheckInfo{CheckKind::kKeyExists,     "key exists",      NameOf::kKey,     kCheckHasNone},
    CheckInfo{CheckKind::kKeyModifiedAt, "key modified at", NameOf::kKey,     kCheckHasAt},
    CheckInfo{CheckKind::kKeyNumber,     "key number",      NameOf::kKey,     kCheckHasRange},
    CheckInfo{CheckKind::kStreamAt,      "stream at",       NameOf::kStream,  kCheckHasAt},
    CheckInfo{CheckKind::kStreamAbsent,  "stream absent",   NameOf::kStream,  kCheckHasNone},
    CheckInfo{CheckKind::kStreamExists,  "stream exists",   NameOf::kStream,  kCheckHasNone},
    CheckInfo{CheckKind::kBefore,        "before",          NameOf::kNothing, kCheckHasAt},
};
inline constexpr std::array kEffectTable{
    EffectInfo{TxnEffectKind::kPut,          "put",           NameOf::kKey,    kEffectHasValue | kEffectHasTime, true},
    EffectInfo{TxnEffectKind::kDelete,       "delete",        NameOf::kKey,    kEffectHasNone, true},
    EffectInfo{TxnEffectKind::kAdd,          "add",           NameOf::kKey,    kEffectHasDelta, true},
    EffectInfo{TxnEffectKind::kExpire,       "expire",        NameOf::kKey,    kEffectHasTime, true},
    EffectInfo{TxnEffectKind::kGet,          "get",           NameOf::kKey,    kEffectHasNone, false},
    EffectInfo{TxnEffectKind::kAppend,       "append",        NameOf::kStream, kEffectHasEvents, true},
    EffectInfo{TxnEffectKind::kPolicy,       "policy",        NameOf::kStream, kEffectHasPolicy, true},
    EffectInfo{TxnEffectKind::kDeleteStream, "delete_stream", NameOf::kStream, kEffectHasNone, true},
    EffectInfo{TxnEffectKind::kTombstone,    "tombstone",     NameOf::kStream, kEffectHasNone, true},
};
// clang-format on

/// A row for each kind, in the order of their numbers, which begin at 1.
template <typename Table, typename Kind>
constexpr bool has_a_row_for_each(const Table& table, Kind last) {
  for (size_t row = 0; row < table.size(); ++row)
    if (static_cast<size_t>(table[row].kind) != row + 1) return false;
  return table.size() == static_cast<size_t>(last);
}
static_assert(has_a_row_for_each(kCheckTable, CheckKind::kLast));
static_assert(has_a_row_for_each(kEffectTable, TxnEffectKind::kLast));
constexpr bool names_agree() {
  for (const CheckInfo& info : kCheckTable)
    if ((info.name == NameOf::kStream) != is_of_stream(info.kind)) return false;
  for (const EffectInfo& info : kEffectTable)
    if ((info.name == NameOf::kStream) != is_of_stream(info.kind)) return false;
  return true;
}
static_assert(names_agree());

constexpr bool is_known(CheckKind kind) {
  return kind != CheckKind{} && kind <= CheckKind::kLast;
}
constexpr bool is_known(TxnEffectKind kind) {
  return kind != TxnEffectKind{} && kind <= TxnEffectKind::kLast;
}
/// Of a known kind only.
constexpr const CheckInfo& info_of(CheckKind kind) {
  return kCheckTable[static_cast<size_t>(kind) - 1];
}
constexpr const EffectInfo& info_of(TxnEffectKind kind) {
  return kEffectTable[static_cast<size_t>(kind) - 1];
}

}  // namespace tailrace::statemachine
