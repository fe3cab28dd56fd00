#include "rpc/awaitables/store_read.h"

#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <gtest/gtest.h>

#include "tests/support/fault_file_system.h"

namespace tailrace::rpc {
namespace {

constexpr int kKeys = 4000;
const std::string kFiller(200, 'f');

std::string key_of(int number) {
  return "key " + std::to_string(number);
}

std::unique_ptr<kv::Store> open_store(storage::FileSystem& disk) {
  kv::StoreOptions options;
  options.directory = "/kv";
  options.owner = "test";
  options.page_bytes = 32u << 10;
  options.memory_bytes = 4 * options.page_bytes;
  options.segment_bytes = 1u << 20;
  options.index_buckets = 1u << 10;
  options.huge_pages = false;
  auto store = kv::Store::open(disk, options);
  EXPECT_TRUE(store.has_value()) << store.error().message;
  return std::move(*store);
}

asio::awaitable<void> reader(kv::Store& store, int first, int& done) {
  for (int number = first; number < kKeys + 50; number += 50) {
    const std::string key = key_of(number);
    auto reading = read(store, as_bytes(key));
    const auto value = co_await std::move(reading);
    EXPECT_TRUE(value.has_value()) << value.error().message;
    if (!value) co_return;
    EXPECT_EQ(value->has_value(), number < kKeys);
    if (value->has_value()) {
      EXPECT_EQ(**value, kFiller + key);
    }
    ++done;
  }
}

// Promise: coroutines on one thread read records in memory and on disk, each gets its own value,
// and an io_context that has nothing else to do runs until the last one has.
TEST(StoreRead, ManyCoroutinesReadFromMemoryAndDiskOnOneThread) {
  testing::FaultFileSystem disk(1);
  asio::io_context io;  // outlives whoever posts to it
  const auto store = open_store(disk);
  auto session = std::move(*store->start_session(1));
  for (int number = 0; number < kKeys; ++number) {
    const std::string key = key_of(number);
    ASSERT_TRUE(session->upsert(as_bytes(key), as_bytes(kFiller + key), number + 1).has_value());
  }
  ASSERT_GT(store->log_extent().head, store->log_extent().begin) << "nothing is on disk";
  int done = 0;
  for (int first = 0; first < 50; ++first)
    asio::co_spawn(io, reader(*store, first, done), [](std::exception_ptr) {});
  io.run();
  EXPECT_EQ(done, kKeys + 50);
  session.reset();
}

}  // namespace
}  // namespace tailrace::rpc
