// Reads that do not wait: what is in memory is answered at once, the rest when poll() finds it.

#include <algorithm>
#include <utility>

#include "kv/session_impl.h"
#include "kv/store_impl.h"

namespace tailrace::kv {

using Outcome = Engine::Outcome;

void SessionCore::read_async(ByteSpan key_text, Session::ReadDone done) {
  const HashedKey key(key_text);
  std::string value;
  ColdFound nothing;
  Engine::Waiting waiting;
  Outcome outcome;
  {
    const storage::EpochProtection::Guard guard(engine_.protection());
    outcome = engine_.read(key, value, nothing, waiting);
  }
  if (outcome != Outcome::kCold) {
    done(outcome == Outcome::kDone, std::move(value));
    return;
  }
  auto pending = std::make_unique<Pending>();
  pending->key.assign(as_text(key_text));
  pending->done = std::move(done);
  pending->fetch.key = HashedKey(as_bytes(pending->key), key.hash);
  if (auto started = fetcher_.start(pending->fetch, waiting.address); !started) {
    pending->done(tl::unexpected(std::move(started.error())), {});
    return;
  }
  pending_.push_back(std::move(pending));
}

Result<size_t> SessionCore::poll(std::chrono::nanoseconds timeout) {
  if (pending_.empty()) return 0;
  if (ended_.empty()) TAILRACE_RETURN_IF_ERROR(fetcher_.poll(timeout, &ended_));
  size_t completed = 0;
  std::vector<ColdFetcher::Fetch*> ended = std::exchange(ended_, {});
  for (ColdFetcher::Fetch* fetch : ended) {
    const auto at = std::find_if(pending_.begin(), pending_.end(),
                                 [&](const auto& one) { return &one->fetch == fetch; });
    if (at == pending_.end()) continue;  // of a batch
    Pending& pending = **at;
    std::string value;
    Result<bool> found = false;
    if (fetch->error) {
      found = tl::unexpected(std::move(*fetch->error));
    } else {
      Engine::Waiting waiting;
      Outcome outcome;
      {
        const storage::EpochProtection::Guard guard(engine_.protection());
        outcome = engine_.read(fetch->key, value, fetch->found, waiting);
      }
      if (outcome == Outcome::kCold) {  // the chain has changed meanwhile
        auto started = fetcher_.start(*fetch, waiting.address);
        if (started) continue;
        found = tl::unexpected(std::move(started.error()));
      } else {
        found = outcome == Outcome::kDone;
        if (*found) copy_to_tail(fetch->key, fetch->found);
      }
    }
    const auto owned = std::move(*at);
    pending_.erase(at);
    ++completed;
    pending.done(std::move(found), std::move(value));
  }
  return completed;
}

}  // namespace tailrace::kv
