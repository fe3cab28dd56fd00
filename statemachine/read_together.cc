#include "statemachine/read_together.h"

#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <utility>

#include "statemachine/types/state_value.h"

// What is in memory is read between two stretches, on the applier's thread. That thread never waits
// for the disk: what is on disk only is read before, beside it. Between the stretches it is found
// to be on disk still. Then it is what was read if no record that was written since has left the
// memory: a change would be a newer record, in memory.

namespace tailrace::statemachine {
namespace {

constexpr int kMostAttempts = 16;
// Whoever waits for the applier is asked so often whether it still does.
constexpr std::chrono::milliseconds kAskEvery{10};

/// Of one key, as the store has it.
struct Stored {
  bool found = false;
  std::string value;  // with what stands before a user's value
};

tl::unexpected<Error> too_much(size_t most_bytes) {
  return make_error(ErrorCode::kFailedPrecondition,
                    "the values of these keys take more than " + std::to_string(most_bytes) +
                        " bytes, the most that is read together; ask for fewer keys");
}

tl::unexpected<Error> not_wanted() {
  return make_error(ErrorCode::kCancelled, "nobody waits for the keys any more");
}

using SharedKeys = std::shared_ptr<const std::vector<std::string>>;

/// One look between two stretches. Its asker may go while the applier has begun it.
struct Look {
  SharedKeys keys;
  size_t most_bytes = 0;
  size_t bytes = 0;                          // of what is found
  std::vector<std::optional<Stored>> found;  // nothing: on disk
  std::promise<Result<LogPoint>> done;
  uint64_t log_time_ns = 0;
  kv::LogAddress head{};
};

class TogetherReader {
 public:
  TogetherReader(kv::Store& store, StretchVisits& visits, const std::function<void()>& wake,
                 const std::function<uint64_t()>& log_time_ns, std::vector<std::string> keys,
                 size_t most_bytes, const StateMachine::GoOn& go_on)
      : store_(store),
        visits_(visits),
        wake_(wake),
        log_time_ns_(log_time_ns),
        keys_(std::make_shared<const std::vector<std::string>>(std::move(keys))),
        most_bytes_(most_bytes),
        go_on_(go_on),
        from_disk_(keys_->size()) {}

  Result<KeysTogether> run() {
    kv::LogAddress read_at{};
    bool read_disk = false;
    for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
      TAILRACE_ASSIGN_OR_RETURN(const auto look, look_between());
      const bool stands = read_disk && look->head <= read_at;
      bool complete = true;
      for (size_t i = 0; i < keys_->size(); ++i)
        complete &= look->found[i] || (stands && from_disk_[i]);
      if (complete) return answer(*look);
      read_at = store_.log_extent().tail;
      TAILRACE_RETURN_IF_ERROR(read_from_disk(*look));
      read_disk = true;
    }
    return make_error(ErrorCode::kUnavailable,
                      "what is on disk of these keys is written faster than it can be read "
                      "together; ask again, or for fewer keys");
  }

 private:
  Result<std::shared_ptr<Look>> look_between() {
    auto look = std::make_shared<Look>();
    look->keys = keys_;
    look->most_bytes = most_bytes_;
    look->found.resize(keys_->size());
    auto done = look->done.get_future();
    const auto visit =
        visits_.add([look, &store = store_, log_time_ns = log_time_ns_](Result<LogPoint> at) {
          look->log_time_ns = log_time_ns();
          if (at) at = take(*look, store, *at);
          look->done.set_value(std::move(at));
        });
    wake_();
    while (done.wait_for(kAskEvery) == std::future_status::timeout) {
      if (go_on_()) continue;
      visits_.forget(visit);
      return not_wanted();
    }
    TAILRACE_ASSIGN_OR_RETURN(point_, done.get());
    return look;
  }

  /// On the applier's thread.
  static Result<LogPoint> take(Look& look, kv::Store& store, LogPoint at) {
    for (size_t i = 0; i < look.keys->size(); ++i) {
      Stored stored;
      switch (store.try_read(as_bytes((*look.keys)[i]), stored.value)) {
        case kv::Store::ReadOutcome::kFound:
          stored.found = true;
          break;
        case kv::Store::ReadOutcome::kAbsent:
          break;
        case kv::Store::ReadOutcome::kCold:
          continue;
      }
      look.bytes += stored.value.size();
      if (look.bytes > look.most_bytes) return too_much(look.most_bytes);
      look.found[i] = std::move(stored);
    }
    look.head = store.log_extent().head;
    return at;
  }

  Result<> read_from_disk(const Look& look) {
    size_t bytes = look.bytes;
    for (size_t i = 0; i < keys_->size(); ++i) {
      from_disk_[i].reset();
      if (look.found[i]) continue;
      if (!go_on_()) return not_wanted();
      Stored stored;
      auto read = store_.read(as_bytes((*keys_)[i]), stored.value);
      stored.found = read.has_value();
      if (!read && read.error().code != ErrorCode::kNotFound) return read;
      bytes += stored.value.size();
      if (bytes > most_bytes_) return too_much(most_bytes_);
      from_disk_[i] = std::move(stored);
    }
    return {};
  }

  Result<KeysTogether> answer(const Look& look) const {
    KeysTogether together;
    together.at = point_;
    for (size_t i = 0; i < keys_->size(); ++i) {
      const Stored& stored = look.found[i] ? *look.found[i] : *from_disk_[i];
      KeysTogether::Key& key = together.keys.emplace_back();
      if (!stored.found) continue;
      const auto value = decode_state_value(as_bytes(stored.value));
      if (!value)
        return make_error(ErrorCode::kCorruption, "the store holds a value that does not parse");
      if (value->is_expired(look.log_time_ns)) continue;
      key.found = true;
      key.state.modified_at = value->modified_at;
      key.state.expires_at_ns = value->expires_at_ns;
      key.state.value = to_string(value->value);
    }
    return together;
  }

  kv::Store& store_;
  StretchVisits& visits_;
  const std::function<void()>& wake_;
  const std::function<uint64_t()> log_time_ns_;
  const SharedKeys keys_;
  const size_t most_bytes_;
  const StateMachine::GoOn& go_on_;
  std::vector<std::optional<Stored>> from_disk_;
  LogPoint point_;
};

}  // namespace

Result<KeysTogether> read_keys_together(kv::Store& store, StretchVisits& visits,
                                        const std::function<void()>& wake,
                                        const std::function<uint64_t()>& log_time_ns,
                                        std::vector<std::string> keys, size_t most_bytes,
                                        const StateMachine::GoOn& go_on) {
  return TogetherReader(store, visits, wake, log_time_ns, std::move(keys), most_bytes, go_on).run();
}

}  // namespace tailrace::statemachine
