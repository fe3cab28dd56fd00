#pragma once
// What the store's tests share.

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
  options.index_buckets = 1u << 8;
  options.huge_pages = false;
  return options;
}

inline std::unique_ptr<Store> open_or_die(storage::FileSystem& file_system,
                                          const StoreOptions& options) {
  auto store = Store::open(file_system, options);
  EXPECT_TRUE(store.has_value()) << store.error().message;
  return store ? std::move(*store) : nullptr;
}

/// Starts a checkpoint whose result arrives in the future.
inline std::future<Result<CheckpointInfo>> begin_checkpoint(
    Store& store,
    std::function<Result<std::string>(const CheckpointInfo&)> before_publish = nullptr) {
  auto promise = std::make_shared<std::promise<Result<CheckpointInfo>>>();
  CheckpointHooks hooks;
  hooks.before_publish = std::move(before_publish);
  hooks.done = [promise](const Result<CheckpointInfo>& info) { promise->set_value(info); };
  auto future = promise->get_future();
  const auto started = store.start_checkpoint(std::move(hooks));
  EXPECT_TRUE(started.has_value()) << started.error().message;
  return future;
}

/// With all sessions quiet.
inline Result<CheckpointInfo> checkpoint(Store& store) {
  return begin_checkpoint(store).get();
}

inline Model contents(Store& store) {
  Model model;
  store.for_each([&](ByteSpan key, ByteSpan value) {
    EXPECT_TRUE(model.emplace(to_string(key), to_string(value)).second) << "a key came twice";
  });
  return model;
}

inline Serial point_of(const CheckpointInfo& info, SessionId session) {
  for (const SessionPoint& point : info.points) {
    if (point.session == session) return point.point;
  }
  ADD_FAILURE() << "no point of session " << session;
  return 0;
}

}  // namespace tailrace::kv
