#pragma once
// Positions in the logical log.

#include <compare>
#include <cstdint>
#include <limits>

namespace tailrace {

/// A byte offset into the one logical log, the same on every node. Never reused: a truncated prefix
/// keeps its addresses. Address 0 is never a record's address, so it can stand for "none".
struct Address {
  uint64_t value = 0;

  constexpr auto operator<=>(const Address&) const = default;

  constexpr Address operator+(uint64_t bytes) const { return Address{value + bytes}; }
  constexpr Address operator-(uint64_t bytes) const { return Address{value - bytes}; }
  /// Bytes from `other` up to this address; the caller knows that `other` is not greater.
  constexpr uint64_t operator-(Address other) const { return value - other.value; }

  static constexpr Address max() { return Address{std::numeric_limits<uint64_t>::max()}; }
};

/// The half-open range [first, end).
struct AddressRange {
  Address first;
  Address end;

  constexpr bool operator==(const AddressRange&) const = default;
  constexpr uint64_t bytes() const { return end - first; }
  constexpr bool empty() const { return first == end; }
  constexpr bool contains(Address address) const { return first <= address && address < end; }
};

/// A leader's term of office: granted by the coordinator, greater than every epoch before it.
/// Epoch 0 is no epoch (a log used alone, without replication).
struct Epoch {
  uint64_t value = 0;

  constexpr auto operator<=>(const Epoch&) const = default;
};

/// A node's number, unique in its cluster and never given to another node. 0 is no node.
struct NodeId {
  uint32_t value = 0;

  constexpr auto operator<=>(const NodeId&) const = default;
};

}  // namespace tailrace
