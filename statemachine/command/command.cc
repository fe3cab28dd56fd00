#include "statemachine/command/command.h"

#include <algorithm>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "statemachine/command/command_table.h"
#include "statemachine/command/plain_event.h"
#include "statemachine/txn/txn.h"

// The payload of a command record, little-endian, 48 bytes of header and then the bytes themselves:
//
//    0  u8   operation        Operation
//    1  u8   flags            bit 0: a session serial is given; bit 1: expires_at is; bit 2:
//                             begins_before is; others zero
//    2  u16  key_bytes        of the key or the stream's name
//    4  u32  value_bytes
//    8  u32  expected_bytes   cas only, else zero
//   12  u32  reserved         zero
//   16  u64  client_high      zero without a session
//   24  u64  client_low
//   32  u64  serial
//   40  i64  delta            add only, else zero
//   48  u64  expires_at       put, expire and insert, with bit 1 only; else what follows stands
//   here
//   ..  u64  begins_before    serial 1, with bit 2 only; else what follows stands here
//   ..       key, value, expected, one after the other; nothing follows

namespace tailrace::statemachine {

namespace {

struct Header {
  uint8_t operation;
  uint8_t flags;
  uint16_t key_bytes;
  uint32_t value_bytes;
  uint32_t expected_bytes;
  uint32_t reserved;
  uint64_t client_high;
  uint64_t client_low;
  uint64_t serial;
  int64_t delta;
};
static_assert(sizeof(Header) == 48 && std::is_trivially_copyable_v<Header>);

constexpr uint8_t kHasSession = 1;
constexpr uint8_t kHasExpiry = 2;
constexpr uint8_t kHasBound = 4;

/// "only an add has a delta"
std::string only_others_have(CommandFields field) {
  std::vector<std::string_view> titles;
  for (const CommandInfo& info : kCommands)
    if ((info.fields & field) != 0) titles.push_back(info.title);
  std::string text = "only ";
  for (size_t i = 0; i < titles.size(); ++i)
    text.append(i == 0 ? "" : i + 1 == titles.size() ? " and " : ", ").append(titles[i]);
  text += titles.size() == 1 ? " has " : " have ";
  return text + (field == kHasExpected ? "an expected value"
                 : field == kHasDelta  ? "a delta"
                                       : "a time to live");
}

constexpr const char* kLimitOfValues = " (server.max_value_bytes in the nodes' files)";

tl::unexpected<Error> too_long(const char* what, size_t bytes, size_t most,
                               const char* where = "") {
  return make_error(ErrorCode::kInvalidArgument,
                    std::string(what) + " of " + std::to_string(bytes) + " bytes: the limit is " +
                        std::to_string(most) + " bytes" + where);
}

tl::unexpected<Error> damaged(const std::string& what) {
  return make_error(ErrorCode::kCorruption, "no command: " + what);
}

}  // namespace

size_t encoded_bytes(const Command& command) {
  const bool has_bound = command.session && command.session->begins_before_ns != 0;
  return sizeof(Header) + (command.expires_at_ns != 0 ? sizeof command.expires_at_ns : 0) +
         (has_bound ? sizeof command.session->begins_before_ns : 0) + command.key.size() +
         command.value.size() + command.expected.size();
}

void encode(const Command& command, std::vector<std::byte>& into) {
  into.resize(encoded_bytes(command));
  encode_at(command, into.data());
}

void encode_at(const Command& command, std::byte* place) {
  Header header{};
  header.operation = static_cast<uint8_t>(command.operation);
  header.key_bytes = static_cast<uint16_t>(command.key.size());
  header.value_bytes = static_cast<uint32_t>(command.value.size());
  header.expected_bytes = static_cast<uint32_t>(command.expected.size());
  header.delta = command.delta;
  if (command.session) {
    header.flags = kHasSession;
    header.client_high = command.session->client.high;
    header.client_low = command.session->client.low;
    header.serial = command.session->serial;
  }
  if (command.expires_at_ns != 0) header.flags |= kHasExpiry;
  const uint64_t begins_before_ns = command.session ? command.session->begins_before_ns : 0;
  if (begins_before_ns != 0) header.flags |= kHasBound;
  store(place, header);
  place += sizeof header;
  for (const uint64_t time : {command.expires_at_ns, begins_before_ns}) {
    if (time == 0) continue;
    store(place, time);
    place += sizeof time;
  }
  for (const ByteSpan part : {command.key, command.value, command.expected}) {
    if (part.empty()) continue;
    std::memcpy(place, part.data(), part.size());
    place += part.size();
  }
}

Result<Command> decode(ByteSpan payload) {
  if (payload.size() < sizeof(Header)) {
    return damaged(std::to_string(payload.size()) + " bytes are less than its header");
  }
  const auto header = load<Header>(payload.data());
  if (header.operation == 0) return damaged("operation 0");
  if (!is_known(header.operation)) {
    return make_error(ErrorCode::kUnsupported, "command operation " +
                                                   std::to_string(header.operation) +
                                                   " is of a newer version; upgrade this node");
  }
  if ((header.flags & ~(kHasSession | kHasExpiry | kHasBound)) != 0) {
    return make_error(ErrorCode::kUnsupported, "command flags " + std::to_string(header.flags) +
                                                   " are of a newer version; upgrade this node");
  }
  const bool has_expiry = (header.flags & kHasExpiry) != 0;
  const uint64_t expiry_bytes = has_expiry ? sizeof(uint64_t) : 0;
  const bool has_bound = (header.flags & kHasBound) != 0;
  const uint64_t bound_bytes = has_bound ? sizeof(uint64_t) : 0;
  const uint64_t bytes = sizeof(Header) + expiry_bytes + bound_bytes + header.key_bytes +
                         header.value_bytes + header.expected_bytes;
  if (bytes != payload.size()) {
    return damaged("its parts take " + std::to_string(bytes) + " bytes, the record has " +
                   std::to_string(payload.size()));
  }
  Command command;
  command.operation = static_cast<Operation>(header.operation);
  const bool has_session = (header.flags & kHasSession) != 0;
  if (header.reserved != 0) return damaged("a reserved field is not zero");
  if (!has_session && (header.client_high | header.client_low | header.serial) != 0) {
    return damaged("a session is given but not flagged");
  }
  if (has_session && header.serial == 0) return damaged("serials start at 1");
  for (const auto& [given, field] :
       {std::pair{header.expected_bytes != 0, kHasExpected},
        std::pair{header.delta != 0, kHasDelta}, std::pair{has_expiry, kHasTime}})
    if (given && !has(command.operation, field)) return damaged(only_others_have(field));
  if (command.operation == Operation::kTxn && header.key_bytes != 0)
    return damaged("a transaction with a key");
  if (has_bound && (!has_session || header.serial != 1))
    return damaged("only serial 1 of a session has a bound");
  if (has_session) {
    command.session = SessionSerial{{header.client_high, header.client_low}, header.serial};
  }
  ByteSpan rest = payload.subspan(sizeof(Header));
  if (has_expiry) {
    command.expires_at_ns = load<uint64_t>(rest.data());
    if (command.expires_at_ns == 0) return damaged("a time is flagged but not given");
    rest = rest.subspan(sizeof(uint64_t));
  }
  if (has_bound) {
    command.session->begins_before_ns = load<uint64_t>(rest.data());
    if (command.session->begins_before_ns == 0) return damaged("a bound is flagged but not given");
    rest = rest.subspan(sizeof(uint64_t));
  }
  command.key = rest.first(header.key_bytes);
  rest = rest.subspan(header.key_bytes);
  command.value = rest.first(header.value_bytes);
  command.expected = rest.subspan(header.value_bytes);
  command.delta = header.delta;
  return command;
}

bool is_plain_event(ByteSpan payload) {
  if (payload.size() < sizeof(Header)) return false;
  const auto header = load<Header>(payload.data());
  const uint64_t bytes = sizeof(Header) + header.key_bytes + uint64_t{header.value_bytes};
  return header.operation == static_cast<uint8_t>(Operation::kEvent) && header.flags == 0 &&
         bytes == payload.size() && header.expected_bytes == 0 && header.reserved == 0 &&
         (header.client_high | header.client_low | header.serial) == 0 && header.delta == 0;
}

Result<> validate_key(ByteSpan key) {
  if (key.empty()) {
    return make_error(ErrorCode::kInvalidArgument, "the key is empty; a key has at least one byte");
  }
  if (key.size() > kMaxKeyBytes) return too_long("a key", key.size(), kMaxKeyBytes);
  return {};
}

namespace {

/// The length is the body's own.
Result<> validate_txn(const Command& command, size_t max_value_bytes) {
  if (!command.key.empty())
    return make_error(ErrorCode::kInvalidArgument,
                      "a transaction has no key of its own; its body names keys");
  thread_local Txn txn;  // keeps its room
  TAILRACE_RETURN_IF_ERROR(decode(command.value, txn));
  return validate(txn, {kMaxTxnBytes, max_value_bytes});
}

}  // namespace

Result<> validate(const Command& command, size_t max_value_bytes) {
  if (has(command.operation, kHasKey)) TAILRACE_RETURN_IF_ERROR(validate_key(command.key));
  if (command.key.size() > kMaxKeyBytes) {
    return too_long("a stream's name", command.key.size(), kMaxKeyBytes);
  }
  const size_t most = std::min<size_t>(max_value_bytes, std::numeric_limits<uint32_t>::max() - 64);
  if (command.operation == Operation::kTxn) {
    TAILRACE_RETURN_IF_ERROR(validate_txn(command, max_value_bytes));
  } else if (command.value.size() > most) {
    return too_long("a value", command.value.size(), most, kLimitOfValues);
  }
  if (command.expected.size() > most) {
    return too_long("an expected value", command.expected.size(), most, kLimitOfValues);
  }
  if (command.session && command.session->serial == 0) {
    return make_error(ErrorCode::kInvalidArgument, "session serials start at 1");
  }
  if (command.session && command.session->begins_before_ns != 0 && command.session->serial != 1) {
    return make_error(ErrorCode::kInvalidArgument, "only serial 1 of a session has a bound");
  }
  // decode() takes these for damage: once in the log, such a command would stop every node.
  for (const auto& [given, field] :
       {std::pair{!command.expected.empty(), kHasExpected},
        std::pair{command.delta != 0, kHasDelta}, std::pair{command.expires_at_ns != 0, kHasTime}})
    if (given && !has(command.operation, field))
      return make_error(ErrorCode::kInvalidArgument, only_others_have(field));
  return {};
}

}  // namespace tailrace::statemachine
