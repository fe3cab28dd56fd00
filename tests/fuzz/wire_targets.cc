// What comes over the network, and what a record holds for the state machine.
#include <capnp/message.h>
#include <capnp/serialize.h>
#include <kj/exception.h>
#include <kj/string.h>

#include "core/check.h"
#include "rpc/etcd/messages.h"
#include "rpc/peer/codec.h"
#include "rpc/wire/framing.h"
#include "rpc/wire/message.h"
#include "rpc/wire/schema/client.capnp.h"
#include "statemachine/command/command.h"
#include "statemachine/cost.h"
#include "statemachine/types/rules.h"
#include "tests/fuzz/log_bytes.h"
#include "tests/fuzz/targets.h"

namespace tailrace::fuzz {

namespace {

void read_frame(ByteSpan frame) {
  try {
    capnp::FlatArrayMessageReader message(rpc::to_words(frame), rpc::reader_options(frame.size()));
    (void)kj::str(message.getRoot<rpc::wire::Request>()).size();  // reads every field
  } catch (const kj::Exception&) {
  }
  try {
    capnp::FlatArrayMessageReader message(rpc::to_words(frame), rpc::reader_options(frame.size()));
    const auto decoded = rpc::decode_peer(message.getRoot<rpc::wire::PeerFrame>());
    if (!decoded) return;
    capnp::MallocMessageBuilder builder;
    rpc::encode_peer(*decoded, builder.initRoot<rpc::wire::PeerFrame>());
    TAILRACE_CHECK(rpc::decode_peer(builder.getRoot<rpc::wire::PeerFrame>().asReader()),
                   "a decoded message is not decoded again");
  } catch (const kj::Exception&) {
  }
}

}  // namespace

void framing(ByteSpan input) {
  Input from(input);
  const size_t piece = size_t{from.take<uint8_t>()} + 1;
  rpc::FrameDecoder decoder(1 << 20);
  size_t fed = 0;
  while (!from.empty()) {
    const ByteSpan bytes = from.take_bytes(std::min(piece, decoder.room().size()));
    std::memcpy(decoder.room().data(), bytes.data(), bytes.size());
    decoder.filled(bytes.size());
    fed += bytes.size();
    TAILRACE_CHECK(decoder.capacity() <= 2 * fed + (128u << 10),
                   "memory for bytes that never came");
    for (;;) {
      auto frame = decoder.peek();
      if (!frame) return;
      if (!*frame) break;
      read_frame(**frame);
      decoder.consume();
    }
  }
}

void command(ByteSpan input) {
  const auto command = statemachine::decode(input);
  if (!command) return;
  (void)statemachine::validate(*command, input.size());
  (void)statemachine::cost_of(*command, input.size(), input.size());
  if (command->operation != statemachine::Operation::kRules) return;
  const auto rules = statemachine::decode_rules(command->value);
  if (!rules) return;
  std::vector<std::byte> again;
  statemachine::encode(*rules, again);
  TAILRACE_CHECK(as_text(again) == as_text(command->value), "rules lose bytes");
}

void etcd(ByteSpan input) {
  const std::string text(reinterpret_cast<const char*>(input.data()), input.size());
  (void)rpc::decode_range(text);
  (void)rpc::decode_put(text);
  (void)rpc::decode_transaction(text);
  (void)rpc::decode_lease_grant(text);
  (void)rpc::decode_keep_alive(text);
  (void)rpc::decode_time_to_live(text);
  (void)rpc::decode_watch(text);
  (void)rpc::decode_token(text);
  (void)rpc::decode_error(text);
  if (const auto bytes = rpc::decode_base64(text))
    TAILRACE_CHECK(rpc::decode_base64(rpc::encode_base64(*bytes)) == bytes, "base64 loses bytes");
}

}  // namespace tailrace::fuzz
