#pragma once
// Sends lines as events of one stream, in atomic batches, each answered (so: durable on a majority
// and applied) before the next one is sent; whatever goes wrong, the number of lines that are in
// the log is known. One thread.

#include <optional>
#include <string>
#include <vector>

#include "app/cli/line_reader.h"
#include "core/clock.h"
#include "core/random.h"
#include "json/event_json.h"
#include "rpc/client/client.h"

namespace tailrace::app {

struct AppendLines {
  std::string stream = "default";
  rpc::ExpectedStream expected;  // of the first batch; the others go on where it ended
  std::string type;              // of events that have none of their own
  std::optional<statemachine::EventIdBytes> id;  // of the only event
  bool new_ids = false;                          // one for each event that has none
  bool json = false;                             // a line is an event's JSON
  /// Nothing of this is for clusters that do not know transactions.
  bool needs_txn() const {
    return expected.kind != statemachine::Expected::kAny || !type.empty() || id || new_ids || json;
  }
};

class Appender {
 public:
  /// `name`: of the input, for messages.
  Appender(rpc::Client& client, const AppendLines& what, const std::string& name);

  Result<> take(LineReader& lines);
  void end_progress();

  uint64_t lines() const { return lines_; }
  bool any() const { return lines_ > 0; }
  /// What the stream is instead of what was expected, if that ended it.
  const std::optional<statemachine::FailedCheck>& wrong() const { return wrong_; }
  // Of all batches, if there was one.
  Address first() const { return first_; }
  Address last() const { return last_; }
  Epoch epoch() const { return epoch_; }
  Address end() const { return end_; }
  /// Nothing: the cluster does not know transactions yet.
  struct Versions {
    uint64_t first = 0, last = 0;
    bool replayed = true;        // all of them
    bool some_replayed = false;  // the batches' addresses are not all those of the events
  };
  const std::optional<Versions>& versions() const { return versions_; }

 private:
  Result<> add(std::string_view line, uint64_t number);
  Result<> send();
  Result<> send_events();
  Result<> send_plainly();
  void note(const rpc::AppendAnswer& answer);
  std::string known(const Error& error) const;
  std::string longest_line(const Error& error) const;
  void show_progress();

  rpc::Client& client_;
  const AppendLines& what_;
  const std::string& name_;
  Random random_;
  bool plainly_ = false;  // as records without a stream's index
  rpc::ExpectedStream expected_;

  std::vector<OwnedEvent> batch_;
  size_t batch_bytes_ = 0;

  uint64_t lines_ = 0;
  std::optional<statemachine::FailedCheck> wrong_;
  Address first_, last_, end_;
  Epoch epoch_;
  std::optional<Versions> versions_;
  SteadyTime shown_ = system_clock().now();
  bool line_open_ = false;
};

}  // namespace tailrace::app
