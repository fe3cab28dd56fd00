#include "rpc/wire/framing.h"

#include <algorithm>
#include <deque>

#include <capnp/message.h>
#include <gtest/gtest.h>

#include "core/random.h"
#include "rpc/peer/codec.h"
#include "rpc/wire/message.h"
#include "rpc/wire/outgoing_frames.h"

namespace tailrace::rpc {
namespace {

std::vector<std::byte> frame_of(const replication::Message& message) {
  capnp::MallocMessageBuilder builder;
  encode_peer(message, builder.initRoot<wire::PeerFrame>());
  std::vector<std::byte> frame;
  append_frame(builder, frame);
  return frame;
}

void feed(FrameDecoder& decoder, ByteSpan bytes) {
  while (!bytes.empty()) {
    const MutableByteSpan room = decoder.room();
    const size_t some = std::min(room.size(), bytes.size());
    std::memcpy(room.data(), bytes.data(), some);
    decoder.filled(some);
    bytes = bytes.subspan(some);
  }
}

replication::Data data_of(size_t bytes, uint64_t seed) {
  std::vector<std::byte> content(bytes);
  Random(seed).fill(content);
  replication::Data data{Epoch{3}, Address{64}, nullptr, Address{50}, Address{70}, 99};
  data.bytes = std::make_shared<const std::vector<std::byte>>(std::move(content));
  return data;
}

// A frame cut anywhere is no frame yet, and becomes the same frame when the rest comes.
TEST(Framing, AFrameCutAtEveryByteIsWaitedFor) {
  const auto frame = frame_of(data_of(300, 1));
  for (size_t cut = 0; cut < frame.size(); ++cut) {
    FrameDecoder decoder(1 << 20);
    feed(decoder, ByteSpan(frame).first(cut));
    auto peeked = decoder.peek();
    ASSERT_TRUE(peeked);
    EXPECT_FALSE(*peeked) << cut;
    feed(decoder, ByteSpan(frame).subspan(cut));
    peeked = decoder.peek();
    ASSERT_TRUE(peeked && *peeked) << cut;
    EXPECT_TRUE(std::equal(frame.begin(), frame.end(), (*peeked)->begin(), (*peeked)->end()));
  }
}

// Many frames of many sizes, in pieces of any size, come out as they went in.
TEST(Framing, FramesComeOutInOrderWhateverThePieces) {
  const uint64_t seed = random_seed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  std::vector<std::byte> stream;
  std::vector<std::vector<std::byte>> frames;
  for (int i = 0; i < 200; ++i) {
    frames.push_back(frame_of(data_of(random.below(i % 20 == 0 ? 300000 : 500), random.next())));
    stream.insert(stream.end(), frames.back().begin(), frames.back().end());
  }
  FrameDecoder decoder(1 << 20);
  size_t at = 0, next = 0;
  while (at < stream.size()) {
    const size_t piece = std::min<size_t>(stream.size() - at, random.between(1, 20000));
    feed(decoder, ByteSpan(stream).subspan(at, piece));
    at += piece;
    for (auto peeked = decoder.peek(); *peeked; peeked = decoder.peek()) {
      ASSERT_LT(next, frames.size());
      EXPECT_EQ(reinterpret_cast<uintptr_t>((*peeked)->data()) % 8, 0u);
      ASSERT_TRUE(std::equal(frames[next].begin(), frames[next].end(), (*peeked)->begin(),
                             (*peeked)->end()));
      decoder.consume();
      ++next;
    }
  }
  EXPECT_EQ(next, frames.size());
}

// What a segment table announces is refused, or not allocated before its bytes have come.
TEST(Framing, ALyingSizeNeverAllocates) {
  std::vector<std::byte> table(8);
  for (const uint32_t words : {0xffffffffu, 0x7fffffffu, 0x200001u}) {
    FrameDecoder decoder(16u << 20);
    store(table.data(), uint32_t{0});
    store(table.data() + 4, words);
    feed(decoder, table);
    EXPECT_FALSE(decoder.peek());
    EXPECT_LE(decoder.capacity(), 64u << 10);
  }
  for (const uint32_t segments : {16u, 0xffffffffu, 0x7fffffffu}) {
    FrameDecoder decoder(16u << 20);
    store(table.data(), segments);
    feed(decoder, table);
    EXPECT_FALSE(decoder.peek());
  }
  FrameDecoder decoder(16u << 20);
  store(table.data(), uint32_t{0});
  store(table.data() + 4, uint32_t{0x100000});  // 8 MiB: allowed, and not there
  feed(decoder, table);
  ASSERT_TRUE(decoder.peek());
  EXPECT_FALSE(*decoder.peek());
  decoder.room();
  EXPECT_LE(decoder.capacity(), 64u << 10);
}

// Random bytes give an error, a wait, or a frame whose reading throws or ends; never a crash.
TEST(Framing, RandomBytesNeverCrash) {
  const uint64_t seed = random_seed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  for (int round = 0; round < 3000; ++round) {
    auto frame = frame_of(data_of(random.below(200), random.next()));
    for (uint64_t flips = random.below(8); flips > 0; --flips)
      frame[random.below(frame.size())] ^= static_cast<std::byte>(random.next());
    if (random.chance(1, 4)) random.fill(frame);
    FrameDecoder decoder(1 << 16);
    feed(decoder, frame);
    const auto peeked = decoder.peek();
    if (!peeked || !*peeked) continue;
    try {
      capnp::FlatArrayMessageReader reader(to_words(**peeked), reader_options((*peeked)->size()));
      (void)decode_peer(reader.getRoot<wire::PeerFrame>());
    } catch (const kj::Exception&) {
    }
  }
}

// What somebody keeps of a frame stays as it is, whatever comes next; what nobody keeps is read
// over.
TEST(Framing, AFrameThatIsKeptIsNotWrittenOver) {
  const uint64_t seed = random_seed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  FrameDecoder decoder(4u << 20);
  struct Kept {
    std::vector<std::byte> frame;
    ByteSpan place;
    std::shared_ptr<const void> memory;
  };
  std::deque<Kept> kept;
  for (int i = 0; i < 300; ++i) {
    const auto frame = frame_of(data_of(random.below(i % 7 == 0 ? 300'000 : 9'000), random.next()));
    const size_t cut = random.below(frame.size());
    feed(decoder, ByteSpan(frame).first(cut));
    ASSERT_TRUE(decoder.peek());
    feed(decoder, ByteSpan(frame).subspan(cut));
    const auto peeked = decoder.peek();
    ASSERT_TRUE(peeked && *peeked);
    if (random.chance(1, 2)) kept.push_back({frame, **peeked, decoder.memory()});
    decoder.consume();
    for (const Kept& one : kept)
      ASSERT_TRUE(std::ranges::equal(one.frame, one.place)) << i;
    if (kept.size() > 4) kept.pop_front();
  }
  kept.clear();
  decoder.give_back();
  EXPECT_EQ(decoder.capacity(), 0u);
  feed(decoder, frame_of(data_of(100, 1)));
  EXPECT_TRUE(decoder.peek().value());
}

// One large frame after the other: the buffer holds one and little more, stays the same, and hardly
// a byte of the next frame is read before its turn, when it would have to be moved.
TEST(Framing, LargeFramesAreReadToTheirEndAndHardlyFurther) {
  std::vector<std::vector<std::byte>> frames{frame_of(data_of(1'900'000, 2))};
  std::vector<std::byte> stream = frames[0];
  for (int i = 0; i < 6; ++i) {
    frames.push_back(frame_of(data_of(1'048'648, 3)));
    stream.insert(stream.end(), frames.back().begin(), frames.back().end());
  }
  FrameDecoder decoder(4u << 20);
  size_t at = 0, taken = 0, taken_bytes = 0, ahead = 0;
  const void* memory = nullptr;
  while (taken < frames.size()) {
    const MutableByteSpan room = decoder.room();
    const size_t some = std::min(room.size(), stream.size() - at);
    std::memcpy(room.data(), stream.data() + at, some);
    decoder.filled(some);
    at += some;
    for (auto peeked = decoder.peek(); *peeked; peeked = decoder.peek()) {
      EXPECT_TRUE(std::ranges::equal(frames[taken], **peeked));
      decoder.consume();
      taken_bytes += frames[taken++].size();
      ahead = std::max(ahead, at - taken_bytes);
      if (taken == 1) memory = decoder.memory().get();
      EXPECT_EQ(decoder.memory().get(), memory) << taken;
    }
  }
  EXPECT_LE(ahead, 64u << 10);
  EXPECT_LE(decoder.capacity(), frames[0].size() + (64u << 10));
}

// What is gathered is the same stream whether or not bytes are copied; large ones are not, and are
// let go of once they are written.
TEST(OutgoingFrames, LargeBytesAreSentFromWhereTheyAre) {
  std::vector<std::byte> copied, gathered;
  OutgoingFrames frames;
  std::vector<std::weak_ptr<const void>> sent;
  std::vector<const std::byte*> places;
  for (const size_t bytes : {0u, 100u, 16'384u, 16'385u, 20u, 1'000'000u, 1'048'576u, 16'376u}) {
    const auto data = data_of(bytes, bytes + 1);
    capnp::MallocMessageBuilder message;
    auto lent = encode_peer(data, message.initRoot<wire::PeerFrame>());
    EXPECT_EQ(lent != nullptr, bytes >= 16'384 && bytes % 8 == 0) << bytes;
    if (lent) {
      sent.push_back(lent.owner());
      places.push_back(lent->data());
    }
    append_frame(message, copied);
    frames.append(message, std::move(lent));
  }
  EXPECT_EQ(frames.bytes(), copied.size());
  std::array<iovec, 64> room;
  const auto pieces = std::span(room).first(frames.pieces_from(0, room));
  size_t found = 0;
  for (const iovec& piece : pieces) {
    const auto* bytes = static_cast<const std::byte*>(piece.iov_base);
    found += std::count(places.begin(), places.end(), bytes);
    gathered.insert(gathered.end(), bytes, bytes + piece.iov_len);
  }
  EXPECT_EQ(found, 3u);
  EXPECT_TRUE(gathered == copied);
  // Wherever the system has stopped, and however few pieces it takes at a time, the rest follows.
  for (const size_t most : {1u, 2u, 64u})
    for (size_t from = 0; from < copied.size();) {
      const size_t count = frames.pieces_from(from, std::span(room).first(most));
      ASSERT_GT(count, 0u) << from;
      size_t at = from;
      for (const iovec& piece : std::span(room).first(count)) {
        ASSERT_TRUE(std::memcmp(copied.data() + at, piece.iov_base, piece.iov_len) == 0) << at;
        at += piece.iov_len;
      }
      from += std::min<size_t>(at - from, 777'777);  // taken in part
    }
  EXPECT_EQ(frames.pieces_from(copied.size(), room), 0u);
  for (const auto& bytes : sent)
    EXPECT_FALSE(bytes.expired());
  frames.clear();
  EXPECT_TRUE(frames.empty());
  for (const auto& bytes : sent)
    EXPECT_TRUE(bytes.expired());
}

replication::Message round_trip(const replication::Message& message) {
  const auto frame = frame_of(message);
  // Words must be aligned.
  std::vector<uint64_t> words(frame.size() / 8);
  std::memcpy(words.data(), frame.data(), frame.size());
  capnp::FlatArrayMessageReader reader(
      to_words({reinterpret_cast<const std::byte*>(words.data()), frame.size()}),
      reader_options(frame.size()));
  return decode_peer(reader.getRoot<wire::PeerFrame>()).value();
}

TEST(PeerCodec, EveryMessageComesBackAsItWas) {
  const auto subscribe = std::get<replication::Subscribe>(round_trip(
      replication::Subscribe{Epoch{1}, Epoch{2}, Address{3}, Address{4}, 5, Vote::kProvisional}));
  EXPECT_EQ(subscribe.promised, Epoch{1});
  EXPECT_EQ(subscribe.last_epoch, Epoch{2});
  EXPECT_EQ(subscribe.begin, Address{3});
  EXPECT_EQ(subscribe.durable, Address{4});
  EXPECT_EQ(subscribe.incarnation, 5u);
  EXPECT_EQ(subscribe.vote, Vote::kProvisional);
  const auto accept = std::get<replication::Accept>(
      round_trip(replication::Accept{Epoch{1}, Address{2}, Address{3}}));
  EXPECT_EQ(accept.epoch, Epoch{1});
  EXPECT_EQ(accept.start, Address{2});
  EXPECT_EQ(accept.committed, Address{3});
  const auto refuse = std::get<replication::Refuse>(round_trip(replication::Refuse{
      replication::RefusalReason::kLogDiverges, Epoch{8}, NodeId{3}, "because"}));
  EXPECT_EQ(refuse.reason, replication::RefusalReason::kLogDiverges);
  EXPECT_EQ(refuse.epoch, Epoch{8});
  EXPECT_EQ(refuse.leader, NodeId{3});
  EXPECT_EQ(refuse.message, "because");
  const auto acknowledge = std::get<replication::Acknowledge>(
      round_trip(replication::Acknowledge{Epoch{1}, Address{2}, Address{3}, 4,
                                          std::chrono::nanoseconds(5), Vote::kFull, 6, NodeId{7}}));
  EXPECT_EQ(acknowledge.epoch, Epoch{1});
  EXPECT_EQ(acknowledge.durable, Address{2});
  EXPECT_EQ(acknowledge.applied, Address{3});
  EXPECT_EQ(acknowledge.round, 4u);
  EXPECT_EQ(acknowledge.sent, std::chrono::nanoseconds(5));
  EXPECT_EQ(acknowledge.vote, Vote::kFull);
  EXPECT_EQ(acknowledge.incarnation, 6u);
  EXPECT_EQ(acknowledge.relayed_by, NodeId{7});
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{4096}, size_t{1} << 20}) {
    const auto sent = data_of(bytes, 7);
    const auto data = std::get<replication::Data>(round_trip(sent));
    EXPECT_EQ(data.epoch, sent.epoch);
    EXPECT_EQ(data.from, sent.from);
    EXPECT_EQ(data.committed, sent.committed);
    EXPECT_EQ(data.leader_durable, sent.leader_durable);
    EXPECT_EQ(data.leader_unix_time_ns, sent.leader_unix_time_ns);
    if (bytes == 0)
      EXPECT_EQ(data.bytes, nullptr);  // a heartbeat
    else
      EXPECT_TRUE(std::ranges::equal(*data.bytes, *sent.bytes));
  }
}

}  // namespace
}  // namespace tailrace::rpc
