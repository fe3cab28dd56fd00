// Bytes of the log on their way between two nodes: neither the frame nor the transport has a
// checksum for them, so the log that takes them must find what has changed.

#include <algorithm>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include "rpc/peer/codec.h"
#include "rpc/wire/framing.h"
#include "rpc/wire/message.h"
#include "tests/fasterlog/log_fixture.h"

namespace tailrace::rpc {
namespace {

class PeerFrame : public fasterlog::LogFixture {
 protected:
  static std::vector<std::byte> frame_of(Address from, std::vector<std::byte> bytes) {
    const auto lent = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
    OutgoingMessage message;
    const replication::Message data = replication::Data{Epoch{1}, from, lent, {}, {}, 0};
    (void)encode_peer(data, message.init<wire::PeerFrame>());
    std::vector<std::byte> frame;
    append_frame(message.builder(), frame);
    return frame;
  }
  /// What a follower does with the frame.
  static Result<> take(fasterlog::Log& copy, const std::vector<std::byte>& frame) {
    capnp::FlatArrayMessageReader message(to_words(ByteSpan(frame)), reader_options(frame.size()));
    TAILRACE_ASSIGN_OR_RETURN(const auto decoded, decode_peer(message.getRoot<wire::PeerFrame>()));
    const auto& data = std::get<replication::Data>(decoded);
    return copy.try_append_raw(data.from, ByteSpan(*data.bytes));
  }
};

// Promise: a byte of the log that has changed on the wire is refused, whichever it is, and nothing
// of its frame is taken; the same frame without the fault is.
TEST_F(PeerFrame, AFlippedByteOfTheLogIsRefusedWhereverItIs) {
  auto log = open_writer(options());
  for (int i = 0; i < 12; ++i)  // lengths that leave bytes to align
    append(*log, std::to_string(i) + std::string(static_cast<size_t>(40 + 3 * i), 'w'));
  std::vector<std::byte> bytes;
  ASSERT_TRUE(log->read_raw(log->begin(), SIZE_MAX, bytes));
  std::vector<std::byte> frame = frame_of(log->begin(), bytes);
  const auto found = std::search(frame.begin(), frame.end(), bytes.begin(), bytes.end());
  ASSERT_NE(found, frame.end());
  const auto first = static_cast<size_t>(found - frame.begin());

  auto copy = open(options("copy"));
  ASSERT_TRUE(copy->become_copy());
  for (size_t i = 0; i < bytes.size(); ++i) {
    const std::byte bit{static_cast<uint8_t>(1u << (i % 8))};
    frame[first + i] ^= bit;
    const auto refused = take(*copy, frame);
    ASSERT_FALSE(refused) << "byte " << i;
    EXPECT_EQ(refused.error().code, ErrorCode::kCorruption) << refused.error().message;
    EXPECT_EQ(copy->tail(), copy->begin());
    frame[first + i] ^= bit;
  }
  const auto taken = take(*copy, frame);
  ASSERT_TRUE(taken) << taken.error().message;
  ASSERT_TRUE(copy->wait_durable(copy->tail()));
  EXPECT_EQ(payloads(*copy), payloads(*log));
}

}  // namespace
}  // namespace tailrace::rpc
