#include "app/bench/service/event_load.h"

#include <algorithm>
#include <iterator>

#include <fmt/format.h>

#include "core/mutex.h"

namespace tailrace::app {

namespace {

using statemachine::Expected;
using statemachine::TxnEffectKind;

constexpr uint64_t kFillInFlight = 64;
constexpr uint64_t kMostFillEvents = 256, kMostFillBytes = 256u << 10;

std::string stream_name(const EventLoad& load, uint64_t number) {
  return fmt::format("{}/{}", load.prefix, number);
}

Error not_appended() {
  return Error{ErrorCode::kFailedPrecondition, "a stream had another version than was expected"};
}

/// What fill_streams() has in flight.
class FillWindow {
 public:
  /// Waits for room; false once an append has failed.
  bool enter() {
    MutexLock lock(mutex_);
    changed_.wait(lock, [&]() TAILRACE_REQUIRES(mutex_) { return in_flight_ < kFillInFlight; });
    if (error_) return false;
    ++in_flight_;
    return true;
  }
  void leave(const Result<rpc::AppendAnswer>& answer) {
    const MutexLock lock(mutex_);
    --in_flight_;
    if (!answer && !error_) error_ = answer.error();
    if (answer && !answer->appended && !error_) error_ = not_appended();
    changed_.notify_all();
  }
  Result<> wait() {
    MutexLock lock(mutex_);
    changed_.wait(lock, [&]() TAILRACE_REQUIRES(mutex_) { return in_flight_ == 0; });
    if (error_) return tl::unexpected(*error_);
    return {};
  }

 private:
  Mutex mutex_;
  Condition changed_;
  uint64_t in_flight_ TAILRACE_GUARDED_BY(mutex_) = 0;
  std::optional<Error> error_ TAILRACE_GUARDED_BY(mutex_);
};

}  // namespace

EventRequests::EventRequests(const LoadOptions& options, uint32_t thread, uint32_t slots,
                             ByteSpan data, Finished finished)
    : options_(options),
      thread_(thread),
      data_(data),
      finished_(std::move(finished)),
      slots_(slots) {
  if (options.events.operation == EventLoad::Operation::kRead) return;
  rpc::NewEvent event;
  event.data = data_;
  batch_.assign(options.batch, event);
  const uint64_t all = uint64_t{options.clients} * options.in_flight;
  for (uint32_t i = 0; i < slots; ++i) {
    const uint64_t number = uint64_t{i} * options.threads + thread;
    const uint64_t streams = options.events.streams;
    slots_[i].versions.resize(number < streams ? (streams - number - 1) / all + 1 : 1);
  }
}

void EventRequests::issue(rpc::Client& client, uint32_t slot) {
  switch (options_.events.operation) {
    case EventLoad::Operation::kAppend:
      return append(client, slot);
    case EventLoad::Operation::kTxn:
      return transact(client, slot);
    case EventLoad::Operation::kRead:
      return read(client, slot);
  }
}

std::string EventRequests::stream_of(uint32_t slot) const {
  const uint64_t all = uint64_t{options_.clients} * options_.in_flight;
  const uint64_t number = uint64_t{slot} * options_.threads + thread_;
  return stream_name(options_.events, number + all * slots_[slot].turn);
}

rpc::ExpectedStream EventRequests::expected_by(const Slot& slot) const {
  const uint64_t next = slot.versions[slot.turn];
  if (next == kUnknown) return {};
  if (next == 0) return {Expected::kNone, 0};
  return {Expected::kExact, next - 1};
}

void EventRequests::append(rpc::Client& client, uint32_t slot) {
  client.async_append(stream_of(slot), batch_, expected_by(slots_[slot]),
                      [this, slot](const Result<rpc::AppendAnswer>& answer) {
                        if (!answer) return appended(slot, std::nullopt, 0, &answer.error());
                        if (answer->appended)
                          return appended(slot, answer->last, options_.batch, nullptr);
                        const Error error = not_appended();
                        appended(slot, std::nullopt, 0, &error);
                      });
}

/// An event of the stream with the exact version, a sum, a value, and an event of the outbox.
void EventRequests::transact(rpc::Client& client, uint32_t slot) {
  const std::string stream = stream_of(slot), outbox = options_.events.prefix + "/outbox";
  const uint64_t number = transactions_++ % options_.keys;
  const std::string sum = fmt::format("bench/sum/{}", number);
  const std::string view = fmt::format("bench/view/{}/{}", thread_, number);
  const rpc::ExpectedStream expected = expected_by(slots_[slot]);
  statemachine::TxnEvent event;
  event.data = data_;
  txn_.clear();
  statemachine::TxnEffect append{.kind = TxnEffectKind::kAppend,
                                 .name = as_bytes(stream),
                                 .expected = expected.kind,
                                 .expected_version = expected.version};
  txn_.add_event(append, event);
  txn_.then.push_back(append);
  txn_.then.push_back({.kind = TxnEffectKind::kAdd, .name = as_bytes(sum), .delta = 1});
  txn_.then.push_back({.kind = TxnEffectKind::kPut, .name = as_bytes(view), .value = data_});
  statemachine::TxnEffect tell{.kind = TxnEffectKind::kAppend, .name = as_bytes(outbox)};
  txn_.add_event(tell, event);
  txn_.then.push_back(tell);
  client.async_txn(txn_, [this, slot](const Result<rpc::TxnAnswer>& answer) {
    if (!answer) return appended(slot, std::nullopt, 0, &answer.error());
    if (answer->succeeded && answer->result && !answer->result->results.empty())
      return appended(slot, answer->result->results[0].last_version, 1, nullptr);
    const Error error = not_appended();
    appended(slot, std::nullopt, 0, &error);
  });
}

void EventRequests::appended(uint32_t slot, std::optional<uint64_t> last, uint64_t records,
                             const Error* error) {
  Slot& mine = slots_[slot];
  mine.versions[mine.turn] = last ? *last + 1 : kUnknown;
  mine.turn = (mine.turn + 1) % mine.versions.size();
  finished_(slot, records, error);
}

void EventRequests::read(rpc::Client& client, uint32_t slot) {
  slots_[slot].read = 0;
  rpc::Client::StreamReadOptions all;
  all.read = options_.read;
  const std::string stream = stream_name(options_.events, random_.below(options_.events.streams));
  const auto visit = [this, slot](const rpc::StreamEvent&) {
    ++slots_[slot].read;
    return true;
  };
  client.async_read_stream(stream, all, visit, [this, slot](const Result<rpc::StreamEnd>& end) {
    finished_(slot, slots_[slot].read, end ? nullptr : &end.error());
  });
}

Result<> fill_streams(rpc::Client& client, const LoadOptions& options) {
  const std::string data(options.value_bytes, 'e');
  rpc::NewEvent event;
  event.data = as_bytes(data);
  const uint64_t fit = kMostFillBytes / std::max<uint64_t>(data.size(), 1);
  const uint64_t most = std::clamp<uint64_t>(fit, 1, kMostFillEvents);
  const std::vector<rpc::NewEvent> batch(most, event);
  FillWindow window;
  bool goes_on = true;
  for (uint64_t stream = 0; goes_on && stream < options.events.streams; ++stream)
    for (uint64_t done = 0; goes_on && done < options.events.length;) {
      const uint64_t count = std::min(most, options.events.length - done);
      done += count;
      goes_on = window.enter();
      if (!goes_on) break;
      client.async_append(
          stream_name(options.events, stream), std::span(batch).first(count), {},
          [&window](const Result<rpc::AppendAnswer>& answer) { window.leave(answer); });
    }
  return window.wait();
}

}  // namespace tailrace::app
