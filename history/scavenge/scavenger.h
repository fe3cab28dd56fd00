#pragma once
// The thread that takes events which have become unreadable out of the event files, when an
// operator has asked for it: up to an address of the log, the same on all nodes.
//
// A file tells the floors of its stretch (docs/formats/event-file.md). The greatest floor of a
// stream in all files whose ranges end at or below the address says which of its events are dead,
// in whichever of these files. So this follows from the files alone: no state is asked, and nodes
// that have the same files come to the same files, however often and in how many passes they
// scavenge.
//
// One pass has the names of a range, as many as memory allows; a later one those behind. In a pass
//
//   1. the floors of all files are read
//   2. of each file the index is read: it says how many dead events there are
//   3. a file that has some is written again without them, synced, renamed   event_file_writer.h
//   4. the catalogue has that one; the file before it is removed             catalogue.h
//
// and behind the last pass
//
//   5. what was replaced is on the disk no more                              catalogue.h
//   6. SCAVENGED is replaced, durably: the address, and a sum of the names of these files
//
// A crash before 3 is over leaves what the catalogue removes when it is opened, one before 4 two
// files of which the older one is removed then. After any of them the scavenger begins again, and
// finds nothing to do in what it has written. SCAVENGED holds only while the sum is that of the
// files that are there: a file that comes from another member, or is dropped, makes it void,
// without being changed. A file that is missing and may still come is waited for, for it may have
// floors.
//
// A full disk and a damaged file end the work, and it begins again by itself; the damaged file is
// dropped as reads drop it, and the files that are sound are scavenged by what is known. Between
// two files there is a pause as long as the work on the one before.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "core/mutex.h"
#include "core/result.h"
#include "history/event_file.h"
#include "history/scavenge/floor_table.h"
#include "history/scavenge_host.h"
#include "history/types/options.h"

namespace tailrace::history {

struct ScavengerOptions {
  EventFileOptions files;
  /// Of floors in memory: more of them take more passes.
  size_t floor_bytes = 32u << 20;
  /// So often a look is taken whether there is something to do, and after an error whether it
  /// succeeds now.
  std::chrono::milliseconds interval{1000};
  bool pauses = true;  // between two files
  /// Asked each interval up to where to scavenge(); may be null.
  std::function<Address()> wanted;
};

/// Any thread, but for start() and stop().
class Scavenger {
 public:
  /// Both outlive it. kUnsupported: a newer program has written SCAVENGED. A damaged one counts as
  /// none.
  static Result<std::unique_ptr<Scavenger>> open(storage::FileSystem& file_system,
                                                 ScavengeHost& host, ScavengerOptions options);
  /// As stop().
  ~Scavenger();

  void start();
  /// Gives up the file that is being written, and waits for that.
  void stop();
  /// Scavenges up to this address, an end of a file's range; one that is not above those before is
  /// of no account.
  void scavenge(Address to);

  /// What the thread does: all that is to be done now, on the caller's thread. For tests.
  Result<> work(const std::stop_token& stop);

 private:
  /// What SCAVENGED says.
  struct Done {
    Address to;
    uint64_t sum_high = 0, sum_low = 0;  // of the files up to there
    bool operator==(const Done&) const = default;
  };
  Scavenger(storage::FileSystem& file_system, ScavengeHost& host, const ScavengerOptions& options);

  Result<> load();
  void run();
  Result<> scavenge_all(Address to, const std::stop_token& stop);
  Result<> pass(FloorTable& floors, std::vector<EventFileInfo>& files, const std::stop_token& stop);
  Result<> read_floors(const EventFileInfo& info, FloorTable& into);
  Result<EventFileInfo> scavenge_file(const EventFileInfo& info, const FloorTable& floors,
                                      const std::stop_token& stop);
  Result<> confirm(const Done& done);
  std::vector<EventFileInfo> files_up_to(Address to) const;
  static Done sum_of(Address to, const std::vector<EventFileInfo>& files);
  bool holds(const Done& done) const;
  void note(const Result<>& worked);
  /// Of the files that are there now.
  void tell();

  storage::FileSystem& file_system_;
  ScavengeHost& host_;
  const ScavengerOptions options_;
  BlockCache cache_{0};  // what it reads is read once
  Done done_;            // of the thread that works
  Address next_;         // the same: what it works towards

  mutable Mutex mutex_;
  Condition work_;
  Address wanted_ TAILRACE_GUARDED_BY(mutex_);
  bool awake_ TAILRACE_GUARDED_BY(mutex_) = false;
  bool stopping_ TAILRACE_GUARDED_BY(mutex_) = false;
  std::optional<Error> trouble_ TAILRACE_GUARDED_BY(mutex_);
  std::stop_source stop_;
  std::thread thread_;
};

}  // namespace tailrace::history
