// FasterKv alone: counts each line of standard input under itself, takes a checkpoint, closes the
// store, opens it again and prints "COUNT<tab>LINE" from what came back. Run again, it goes on from
// there.
//
//     printf 'apple\npear\napple\n' | counters DIRECTORY

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <future>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kv/store.h"

namespace {

using namespace tailrace;

constexpr kv::SessionId kSession = 1;

Result<std::unique_ptr<kv::Store>> open(const std::string& directory) {
  kv::StoreOptions options;
  options.directory = directory;
  options.owner = "example";
  options.memory_bytes = 16u << 20;  // what does not fit is on disk
  options.page_bytes = 256u << 10;
  options.index_buckets = 1u << 10;
  options.huge_pages = false;
  return kv::Store::open(storage::posix_file_system(), options);
}

/// One more of `key`, as operation `serial` of the session. Other sessions may count the same key
/// at the same time: none of them is lost.
Result<> count(kv::Session& session, const std::string& key, kv::Serial serial) {
  const auto increment = [](const ByteSpan* present, std::string& next) {
    const uint64_t before = present == nullptr ? 0 : std::stoull(to_string(*present));
    next = std::to_string(before + 1);
    return kv::Modification::kWrite;
  };
  auto counted = session.rmw(as_bytes(key), increment, serial);
  if (!counted) return tl::unexpected(counted.error());
  return {};
}

/// Returns when the checkpoint is published, or why it is not. What is not in a checkpoint is gone
/// when the process ends: the store keeps no log of its own.
Result<kv::CheckpointInfo> checkpoint(kv::Store& store, kv::Session& session) {
  auto finished = std::make_shared<std::promise<Result<kv::CheckpointInfo>>>();
  auto result = finished->get_future();
  kv::CheckpointRequest request;
  request.kind = kv::CheckpointKind::kFoldOver;
  request.hooks.done = [finished](const Result<kv::CheckpointInfo>& info) {
    finished->set_value(info);
  };
  if (auto started = store.start_checkpoint(std::move(request)); !started)
    return tl::unexpected(started.error());
  // Each session takes part, also an idle one.
  while (result.wait_for(std::chrono::milliseconds(1)) != std::future_status::ready)
    session.refresh(session.last_serial());
  return result.get();
}

Result<> count_lines(const std::string& directory) {
  auto store = open(directory);
  if (!store) return tl::unexpected(store.error());
  // A known session goes on from the serial that its checkpoint holds.
  auto session = (*store)->start_session(kSession);
  if (!session) return tl::unexpected(session.error());
  kv::Serial serial = (*session)->last_serial();
  for (std::string line; std::getline(std::cin, line);) {
    if (auto counted = count(**session, line, ++serial); !counted) return counted;
  }
  auto info = checkpoint(**store, **session);
  if (!info) return tl::unexpected(info.error());
  for (const auto& [id, point] : info->points) {
    std::fprintf(stderr, "checkpoint %llu holds session %llu up to serial %llu\n",
                 static_cast<unsigned long long>(info->token), static_cast<unsigned long long>(id),
                 static_cast<unsigned long long>(point));
  }
  session->reset();  // sessions end before their store
  return {};
}

Result<> print_counts(const std::string& directory) {
  auto store = open(directory);
  if (!store) return tl::unexpected(store.error());
  std::vector<std::pair<std::string, std::string>> counts;
  auto visited = (*store)->for_each(
      [&](ByteSpan key, ByteSpan value) { counts.emplace_back(to_string(key), to_string(value)); });
  if (!visited) return visited;
  std::sort(counts.begin(), counts.end());
  for (const auto& [key, value] : counts)
    std::printf("%s\t%s\n", value.c_str(), key.c_str());
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: counters DIRECTORY\n");
    return 2;
  }
  for (const auto step : {count_lines, print_counts}) {
    if (auto done = step(argv[1]); !done) {
      std::fprintf(stderr, "counters: %s\n", done.error().message.c_str());
      return 1;
    }
  }
  return 0;
}
