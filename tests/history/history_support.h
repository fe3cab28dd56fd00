#pragma once
// Events that own their bytes, and what a file of them is to give.

#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "core/random.h"
#include "history/event_cursor.h"
#include "history/event_file.h"
#include "history/event_file_writer.h"
#include "history/floor_cursor.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::history {

inline constexpr const char* kDirectory = "/events";

// Crashes are tried at each operation; where a sanitizer makes them slow, at some.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr uint64_t kCrashEvery = 5;
#else
inline constexpr uint64_t kCrashEvery = 1;
#endif

struct OwnedEvent {
  std::string stream = {}, type = {}, metadata = {}, data = {};
  uint64_t version = 0, position = 0, record = 0, epoch = 0, time_ns = 0;
  std::optional<statemachine::EventIdBytes> id = {};
  std::vector<std::string> tags = {};
  statemachine::ContentType content_type = statemachine::ContentType::kBytes;
  bool operator==(const OwnedEvent&) const = default;

  static OwnedEvent of(const EventEntry& entry) {
    return {std::string(entry.stream),
            std::string(entry.type),
            to_string(entry.metadata),
            to_string(entry.data),
            entry.version,
            entry.position.value,
            entry.record_address.value,
            entry.epoch.value,
            entry.time_ns,
            entry.id,
            {entry.tags.begin(), entry.tags.end()},
            entry.content_type};
  }
  /// Views into this and into `views`.
  EventEntry entry(std::vector<std::string_view>& views) const {
    views.assign(tags.begin(), tags.end());
    return {stream, version, Address{position},  Address{record}, Epoch{epoch},  time_ns, type,
            id,     views,   as_bytes(metadata), content_type,    as_bytes(data)};
  }
};

using Events = std::vector<OwnedEvent>;
/// By stream.
using Floors = std::map<std::string, uint64_t>;

inline Address end_of(const Events& events) {
  return events.empty() ? Address{1000} : Address{events.back().position + 1000};
}

struct RandomEvents {
  size_t count = 1000;
  size_t streams = 20;
  size_t most_data = 300;
  Address from{64};
};

inline Events random_events(Random& random, const RandomEvents& options = {}) {
  Events events;
  std::vector<uint64_t> versions(options.streams, 0);
  uint64_t position = options.from.value, epoch = 1 + random.below(5);
  for (size_t i = 0; i < options.count; ++i) {
    OwnedEvent event;
    const size_t stream = random.below(options.streams);
    event.stream = stream % 7 == 0
                       ? "single" + std::to_string(stream)
                       : "c" + std::to_string(stream % 5) + "-" + std::to_string(stream);
    event.version = versions[stream] += random.chance(1, 50) ? random.between(2, 1000) : 1;
    event.record = position + random.below(200);
    event.position = position = event.record + random.between(1, 5000);
    epoch += random.chance(1, 100) ? 1 : 0;
    event.epoch = epoch;
    event.time_ns = 1'700'000'000'000'000'000 + random.below(1'000'000'000);
    if (!random.chance(1, 4)) event.type = "type" + std::to_string(random.below(4));
    if (random.chance(1, 2)) random.fill(event.id.emplace());
    for (uint64_t tags = random.below(4); tags > 0; --tags)
      event.tags.push_back("tag:" + std::to_string(random.below(6)));
    if (random.chance(1, 3)) event.metadata = "{\"n\":" + std::to_string(i) + "}";
    event.content_type = statemachine::ContentType{static_cast<uint8_t>(random.below(4))};
    const bool is_long = options.most_data >= 100 && random.chance(1, 400);
    event.data.resize(is_long ? 100'000 : random.below(options.most_data + 1));
    if (random.chance(1, 2)) random.fill(std::as_writable_bytes(std::span(event.data)));
    events.push_back(std::move(event));
  }
  return events;
}

inline Result<EventFileInfo> write_file(storage::FileSystem& disk, const Events& events,
                                        EventFileOptions options, Address from, Address to,
                                        const Floors& floors = {}) {
  TAILRACE_RETURN_IF_ERROR(disk.make_directory(kDirectory));
  TAILRACE_ASSIGN_OR_RETURN(const auto writer,
                            EventFileWriter::create(disk, kDirectory, from, options));
  std::vector<std::string_view> views;
  for (const OwnedEvent& event : events)
    TAILRACE_RETURN_IF_ERROR(writer->add(event.entry(views)));
  for (const auto& [stream, version] : floors)
    TAILRACE_RETURN_IF_ERROR(writer->add_floor({stream, version}));
  return writer->finish(to, Epoch{events.empty() ? 1 : events.back().epoch});
}

inline Result<EventFileInfo> write_file(storage::FileSystem& disk, const Events& events,
                                        Compression compression, const Floors& floors = {}) {
  EventFileOptions options;
  options.compression = compression;
  return write_file(disk, events, options, Address{64}, end_of(events), floors);
}

inline Result<Events> read_all(EventCursor cursor) {
  Events events;
  while (true) {
    TAILRACE_ASSIGN_OR_RETURN(const EventEntry* const next, cursor.next());
    if (next == nullptr) return events;
    events.push_back(OwnedEvent::of(*next));
  }
}

inline Result<Floors> read_floors(const EventFile& file) {
  Floors floors;
  FloorCursor cursor = file.floors();
  while (true) {
    TAILRACE_ASSIGN_OR_RETURN(const auto next, cursor.next());
    if (!next) return floors;
    floors.emplace(next->stream, next->version);
  }
}

/// The seed of TAILRACE_SEED, or one that is printed.
inline uint64_t seed_of_test() {
  const char* text = std::getenv("TAILRACE_SEED");
  const uint64_t seed = text != nullptr ? std::strtoull(text, nullptr, 10) : random_seed();
  std::printf("replay with TAILRACE_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

}  // namespace tailrace::history
