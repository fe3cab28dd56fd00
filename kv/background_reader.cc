#include "kv/background_reader.h"

#include <algorithm>
#include <utility>

#include "core/thread.h"

namespace tailrace::kv {

using Outcome = Engine::Outcome;

namespace {
constexpr std::chrono::milliseconds kPollInterval{100};
}

BackgroundReader::~BackgroundReader() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
    wake_.notify_all();
    if (started_) fetcher_.wake();
  }
  if (thread_.joinable()) thread_.join();
}

Result<> BackgroundReader::start() {
  if (started_) return {};
  TAILRACE_RETURN_IF_ERROR(fetcher_.open());
  started_ = true;
  thread_ = named_thread("kv_read", [this] { run(); });
  return {};
}

void BackgroundReader::read(const HashedKey& key, LogAddress from, Store::ReadDone done) {
  auto request = std::make_unique<Request>();
  request->key.assign(as_text(key.bytes));
  request->done = std::move(done);
  request->from = from;
  request->fetch.key = HashedKey(as_bytes(request->key), key.hash);
  Result<> accepted;
  {
    const MutexLock lock(mutex_);
    accepted = stopping_ ? make_error(ErrorCode::kClosed, "the store is closing") : start();
    if (accepted) {
      wanted_.push_back(std::move(request));
      wake_.notify_one();
      fetcher_.wake();
    }
  }
  if (!accepted) request->done(tl::unexpected(std::move(accepted.error())), {});
}

void BackgroundReader::run() {
  std::vector<ColdFetcher::Fetch*> ended;
  for (;;) {
    std::deque<std::unique_ptr<Request>> taken;
    {
      MutexLock lock(mutex_);
      wake_.wait(lock, [&]() TAILRACE_REQUIRES(mutex_) {
        return stopping_ || !wanted_.empty() || !active_.empty();
      });
      taken = std::exchange(wanted_, {});
      if (stopping_ && taken.empty() && active_.empty()) return;
    }
    for (auto& request : taken) {
      if (auto started = fetcher_.start(request->fetch, request->from); !started) {
        request->done(tl::unexpected(std::move(started.error())), {});
      } else {
        active_.push_back(std::move(request));
      }
    }
    if (active_.empty()) continue;
    ended.clear();
    if (auto polled = fetcher_.poll(kPollInterval, &ended); !polled) {
      // The queue itself fails: nothing that is in flight will ever come.
      for (auto& request : active_)
        request->done(tl::unexpected(polled.error()), {});
      active_.clear();
      continue;
    }
    for (const ColdFetcher::Fetch* fetch : ended) {
      const auto at = std::find_if(active_.begin(), active_.end(),
                                   [&](const auto& one) { return &one->fetch == fetch; });
      auto request = std::move(*at);
      active_.erase(at);
      settle(std::move(request));
    }
  }
}

void BackgroundReader::settle(std::unique_ptr<Request> request) {
  ColdFetcher::Fetch& fetch = request->fetch;
  if (fetch.error) {
    request->done(tl::unexpected(std::move(*fetch.error)), {});
    return;
  }
  std::string value;
  Engine::Waiting waiting;
  Outcome outcome;
  {
    const storage::EpochProtection::Guard guard(engine_.protection());
    outcome = engine_.read(fetch.key, value, fetch.found, waiting);
  }
  if (outcome != Outcome::kCold) {
    request->done(outcome == Outcome::kDone, std::move(value));
    return;
  }
  // The chain has changed meanwhile.
  if (auto started = fetcher_.start(fetch, waiting.address); !started) {
    request->done(tl::unexpected(std::move(started.error())), {});
    return;
  }
  active_.push_back(std::move(request));
}

}  // namespace tailrace::kv
