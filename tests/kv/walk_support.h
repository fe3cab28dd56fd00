#pragma once
// A store that is much larger than its memory after a few thousand writes, and what tests of
// compaction and scans do with it.

#include <future>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "kv/store.h"
#include "storage/file_system.h"

namespace tailrace::kv {

using Pairs = std::map<std::string, std::string>;

inline StoreOptions tiny_store(const storage::Path& directory) {
  StoreOptions options;
  options.directory = directory;
  options.owner = "test";
  options.memory_bytes = 8u << 16;
  options.page_bytes = 1u << 16;
  options.segment_bytes = 1u << 18;
  options.index_buckets = 64;
  options.mutable_fraction = 0.5;
  options.huge_pages = false;
  options.compaction.automatic = false;
  return options;
}

inline std::unique_ptr<Store> open(const StoreOptions& options) {
  auto store = Store::open(storage::posix_file_system(), options);
  EXPECT_TRUE(store.has_value()) << store.error().message;
  return store ? std::move(*store) : nullptr;
}

inline std::future<Result<CheckpointInfo>> start_checkpoint(Store& store, CheckpointKind kind) {
  auto promise = std::make_shared<std::promise<Result<CheckpointInfo>>>();
  CheckpointRequest request;
  request.kind = kind;
  request.hooks.done = [promise](const Result<CheckpointInfo>& info) { promise->set_value(info); };
  auto future = promise->get_future();
  const auto started = store.start_checkpoint(std::move(request));
  EXPECT_TRUE(started.has_value()) << started.error().message;
  return future;
}

inline Result<CheckpointInfo> take_checkpoint(Store& store, CheckpointKind kind) {
  return start_checkpoint(store, kind).get();
}

/// While nobody writes.
inline Pairs all_pairs(Store& store) {
  Pairs pairs;
  const auto done = store.for_each([&](ByteSpan key, ByteSpan value) {
    EXPECT_TRUE(pairs.emplace(to_string(key), to_string(value)).second)
        << as_text(key) << " came twice";
  });
  EXPECT_TRUE(done.has_value()) << done.error().message;
  return pairs;
}

inline void write_something(Session& session, std::mt19937_64& random, const std::string& key,
                            Serial serial, Pairs& model) {
  switch (random() % 8) {
    case 0: {
      const auto erased = session.erase(as_bytes(key), serial);
      ASSERT_TRUE(erased.has_value()) << erased.error().message;
      ASSERT_EQ(*erased, model.erase(key) > 0) << key;
      return;
    }
    case 1:
    case 2: {
      std::string was;
      const auto modify = [&](const ByteSpan* present, std::string& next) {
        was = present == nullptr ? std::string() : to_string(*present);
        next = was.substr(0, 100) + std::to_string(serial);
        return Modification::kWrite;
      };
      const auto modified = session.rmw(as_bytes(key), modify, serial);
      ASSERT_TRUE(modified.has_value()) << modified.error().message;
      ASSERT_EQ(was, model[key]) << key;
      model[key] = was.substr(0, 100) + std::to_string(serial);
      return;
    }
    default: {
      const std::string value = std::to_string(serial) +
                                std::string(random() % 200, static_cast<char>('a' + serial % 26));
      const auto written = session.upsert(as_bytes(key), as_bytes(value), serial);
      ASSERT_TRUE(written.has_value()) << written.error().message;
      model[key] = value;
      return;
    }
  }
}

}  // namespace tailrace::kv
