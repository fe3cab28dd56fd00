#pragma once
// What the store's tests share.

#include <cstdlib>
#include <future>
#include <map>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "kv/store.h"

namespace tailrace::kv {

using Model = std::map<std::string, std::string>;

inline StoreOptions small_options(const storage::Path& directory) {
  StoreOptions options;
  options.directory = directory;
  options.owner = "cluster c, node 1";
  options.memory_bytes = 16u << 20;
  options.page_bytes = 1u << 20;
  options.segment_bytes = 4u << 20;
  options.index_buckets = 1u << 8;
  options.huge_pages = false;
  options.compaction.least_log_bytes = 8u << 20;
  return options;
}

/// So little memory that records are on disk a moment after they were written, and chains so long
/// that several keys share them.
inline StoreOptions tiny_options(const storage::Path& directory) {
  StoreOptions options = small_options(directory);
  options.page_bytes = 1u << 15;
  options.memory_bytes = 5u << 15;
  options.segment_bytes = 1u << 17;
  options.index_buckets = 2;
  options.index_grows = false;
  options.mutable_fraction = 0.5;
  options.compaction.least_log_bytes = 4u << 20;
  return options;
}

inline std::unique_ptr<Store> open_or_die(storage::FileSystem& file_system,
                                          const StoreOptions& options) {
  auto store = Store::open(file_system, options);
  EXPECT_TRUE(store.has_value()) << store.error().message;
  return store ? std::move(*store) : nullptr;
}

inline std::unique_ptr<Session> session_or_die(Store& store, SessionId id) {
  auto session = store.start_session(id);
  EXPECT_TRUE(session.has_value()) << session.error().message;
  return session ? std::move(*session) : nullptr;
}

/// Starts a checkpoint whose result arrives in the future.
inline std::future<Result<CheckpointInfo>> begin_checkpoint(
    Store& store,
    std::function<Result<std::string>(const CheckpointInfo&)> before_publish = nullptr,
    CheckpointKind kind = CheckpointKind::kFoldOver, bool with_index = true) {
  auto promise = std::make_shared<std::promise<Result<CheckpointInfo>>>();
  CheckpointRequest request;
  request.kind = kind;
  request.with_index = with_index;
  request.hooks.before_publish = std::move(before_publish);
  request.hooks.done = [promise](const Result<CheckpointInfo>& info) { promise->set_value(info); };
  auto future = promise->get_future();
  const auto started = store.start_checkpoint(std::move(request));
  EXPECT_TRUE(started.has_value()) << started.error().message;
  if (!started) promise->set_value(tl::unexpected(started.error()));
  return future;
}

/// With all sessions quiet.
inline Result<CheckpointInfo> checkpoint(Store& store,
                                         CheckpointKind kind = CheckpointKind::kFoldOver,
                                         bool with_index = true) {
  return begin_checkpoint(store, nullptr, kind, with_index).get();
}

inline Model contents(Store& store) {
  Model model;
  const auto visited = store.for_each([&](ByteSpan key, ByteSpan value) {
    EXPECT_TRUE(model.emplace(to_string(key), to_string(value)).second)
        << "a key came twice: " << to_string(key).substr(0, 60);
  });
  EXPECT_TRUE(visited.has_value()) << visited.error().message;
  return model;
}

inline Serial point_of(const CheckpointInfo& info, SessionId session) {
  for (const SessionPoint& point : info.points) {
    if (point.session == session) return point.point;
  }
  ADD_FAILURE() << "no point of session " << session;
  return 0;
}

inline uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

/// Calls `run(seed)` for `count` seeds; TAILRACE_SEED=N replays one, TAILRACE_SEEDS=N tries so
/// many.
template <typename Run>
void for_seeds(uint64_t count, const Run& run) {
  const bool one = std::getenv("TAILRACE_SEED") != nullptr;
  const uint64_t first = from_environment("TAILRACE_SEED", 1);
  if (one) count = 1;
  if (!one) count = from_environment("TAILRACE_SEEDS", count);
  for (uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE("replay with TAILRACE_SEED=" + std::to_string(seed));
    run(seed);
    if (::testing::Test::HasFailure()) {
      std::printf("replay with TAILRACE_SEED=%llu\n", static_cast<unsigned long long>(seed));
      return;
    }
  }
}

}  // namespace tailrace::kv
