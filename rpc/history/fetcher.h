#pragma once
// The thread that keeps a node's history whole: it fetches the event files that others have and
// this node lacks, the newest first, and reads one file after the other to see that it is sound.
//
// A node lacks files after it got a copy of another's state, and when one was found damaged. A file
// comes in pieces into "fetched.tmp", is verified as a whole and compared with what was promised,
// and is there once it is durable (history/catalogue.h). What is given up begins again with the
// file. Nobody waits for any of it but reads of those events, which are sent to other members.

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/mutex.h"
#include "core/result.h"
#include "history/history.h"
#include "rpc/client/client.h"

namespace tailrace::rpc {

struct FetcherOptions {
  /// So often the others are asked while something is missing.
  std::chrono::milliseconds interval{2000};
  /// And so often while nothing is: another may have got what this node never had.
  std::chrono::milliseconds idle_interval{60'000};
  /// So often one file is read to its end. Less where damage must be found sooner; each reads
  /// HistorianOptions::stretch_bytes or less.
  std::chrono::milliseconds scrub_interval{60'000};
  std::chrono::milliseconds timeout{2000};  // of a question
};

class HistoryFetcher {
 public:
  /// Where clients find the other members, now. Any thread.
  using Others = std::function<std::vector<std::string>()>;

  HistoryFetcher(storage::FileSystem& file_system, history::History& history, Others others,
                 FetcherOptions options = {});
  ~HistoryFetcher();
  void start();
  /// Gives up what is under way, and waits for that: no longer than for a question.
  void stop();

 private:
  void run();
  /// Asks all, and fetches what is missing. True: nothing is, or no one has it.
  bool look_around();
  Result<> fetch(Client& client, const std::string& server, const HistoryFile& file);
  Result<> fetch_to(const storage::Path& path, Client& client, const std::string& server,
                    const HistoryFile& file);
  bool wants(const HistoryFile& file) const;
  void scrub();
  bool stopping() const;

  storage::FileSystem& file_system_;
  history::History& history_;
  const Others others_;
  const FetcherOptions options_;
  Address scrubbed_;  // up to there; of the thread

  mutable Mutex mutex_;
  Condition work_;
  bool stopping_ TAILRACE_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace tailrace::rpc
