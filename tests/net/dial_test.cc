// Dialling: what it costs in threads, and what they are called.
#include "net/dial.h"

#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include <asio/io_context.hpp>
#include <gtest/gtest.h>

#include "core/thread.h"

namespace tailrace::net {
namespace {

/// How many threads of this process have each name.
std::map<std::string, int> threads() {
  std::map<std::string, int> found;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name;
    std::getline(std::ifstream(task.path() / "comm"), name);
    ++found[name];
  }
  return found;
}

// Promise: a loop that dials host names is still one thread of its name, as metrics count them by
// that. Asio looks names up on a thread that it starts at the first one.
TEST(Dial, OfAHostNameIsLookedUpByAThreadOfAnotherName) {
  std::map<std::string, int> during;
  named_thread("loop", [&] {
    asio::io_context io;
    // Nobody listens there; the name is known all the same.
    dial(io, "localhost:1", std::chrono::seconds(30), [&](auto) { during = threads(); });
    io.run();
  }).join();
  EXPECT_EQ(during["loop"], 1);
  EXPECT_EQ(during["lookup"], 1);
}

}  // namespace
}  // namespace tailrace::net
