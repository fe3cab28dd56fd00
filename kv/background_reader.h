#pragma once
// A thread that reads from disk for callers that have no session or may not wait (Store::read,
// Store::read_async). Started when the first record on disk is asked for.

#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/mutex.h"
#include "kv/engine/cold_fetcher.h"
#include "kv/store.h"

namespace tailrace::kv {

class BackgroundReader {
 public:
  BackgroundReader(storage::FileSystem& file_system, Engine& engine)
      : engine_(engine), fetcher_(file_system, engine) {}
  /// Answers what is still asked for with kClosed.
  ~BackgroundReader();

  /// Any thread. `from`: where the key's chain goes to disk.
  void read(const HashedKey& key, LogAddress from, Store::ReadDone done);

 private:
  struct Request {
    std::string key;
    Store::ReadDone done;
    LogAddress from = 0;
    ColdFetcher::Fetch fetch;
  };

  Result<> start() TAILRACE_REQUIRES(mutex_);
  void run();
  void settle(std::unique_ptr<Request> request);

  Engine& engine_;
  ColdFetcher fetcher_;                           // the thread's own, but for wake()
  std::vector<std::unique_ptr<Request>> active_;  // the thread's own

  Mutex mutex_;
  std::deque<std::unique_ptr<Request>> wanted_ TAILRACE_GUARDED_BY(mutex_);
  bool started_ TAILRACE_GUARDED_BY(mutex_) = false;
  bool stopping_ TAILRACE_GUARDED_BY(mutex_) = false;
  Condition wake_;
  std::thread thread_;
};

}  // namespace tailrace::kv
