// What one node says to another, each kind of message on purpose.
#include <capnp/message.h>
#include <capnp/serialize.h>
#include <kj/exception.h>

#include "core/check.h"
#include "rpc/peer/codec.h"
#include "rpc/wire/framing.h"
#include "rpc/wire/message.h"
#include "tests/fuzz/peer_fields.h"
#include "tests/fuzz/targets.h"
#include "tests/replication/driven_core.h"

namespace tailrace::fuzz {
namespace {

using replication::Driven;
using replication::Message;

std::vector<std::byte> encoded(const Message& message) {
  capnp::MallocMessageBuilder builder;
  rpc::encode_peer(message, builder.initRoot<rpc::wire::PeerFrame>());
  std::vector<std::byte> frame;
  rpc::append_frame(builder, frame);
  return frame;
}

/// As PeerConnection does; nothing when the connection would be closed.
std::optional<Message> decoded(ByteSpan frame) {
  std::vector<uint64_t> aligned((frame.size() + 7) / 8);
  std::memcpy(aligned.data(), frame.data(), frame.size());
  const ByteSpan bytes(reinterpret_cast<const std::byte*>(aligned.data()), frame.size());
  try {
    capnp::FlatArrayMessageReader reader(rpc::to_words(bytes), rpc::reader_options(bytes.size()));
    auto message = rpc::decode_peer(reader.getRoot<rpc::wire::PeerFrame>());
    if (message) return std::move(*message);
  } catch (const kj::Exception&) {
  }
  return std::nullopt;
}

}  // namespace

void peer_message(ByteSpan input) {
  Input from(input);
  const Message message = message_from(from);
  std::vector<std::byte> frame = encoded(message);
  const auto back = decoded(frame);
  TAILRACE_CHECK(back && flat(*back) == flat(message), "a message is not what was sent");
  // The rest of the input damages it: u16 where, u8 xor.
  while (!from.empty()) {
    const size_t at = from.take<uint16_t>() % frame.size();
    frame[at] ^= from.take<std::byte>();
  }
  const auto damaged = decoded(frame);
  if (!damaged) return;
  // A text may hold a zero byte then, at which it ends when it is sent on.
  const auto again = decoded(encoded(*damaged));
  TAILRACE_CHECK(again && again->index() == damaged->index(),
                 "a decoded message is not decoded again");
}

// Input: u8 role, then messages, each from a member (u8): a node answers any of them, at any time,
// without a broken check. What it answers may be that the other side is wrong.
void peer_protocol(ByteSpan input) {
  Input from(input);
  replication::Given given = replication::with_log();
  given.check_invariants = false;  // they hold among nodes that do not lie
  const auto role = from.take<uint8_t>() % 4;
  Driven node(role == 3 ? replication::kLearner : replication::kOne, given);
  if (role == 1) {
    node.lead(Epoch{2});
    node.caught_up(replication::kTwo);
  } else if (role == 2) {
    node.seek(Epoch{2});
  } else {
    node.follow(replication::kTwo, Epoch{2});
  }
  for (int i = 0; i < 64 && !from.empty(); ++i) {
    const NodeId sender{from.take<uint8_t>() % 4u + 1};
    if (sender == node.core().options().self) {
      // Meanwhile its own disk and clock have gone on.
      node.settle();
      if (node.state().promise != node.state().persisted) node.persist();
      node.log_moved();
      node.pass(std::chrono::milliseconds(from.take<uint8_t>() * 20));
      continue;
    }
    const auto message = decoded(encoded(message_from(from)));
    TAILRACE_CHECK(message.has_value(), "a message is not decoded");
    node.receive(sender, *message);
  }
}

}  // namespace tailrace::fuzz
