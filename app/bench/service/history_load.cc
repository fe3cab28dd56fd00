#include "app/bench/service/history_load.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>
#include <unordered_map>

#include <fmt/format.h>

#include "core/mutex.h"
#include "core/random.h"

namespace tailrace::app {

namespace {

using Operation = HistoryEntry::Operation;

constexpr std::chrono::milliseconds kPauseAfterError{10};

/// Of a write whose answer is an error. Where it is not certain that nothing was done, and that
/// nothing will be, it is unknown.
HistoryEntry::Outcome outcome_of_write(const Error& error) {
  switch (error.code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kWouldBlock:
    case ErrorCode::kResourceExhausted:
    case ErrorCode::kFailedPrecondition:
    case ErrorCode::kNotLeader:
    case ErrorCode::kUnavailable:
      return HistoryEntry::Outcome::kFail;
    default:
      return HistoryEntry::Outcome::kUnknown;
  }
}

/// What all loops share.
struct Shared {
  Shared(HistoryFile& to, std::string name, uint64_t how_many)
      : file(to), prefix(std::move(name)), keys(how_many) {}

  HistoryFile& file;
  const std::string prefix;
  const uint64_t keys;  // beside the counter
  SteadyTime deadline;
  std::atomic<uint64_t> answered{0};
  std::atomic<bool> file_failed{false};

  Mutex mutex;
  /// Of each key, what was seen or written there last.
  std::unordered_map<uint64_t, std::string> newest TAILRACE_GUARDED_BY(mutex);
  std::optional<Error> file_error TAILRACE_GUARDED_BY(mutex);
};

/// A client of its own session, and the number of its next value.
struct Source {
  std::unique_ptr<rpc::Client> client;
  uint32_t number = 0;
  std::atomic<uint64_t> next_value{0};
};

/// One request after the other.
class HistoryLoop {
 public:
  HistoryLoop(Source& source, Shared& shared) : source_(source), shared_(shared) {}

  void run() {
    while (system_clock().now() < shared_.deadline && !shared_.file_failed) {
      HistoryEntry entry = choose();
      entry.invoked = system_clock().now();
      ask(entry);
      const auto returned = shared_.file.add(entry);
      if (!returned) {
        const MutexLock lock(shared_.mutex);
        shared_.file_error = returned.error();
        shared_.file_failed = true;
        return;
      }
      count(entry, *returned);
      // A refusal comes at once: what is refused for seconds need not fill the disk.
      if (entry.outcome != HistoryEntry::Outcome::kOk)
        std::this_thread::sleep_for(kPauseAfterError);
    }
  }

  const LoadResult& result() const { return result_; }
  const Histogram& latency_ns() const { return latency_ns_; }
  SteadyTime last_answer() const { return last_answer_; }

 private:
  HistoryEntry choose() {
    HistoryEntry entry;
    entry.client = source_.number;
    // The counter is one key among the others.
    const uint64_t key = random_.below(shared_.keys + 1);
    if (key == shared_.keys) {
      entry.key = shared_.prefix + "counter";
      entry.operation = random_.chance(1, 3) ? Operation::kGet : Operation::kAdd;
      if (entry.operation == Operation::kAdd) entry.value = "1";
      return entry;
    }
    key_ = key;
    entry.key = shared_.prefix + std::to_string(key);
    const uint64_t choice = random_.below(10);
    entry.operation = choice < 3   ? Operation::kPut
                      : choice < 6 ? Operation::kGet
                      : choice < 8 ? Operation::kCas
                      : choice < 9 ? Operation::kInsert
                                   : Operation::kDelete;
    if (entry.operation != Operation::kGet && entry.operation != Operation::kDelete)
      entry.value = fmt::format("{}:{}", source_.number, ++source_.next_value);
    if (entry.operation == Operation::kCas) {
      const MutexLock lock(shared_.mutex);
      entry.expected = shared_.newest[key];
    }
    return entry;
  }

  void ask(HistoryEntry& entry) {
    rpc::Client& client = *source_.client;
    const ByteSpan key = as_bytes(entry.key);
    switch (entry.operation) {
      case Operation::kGet:
        return read(entry, client.get(key, {}));
      case Operation::kPut:
        return wrote(entry, client.put(key, as_bytes(entry.value)));
      case Operation::kCas:
        return wrote(entry, client.cas(key, as_bytes(entry.expected), as_bytes(entry.value)));
      case Operation::kInsert:
        return wrote(entry, client.cas(key, std::nullopt, as_bytes(entry.value)));
      case Operation::kAdd:
        return wrote(entry, client.add(key, 1));
      case Operation::kDelete:
        return wrote(entry, client.erase(key));
    }
  }

  void read(HistoryEntry& entry, Result<rpc::ReadAnswer> answer) {
    if (!answer) return went_wrong(entry, HistoryEntry::Outcome::kFail, answer.error());
    entry.said = true;
    if (answer->found) entry.seen = std::move(answer->value);
  }

  void wrote(HistoryEntry& entry, Result<rpc::CommandAnswer> answer) {
    if (!answer) return went_wrong(entry, outcome_of_write(answer.error()), answer.error());
    statemachine::Answer& said = answer->answer;
    const auto see = [&] {
      // One that does not come along was not seen.
      entry.said = said.withheld_bytes == 0;
      if (entry.said && said.has_value) entry.seen = std::move(said.value);
    };
    switch (said.outcome) {
      case statemachine::Outcome::kDone:
        if (entry.operation != Operation::kPut && entry.operation != Operation::kAdd)
          entry.done = true;
        if (entry.operation == Operation::kAdd) see();
        return;
      case statemachine::Outcome::kAbsent:
        entry.done = false;
        return;
      case statemachine::Outcome::kCasMismatch:
        entry.done = false;
        return see();
      case statemachine::Outcome::kNotAnInteger:
        // Of a counter that only adds have touched: never right, which is for the judge to say.
        entry.said = true;
        entry.seen = "not an integer";
        return;
      case statemachine::Outcome::kSerialGap:
      case statemachine::Outcome::kSessionExpired:
        return went_wrong(entry, HistoryEntry::Outcome::kFail,
                          Error{ErrorCode::kFailedPrecondition, "the session had ended"});
      case statemachine::Outcome::kTxnFailed:  // of no command that is sent here
      case statemachine::Outcome::kAnswerForgotten:
        return;  // it was applied, and that is all that is known
    }
    went_wrong(entry, HistoryEntry::Outcome::kUnknown,
               Error{ErrorCode::kUnsupported, "the server's answer is of a newer version"});
  }

  void went_wrong(HistoryEntry& entry, HistoryEntry::Outcome outcome, const Error& error) {
    entry.outcome = outcome;
    entry.error = error.message;
    ++result_.errors;
    if (outcome == HistoryEntry::Outcome::kUnknown) ++result_.unknown;
    if (!result_.first_error) result_.first_error = error;
  }

  void count(const HistoryEntry& entry, SteadyTime returned) {
    if (entry.outcome != HistoryEntry::Outcome::kOk) return;
    ++result_.operations;
    shared_.answered.fetch_add(1, std::memory_order_relaxed);
    last_answer_ = returned;
    latency_ns_.add(static_cast<uint64_t>((returned - entry.invoked).count()));
    if (entry.key.ends_with("counter")) return;
    const bool swapped =
        (entry.operation == Operation::kCas || entry.operation == Operation::kInsert) &&
        entry.done.value_or(false);
    const bool writes = entry.operation == Operation::kPut || swapped;
    if (!writes && !entry.seen) return;
    const MutexLock lock(shared_.mutex);
    shared_.newest[key_] = writes ? entry.value : *entry.seen;
  }

  Source& source_;
  Shared& shared_;
  Random random_{random_seed()};
  uint64_t key_ = 0;  // of the request in flight, unless it is the counter's
  LoadResult result_;
  Histogram latency_ns_;
  SteadyTime last_answer_;
};

}  // namespace

Result<LoadResult> run_history_load(const rpc::ClientOptions& client_options,
                                    const LoadOptions& options, HistoryFile& file,
                                    const std::function<void(double, uint64_t)>& on_progress) {
  // Names of this run alone: what an earlier one left behind, or still has on its way, is not met.
  Shared shared(file, fmt::format("history/{:08x}/", random_seed() & 0xffffffff), options.keys);

  std::vector<std::unique_ptr<Source>> sources;
  for (uint32_t i = 0; i < options.clients; ++i) {
    TAILRACE_ASSIGN_OR_RETURN(auto client, rpc::Client::create(client_options));
    TAILRACE_RETURN_IF_ERROR(client->get(as_bytes(shared.prefix + "counter"), {}));
    sources.push_back(std::make_unique<Source>());
    sources.back()->client = std::move(client);
    sources.back()->number = i;
  }

  const SteadyTime began = system_clock().now();
  const auto length = std::chrono::duration_cast<SteadyTime::duration>(
      std::chrono::duration<double>(options.seconds));
  shared.deadline = began + length;
  std::vector<std::unique_ptr<HistoryLoop>> loops;
  for (auto& source : sources) {
    for (uint32_t i = 0; i < options.in_flight; ++i)
      loops.push_back(std::make_unique<HistoryLoop>(*source, shared));
  }
  std::vector<std::jthread> threads;
  for (auto& loop : loops)
    threads.emplace_back([&loop = *loop] { loop.run(); });
  for (SteadyTime now = began; now < shared.deadline && !shared.file_failed;
       now = system_clock().now()) {
    on_progress(std::chrono::duration<double>(now - began).count() / options.seconds,
                shared.answered.load(std::memory_order_relaxed));
    std::this_thread::sleep_for(
        std::min<SteadyTime::duration>(std::chrono::milliseconds(500), shared.deadline - now));
  }
  threads.clear();
  on_progress(1, shared.answered);
  {
    const MutexLock lock(shared.mutex);
    if (shared.file_error) return tl::unexpected(*shared.file_error);
  }

  LoadResult result;
  SteadyTime last = shared.deadline;
  for (const auto& loop : loops) {
    last = std::max(last, loop->last_answer());
    const LoadResult& one = loop->result();
    result.operations += one.operations;
    result.errors += one.errors;
    result.unknown += one.unknown;
    if (!result.first_error) result.first_error = one.first_error;
    result.latency_ns.add(loop->latency_ns());
  }
  result.records = result.operations;
  result.seconds = std::chrono::duration<double>(last - began).count();
  return result;
}

}  // namespace tailrace::app
