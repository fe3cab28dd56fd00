// The bytes of streams in the store. golden/streams.txt has every pair that a few calls leave; a
// program that leaves others diverges from those that are there.
//
//   TAILRACE_REWRITE=1 build/release/tests/statemachine_test --gtest_filter='StreamFormat.*'

#include <cstdlib>
#include <fstream>
#include <sstream>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "storage/crc32c.h"
#include "tests/statemachine/streams/streams_support.h"

namespace tailrace::statemachine {
namespace {

/// Letters as they are in keys; else in hexadecimal, where more than 16 zeros are counted.
std::string hex_of(std::string_view bytes) {
  std::string text;
  for (size_t at = 0; at < bytes.size();) {
    const size_t end = std::min(bytes.size(), bytes.find_first_not_of('\0', at));
    if (end - at > 16) {
      text += fmt::format("[{} zeros]", end - at);
      at = end;
      continue;
    }
    text += fmt::format("{:02x}", static_cast<uint8_t>(bytes[at++]));
  }
  return text;
}
/// Of a long one the beginning, and the checksum of all of it.
std::string value_text(std::string_view value) {
  constexpr size_t kShown = 160;
  if (value.size() <= kShown) return hex_of(value);
  return hex_of(value.substr(0, kShown)) +
         fmt::format("... {} bytes, crc {:08x}", value.size(), crc32c(as_bytes(value)));
}
std::string key_text(std::string_view key) {
  if (key[0] == kHeadKey || key[0] == 'm') return std::string(key);
  return std::string(1, key[0]) + " " + hex_of(key.substr(1));
}

class StreamsPage {
 public:
  void append(std::string_view stream, const std::vector<EventId>& ids, size_t events,
              uint64_t time_ns) {
    const auto places = places_in(0x0123'4567'0000 + 64 * ++serial_, events);
    ASSERT_TRUE(node_.index().append({stream, kExpectAny, ids, places, time_ns}, serial_));
    note(fmt::format("append {} to {} at {}", events, stream, time_ns));
  }
  void set_policy(std::string_view stream, const PolicyChange& change) {
    ASSERT_TRUE(node_.index().set_policy(stream, change, ++serial_));
    note(fmt::format("policy of {}", stream));
  }
  void remove(std::string_view stream) {
    ASSERT_TRUE(node_.index().remove(stream, ++serial_));
    note(fmt::format("delete {}", stream));
  }
  void tombstone(std::string_view stream) {
    ASSERT_TRUE(node_.index().tombstone(stream, ++serial_));
    note(fmt::format("tombstone {}", stream));
  }
  const std::string& text() const { return text_; }

 private:
  /// What has changed.
  void note(const std::string& call) {
    node_.done(serial_);
    text_ += "\n# " + call + "\n";
    const kv::Model pairs = node_.pairs();
    for (const auto& [key, value] : before_)
      if (!pairs.contains(key)) text_ += key_text(key) + ": removed\n";
    for (const auto& [key, value] : pairs)
      if (const auto was = before_.find(key); was == before_.end() || was->second != value)
        text_ += key_text(key) + ": " + value_text(value) + "\n";
    before_ = pairs;
  }

  StreamsNode node_{1};
  kv::Serial serial_ = 0;
  kv::Model before_;
  std::string text_ = "Streams stand in the store so, format 1.\n";
};

std::string written_page() {
  StreamsPage page;
  const std::vector<EventId> one = {{0x1112131415161718, 0x191a1b1c1d1e1f20}};
  page.append("a", {}, 1, 1000);
  page.append("a", {}, 2, 900);
  page.append("b-1", one, 1, 2000);
  page.append("b-1", {}, 70, 3000);
  page.append("b-1", {stream_event_id(1), EventId{}, stream_event_id(2)}, 3, 3000);
  PolicyChange change;
  change.max_count = 4;
  change.max_age_ns = 5000;
  change.dedupe = 2;
  page.set_policy("b-1", change);
  page.remove("a");
  page.append("a", {}, 1, 4000);
  page.append("large", {}, 1500, 5000);
  page.tombstone("large");
  page.append("a", {}, 1, 6000);
  page.tombstone("b-1");
  page.tombstone("never");
  return page.text();
}

// Promise: the same calls leave the same pairs, whichever program makes them.
TEST(StreamFormat, IsWhatTheGoldenPageSays) {
  const std::string path = std::string(TAILRACE_HISTORY) + "/streams.txt";
  const std::string now = written_page();
  if (std::getenv("TAILRACE_REWRITE") != nullptr) {
    std::ofstream(path) << now;
    return;
  }
  std::ifstream file(path);
  std::stringstream before;
  before << file.rdbuf();
  EXPECT_EQ(before.str(), now) << path;
}

StreamHead any_head() {
  StreamHead head;
  head.dense_id = 7;
  head.next = 5;
  head.first = 1;
  head.last_place = {72, 1};
  head.last_time_ns = 9;
  head.policy.max_count = 4;
  head.inline_count = 2;
  head.inlined = {EventPlace{64, 0}, EventPlace{72, 1}};
  return head;
}

// Promise: what no version would have written is refused, and a newer format as such.
TEST(StreamFormat, RefusesDamagedHeads) {
  std::string good;
  encode_head(any_head(), good);
  const auto code = [](const std::string& bytes) {
    const auto head = decode_head(as_bytes(bytes));
    return head ? std::nullopt : std::optional(head.error().code);
  };
  ASSERT_EQ(code(good), std::nullopt);
  for (size_t length = 0; length < good.size(); ++length)
    EXPECT_EQ(code(good.substr(0, length)), ErrorCode::kCorruption) << length;
  EXPECT_EQ(code(good + '\0'), ErrorCode::kCorruption);
  const auto with = [&](size_t at, uint8_t byte) {
    std::string bytes = good;
    bytes[at] = static_cast<char>(byte);
    return code(bytes);
  };
  EXPECT_EQ(with(0, 2), ErrorCode::kUnsupported);
  EXPECT_EQ(with(0, 0), ErrorCode::kCorruption);
  EXPECT_EQ(with(1, 16), ErrorCode::kCorruption);  // an unknown flag
  EXPECT_EQ(with(1, 0), ErrorCode::kCorruption);   // a policy that no flag announces
  EXPECT_EQ(with(2, 4), ErrorCode::kCorruption);   // another room than its events need
  EXPECT_EQ(with(3, 9), ErrorCode::kCorruption);   // more events than there is room for
  EXPECT_EQ(with(5, 2), ErrorCode::kCorruption);   // more ids than may be
  EXPECT_EQ(with(8, 0), ErrorCode::kCorruption);   // no dense id
  EXPECT_EQ(with(24, 6), ErrorCode::kCorruption);  // first behind next
  EXPECT_EQ(with(48, 0), ErrorCode::kCorruption);  // a policy that says nothing
}

TEST(StreamFormat, RefusesDamagedRecords) {
  EXPECT_FALSE(decode_numbers({}));
  EXPECT_FALSE(decode_numbers(as_bytes(std::string(24, '\0'))));
  EXPECT_EQ(*decode_numbers(as_bytes(encode_numbers({3, 1, 2}))), (StreamNumbers{3, 1, 2}));
  EXPECT_FALSE(decode_numbers(as_bytes(encode_numbers({3, 2, 1}))));
  EXPECT_EQ(*decode_dropped(as_bytes(encode_dropped({3, 1, 2}))), (DroppedPages{3, 1, 2}));
  EXPECT_FALSE(decode_dropped(as_bytes(encode_dropped({3, 2, 2}))));
  EXPECT_FALSE(decode_dropped({}));
  EXPECT_FALSE(check_page(as_bytes(std::string(kPageBytes - 1, '\0'))));
  std::string ring;
  remember_ids(ring, std::vector<EventId>{stream_event_id(1)}, 0, 64);
  ASSERT_TRUE(check_ring(as_bytes(ring)));
  EXPECT_FALSE(check_ring({}));
  EXPECT_FALSE(check_ring(as_bytes(ring).first(ring.size() - 1)));
  for (const size_t at : {0, 2, 4, 6}) {
    std::string damaged = ring;
    damaged[at] = static_cast<char>(at == 0 ? 0 : 100);
    EXPECT_FALSE(check_ring(as_bytes(damaged))) << at;
  }
}

// Promise: lists of pages and pages sort by their numbers.
TEST(StreamFormat, KeysSortByTheirNumbers) {
  std::string low, high;
  page_key(0xff, 0xff, low);
  page_key(0x100, 0, high);
  EXPECT_LT(low, high);
  dropped_key(255, low);
  dropped_key(256, high);
  EXPECT_LT(low, high);
}

}  // namespace
}  // namespace tailrace::statemachine
