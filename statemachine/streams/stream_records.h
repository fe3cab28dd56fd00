#pragma once
// How streams stand in the store (docs/formats/streams.md): a head under 'h' and the stream's name,
// pages of places under 'p', the dense id and the page's number, recent ids under 'i' and the dense
// id (recent_ids.h), pages that are still to be removed under 'g'; and the numbers of all streams
// in one pair of the machine's own.

#include <string>
#include <string_view>

#include "core/bytes.h"
#include "core/result.h"
#include "statemachine/streams/stream.h"

namespace tailrace::statemachine {

/// The first byte of keys in the store.
inline constexpr char kHeadKey = 'h', kPageKey = 'p', kIdsKey = 'i', kDroppedKey = 'g';
inline constexpr std::string_view kStreamsKey = "mstreams";

/// Of a page and its number.
inline constexpr uint64_t kPageEvents = 64;
inline constexpr size_t kPageBytes = 8 + kPageEvents * 8;
constexpr uint64_t page_of(StreamVersion version) {
  return version / kPageEvents;
}
/// Page numbers have 32 bits.
inline constexpr StreamVersion kVersionEnd = kPageEvents * 0xffff'ffff;

/// Of all streams.
struct StreamNumbers {
  uint64_t next_dense_id = 1;
  uint64_t first_dropped = 0, end_dropped = 0;  // keys under 'g' (dropped_pages.h)
  bool operator==(const StreamNumbers&) const = default;
};

/// Pages of one stream that nobody can read any more: [from, to).
struct DroppedPages {
  uint64_t dense_id = 0;
  uint64_t from = 0, to = 0;
  bool operator==(const DroppedPages&) const = default;
};

/// Each replaces `into`.
void head_key(std::string_view stream, std::string& into);
void page_key(uint64_t dense_id, uint64_t page, std::string& into);
void ids_key(uint64_t dense_id, std::string& into);
void dropped_key(uint64_t number, std::string& into);
void encode_head(const StreamHead& head, std::string& into);
std::string encode_numbers(const StreamNumbers& numbers);
std::string encode_dropped(const DroppedPages& dropped);

/// kUnsupported for a newer format, kCorruption for what the others would not have written.
Result<StreamHead> decode_head(ByteSpan value);
Result<StreamNumbers> decode_numbers(ByteSpan value);
Result<DroppedPages> decode_dropped(ByteSpan value);
/// kCorruption when it has another length.
Result<> check_page(ByteSpan value);

/// A page that check_page() has let through, or a new one: all zeros.
inline std::string new_page() {
  return std::string(kPageBytes, '\0');
}
/// Zeros: nothing was written there.
EventPlace place_on(ByteSpan page, StreamVersion version);
void set_place_on(std::string& page, StreamVersion version, EventPlace place);
/// No event on the page is younger.
uint64_t time_of_page(ByteSpan page);
void set_time_of_page(std::string& page, uint64_t time_ns);

/// What every corrupted record of a stream says.
tl::unexpected<Error> damaged_stream(std::string_view what);

}  // namespace tailrace::statemachine
