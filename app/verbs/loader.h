#pragma once
// Puts the records of a dump back through a client, in their order. The state that they meet has to
// be the one that they met first (an empty cluster for a whole log, or the state of the address
// where the dump begins): then each command comes to what it came to.
//
//   event      appended; neighbours of one stream and one batch in one batch again. A batch that
//              the server finds too large is divided.
//   command    sent again, and answered before the next; puts without a time to live flow.
//   repeat     a command that did nothing when it was in its log (a repeat, a session that had
//              ended: dumped_sessions.h) is left out.
//   unknown    a command of which the dump does not tell whether it was applied is left out, too,
//              unless it is wanted: applied twice would be worse.
//   expiry     reckoned anew from this machine's clock; what has expired meanwhile is deleted.
//
// One thread.

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "app/cli/dumped_record.h"
#include "app/verbs/dumped_sessions.h"
#include "core/mutex.h"
#include "rpc/client/client.h"

namespace tailrace::app {

class Loader {
 public:
  struct Totals {
    uint64_t events = 0, commands = 0;
    uint64_t without_effect = 0;  // of the commands: an absent key, a lost compare-and-swap
    uint64_t own = 0;             // left out: of the cluster that was dumped
    uint64_t repeats = 0;         // left out
    uint64_t unknown = 0;         // of the commands that were put back, or were left out
    Address first_unknown;
    uint64_t before = 0;   // left out: before `from`
    uint64_t divided = 0;  // batches that were too large, and are several now
  };

  /// Records before `from` are left out.
  Loader(rpc::Client& client, Address from, bool apply_unknown)
      : client_(client), from_(from), apply_unknown_(apply_unknown) {}
  /// Waits for the answers that are due.
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// What it takes may be sent later; after an error all it can do is tell resume().
  Result<> take(DumpedLine line);
  /// Sends what is left and waits for all answers.
  Result<> finish();

  /// All records before this are in; that one may be, when the error is kUnknownOutcome.
  Address resume() const {
    const MutexLock lock(mutex_);
    return resume_;
  }
  /// The end of the last record in the cluster's log; epoch 0: there is none.
  std::pair<Epoch, Address> log_end() const {
    const MutexLock lock(mutex_);
    return log_end_;
  }
  bool expiry_unknown() const { return sessions_.expiry_unknown(); }
  Totals totals() const {
    const MutexLock lock(mutex_);
    return totals_;
  }

 private:
  bool is_wanted(DumpedSessions::Verdict verdict, Address address) TAILRACE_REQUIRES(mutex_);
  Result<> append(DumpedLine line);
  Result<> send_events();
  Result<> send_events(size_t first, size_t count);
  Result<> send_command(const DumpedLine& line);
  Result<rpc::CommandAnswer> call(const DumpedLine& line);
  Result<rpc::CommandAnswer> call_txn(const DumpedLine& line);
  void flow(const DumpedLine& line);
  Result<> settle(size_t most_in_flight) TAILRACE_EXCLUDES(mutex_);
  void note_end(const rpc::CommandAnswer& answer) TAILRACE_REQUIRES(mutex_);

  rpc::Client& client_;
  const Address from_;
  const bool apply_unknown_;
  DumpedSessions sessions_;
  // One batch, of one stream.
  std::vector<DumpedLine> events_;
  size_t event_bytes_ = 0;

  mutable Mutex mutex_;
  Condition changed_;
  Address resume_ TAILRACE_GUARDED_BY(mutex_);
  Totals totals_ TAILRACE_GUARDED_BY(mutex_);
  std::pair<Epoch, Address> log_end_ TAILRACE_GUARDED_BY(mutex_);
  // Puts.
  size_t in_flight_ TAILRACE_GUARDED_BY(mutex_) = 0;
  /// The first of them.
  std::optional<std::pair<Address, Error>> failed_ TAILRACE_GUARDED_BY(mutex_);
};

}  // namespace tailrace::app
