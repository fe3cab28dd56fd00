#pragma once
// Puts the records of a dump back through a client, in their order. The state that they meet has to
// be the one that they met first (an empty cluster for a whole log, or the state of the address
// where the dump begins): then each command comes to what it came to.
//
//   event      appended; neighbours of one stream and one batch in one batch again. A batch that
//              the server finds too large is divided.
//   command    sent again, and answered before the next; puts without a time to live flow.
//   repeat     a command that the log has twice, or behind a gap in its session, did nothing; it is
//              left out. Behind damage a gap says nothing.
//   expiry     reckoned anew from this machine's clock; what has expired meanwhile is deleted.
//
// One thread.

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "app/dumped_record.h"
#include "rpc/client.h"

namespace tailrace::app {

class Loader {
 public:
  struct Totals {
    uint64_t events = 0, commands = 0;
    uint64_t without_effect = 0;  // of the commands: an absent key, a lost compare-and-swap
    uint64_t own = 0;             // left out: of the cluster that was dumped
    uint64_t repeats = 0;         // left out
    uint64_t before = 0;          // left out: before `from`
    uint64_t divided = 0;         // batches that were too large, and are several now
  };

  /// Records before `from` are left out.
  Loader(rpc::Client& client, Address from) : client_(client), from_(from) {}
  /// Waits for the answers that are due.
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// What it takes may be sent later; after an error all it can do is tell resume().
  Result<> take(DumpedLine line);
  /// Sends what is left and waits for all answers.
  Result<> finish();

  /// All records before this are in; that one may be, when the error is kUnknownOutcome.
  Address resume() const { return resume_; }
  Totals totals() const {
    const std::lock_guard lock(mutex_);
    return totals_;
  }

 private:
  bool did_something(const DumpedLine& line);
  Result<> append(DumpedLine line);
  Result<> send_events();
  Result<> send_events(size_t first, size_t count);
  Result<> send_command(const DumpedLine& line);
  Result<rpc::CommandAnswer> call(const DumpedLine& line);
  void flow(const DumpedLine& line);
  Result<> settle(size_t most_in_flight);

  struct Session {
    uint64_t serial = 0;
    uint64_t damages = 0;  // damages_ when that was taken
  };

  rpc::Client& client_;
  const Address from_;
  Address resume_;
  Totals totals_;
  std::map<std::string, Session, std::less<>> sessions_;
  uint64_t damages_ = 0;
  // One batch, of one stream.
  std::vector<DumpedLine> events_;
  size_t event_bytes_ = 0;

  // Puts in flight; all guarded by mutex_, which guards totals_ and resume_, too, while there are
  // any.
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  size_t in_flight_ = 0;
  std::optional<std::pair<Address, Error>> failed_;  // the first of them
};

}  // namespace tailrace::app
