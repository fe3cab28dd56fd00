#pragma once
// The threads that clients run on. Without a runtime each client has a thread of its own. With one,
// thousands of clients share a few threads: each keeps its session and its connections, and none
// waits for another.
//
//   auto runtime = rpc::Runtime::create({.threads = 2}).value();
//   rpc::ClientOptions options;
//   options.runtime = runtime;
//   auto client = rpc::Client::create(options).value();   // and many more

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "core/clock.h"
#include "core/result.h"

namespace tailrace::rpc {

class Loop;

struct RuntimeOptions {
  uint32_t threads = 1;  // at most kMostThreads
};

/// A few threads, each with a loop that waits for the sockets and deadlines of its clients. A
/// client stays on one thread: its callbacks all run there, one after the other, and must not wait
/// for anything. Any thread may call. The clients keep the runtime: it ends with the last of them
/// and with the last std::shared_ptr of its owner. Work that has not run by then is dropped.
class Runtime {
 public:
  static constexpr uint32_t kMostThreads = 256;

  /// kInvalidArgument: no threads, or too many.
  static Result<std::shared_ptr<Runtime>> create(RuntimeOptions options = {});
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  uint32_t threads() const { return static_cast<uint32_t>(loops_.size()); }
  /// The number of the calling thread, or nothing if it is none of the runtime's.
  std::optional<uint32_t> own_thread() const;
  /// Runs `work` on thread number `thread`, after what was posted there before.
  void post(uint32_t thread, std::function<void()> work);
  /// The same, not before `when`.
  void post_at(uint32_t thread, SteadyTime when, std::function<void()> work);

 private:
  friend class ClientImpl;
  explicit Runtime(uint32_t threads);
  /// Where a client goes: to that thread, or to each in turn.
  const std::shared_ptr<Loop>& loop_of(std::optional<uint32_t> thread);

  std::vector<std::shared_ptr<Loop>> loops_;
  std::atomic<uint32_t> next_{0};
};

}  // namespace tailrace::rpc
