#pragma once
// All fields of every message between peers. The structured bindings name each field: one that is
// added to a message and not here does not compile.

#include <cstring>
#include <type_traits>

#include "kv/checkpoint_source.h"
#include "replication/protocol/messages.h"
#include "tests/fuzz/log_bytes.h"

namespace tailrace::fuzz {

using Bytes = SharedBytes;

template <typename V>
void fields(V& visit, replication::Seal& of) {
  auto& [epoch, members, run] = of;
  visit(epoch, members, run);
}
template <typename V>
void fields(V& visit, replication::Sealed& of) {
  auto& [epoch, last_epoch, begin, durable, incarnation, vote, owed_epoch, owed] = of;
  visit(epoch, last_epoch, begin, durable, incarnation, vote, owed_epoch, owed);
}
template <typename V>
void fields(V& visit, replication::Leading& of) {
  auto& [epoch, members, run] = of;
  visit(epoch, members, run);
}
template <typename V>
void fields(V& visit, replication::GrantVote& of) {
  auto& [epoch, incarnation, vote] = of;
  visit(epoch, incarnation, vote);
}
template <typename V>
void fields(V& visit, replication::TakeOver& of) {
  auto& [epoch] = of;
  visit(epoch);
}
template <typename V>
void fields(V& visit, replication::Subscribe& of) {
  auto& [promised, last_epoch, begin, durable, incarnation, vote, run] = of;
  visit(promised, last_epoch, begin, durable, incarnation, vote, run);
}
template <typename V>
void fields(V& visit, replication::Accept& of) {
  auto& [epoch, start, committed] = of;
  visit(epoch, start, committed);
}
template <typename V>
void fields(V& visit, replication::Diverges& of) {
  auto& [epoch, asked, last_epoch, end] = of;
  visit(epoch, asked, last_epoch, end);
}
template <typename V>
void fields(V& visit, replication::Refuse& of) {
  auto& [reason, epoch, leader, message, life] = of;
  auto& [incarnation, starts, run] = life;
  visit(reason, epoch, leader, message, incarnation, starts, run);
}
template <typename V>
void fields(V& visit, replication::Data& of) {
  auto& [epoch, from, bytes, committed, leader_durable, unix_time_ns, round, echo, age, keep_from] =
      of;
  visit(epoch, from, bytes, committed, leader_durable, unix_time_ns, round, echo, age, keep_from);
}
template <typename V>
void fields(V& visit, replication::Acknowledge& of) {
  auto& [epoch, durable, applied, round, sent, vote, incarnation, relayed_by] = of;
  visit(epoch, durable, applied, round, sent, vote, incarnation, relayed_by);
}
template <typename V>
void fields(V& visit, replication::AskCheckpoint& of) {
  auto& [token, at_least] = of;
  visit(token, at_least);
}
template <typename V>
void fields(V& visit, replication::OfferCheckpoint& of) {
  auto& [plan, problem] = of;
  auto& [token, fingerprint, owner, applied, log, epochs, configurations, files] = plan;
  visit(problem, token, fingerprint, owner, applied, log.first, log.end, epochs, files,
        configurations);
}
template <typename V>
void fields(V& visit, replication::ReadCheckpoint& of) {
  auto& [fingerprint, offset, bytes] = of;
  visit(fingerprint, offset, bytes);
}
template <typename V>
void fields(V& visit, replication::CheckpointPart& of) {
  auto& [fingerprint, offset, checksum, bytes, problem] = of;
  visit(fingerprint, offset, checksum, bytes, problem);
}
template <typename V>
void fields(V& visit, replication::CompareState& of) {
  auto& [epoch, address, high, low, pairs, settled, disputed] = of;
  visit(epoch, address, high, low, pairs, settled, disputed);
}
template <typename V>
void fields(V& visit, replication::StateCompared& of) {
  auto& [epoch, address, known, high, low, pairs, diverged, disputed] = of;
  visit(epoch, address, known, high, low, pairs, diverged, disputed);
}
template <typename V>
void fields(V& visit, fasterlog::EpochStart& of) {
  auto& [epoch, start] = of;
  visit(epoch, start);
}
template <typename V>
void fields(V& visit, fasterlog::ConfigurationRecord& of) {
  auto& [start, end, epoch, payload] = of;
  visit(start, end, epoch, payload);
}
template <typename V>
void fields(V& visit, kv::CheckpointSource::File& of) {
  auto& [name, bytes] = of;
  visit(name, bytes);
}

/// Gives each field a value from the input.
class FillFields {
 public:
  explicit FillFields(Input& input) : input_(input) {}
  template <typename... Field>
  void operator()(Field&... field) {
    (fill(field), ...);
  }

 private:
  void fill(bool& to) { to = input_.take<uint8_t>() % 2 != 0; }
  void fill(uint32_t& to) { to = input_.take<uint32_t>(); }
  /// Mostly small ones, near the addresses and epochs that a log really has.
  void fill(uint64_t& to) {
    to = input_.take<uint16_t>();
    if (to % 16 == 15) to = input_.take<uint64_t>();
  }
  void fill(Epoch& to) { fill(to.value); }
  void fill(Address& to) { fill(to.value); }
  void fill(NodeId& to) { fill(to.value); }
  void fill(Vote& to) { to = static_cast<Vote>(input_.take<uint8_t>() % 3); }
  void fill(replication::RefusalReason& to) {
    to = static_cast<replication::RefusalReason>(input_.take<uint8_t>());
  }
  void fill(std::chrono::nanoseconds& to) { to = std::chrono::nanoseconds(input_.take<int64_t>()); }
  /// Any but the byte at which a text ends on the wire.
  void fill(std::string& to) {
    to = to_string(input_.take_bytes(input_.take<uint8_t>()));
    std::replace(to.begin(), to.end(), '\0', '0');
  }
  void fill(Bytes& to) {
    const ByteSpan bytes = input_.take_bytes(input_.take<uint8_t>());
    if (!bytes.empty())
      to = std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end());
  }
  void fill(std::vector<std::byte>& to) {
    const ByteSpan bytes = input_.take_bytes(input_.take<uint8_t>());
    to.assign(bytes.begin(), bytes.end());
  }
  template <typename Element>
  void fill(std::vector<Element>& to) {
    to.resize(input_.take<uint8_t>() % 16);
    for (Element& element : to)
      fields(*this, element);
  }

  Input& input_;
};

/// Writes all fields one behind the other: equal texts, equal messages.
class FlattenFields {
 public:
  template <typename... Field>
  void operator()(const Field&... field) {
    (add(field), ...);
  }
  const std::string& text() const { return text_; }

 private:
  template <typename Number>
  requires std::is_arithmetic_v<Number> || std::is_enum_v<Number>
  void add(Number value) { text_.append(reinterpret_cast<const char*>(&value), sizeof value); }
  void add(Epoch value) { add(value.value); }
  void add(Address value) { add(value.value); }
  void add(NodeId value) { add(value.value); }
  void add(std::chrono::nanoseconds value) { add(value.count()); }
  void add(const std::string& value) {
    add(value.size());
    text_ += value;
  }
  void add(const Bytes& value) { add(value ? to_string(ByteSpan(*value)) : std::string()); }
  void add(const std::vector<std::byte>& value) { add(to_string(ByteSpan(value))); }
  template <typename Element>
  void add(const std::vector<Element>& value) {
    add(value.size());
    for (Element element : value)
      fields(*this, element);
  }

  std::string text_;
};

/// The kind is chosen by the first byte; what `input` does not say is zero.
template <size_t... kKind>
replication::Message message_from(Input& input, std::index_sequence<kKind...>) {
  const size_t kind = input.take<uint8_t>() % sizeof...(kKind);
  FillFields fill(input);
  replication::Message message;
  const auto make = [&]<size_t kThis>() {
    if (kind == kThis) fields(fill, message.emplace<kThis>());
  };
  (make.template operator()<kKind>(), ...);
  return message;
}
inline replication::Message message_from(Input& input) {
  return message_from(input, std::make_index_sequence<std::variant_size_v<replication::Message>>());
}

inline std::string flat(replication::Message message) {
  FlattenFields to;
  const size_t kind = message.index();
  to(kind);
  std::visit([&](auto& one) { fields(to, one); }, message);
  return to.text();
}

}  // namespace tailrace::fuzz
