#pragma once
// A history of records that a real node applies one step at a time, and the page that says what
// came of each step: the answers, what changed in the store, and the digest of the state.

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/statemachine/harness.h"
#include "tests/statemachine/history/written.h"
#include "tests/support/fault_file_system.h"

namespace tailrace::statemachine::history {

/// Log time of a part's first mark, as a rule, and the ttl of its sessions.
inline constexpr uint64_t kStart = 10'000 * kSecond, kTtl = 1600 * kSecond;

class History {
 public:
  History();

  /// What the commit marks from here on say.
  void set_time(uint64_t ns) { time_ns_ = ns; }
  uint64_t time() const { return time_ns_; }
  /// One batch: the records and a commit mark. All of it is applied.
  void step(const std::string& why, const std::vector<Written>& records);
  /// One batch that is not applied to its end: the page has the kind of the failure, and the
  /// digest. The next step finds a new node with an empty log.
  void stops_at(const std::string& why, const std::vector<Written>& records);
  /// A new node with an empty log.
  void begin_anew(const std::string& title);
  /// Of the batches that follow.
  void set_epoch(uint64_t epoch) { epoch_ = Epoch{epoch}; }

  const std::string& page() const { return page_; }
  /// What the records did that were applied.
  const std::set<uint8_t>& operations() const { return operations_; }
  const std::set<Outcome>& outcomes() const { return outcomes_; }

 private:
  struct Batch {
    std::vector<std::byte> bytes;
    std::vector<AddressRange> ranges;  // of the records
    Address end;
  };

  void open();
  Batch lay_out(const std::vector<Written>& records) const;
  bool append(const Batch& batch);
  void show_answers(const Batch& batch, const std::vector<Written>& records, Address applied);
  void show_changes();
  void show_digest();
  Pairs all_pairs();

  std::unique_ptr<testing::FaultFileSystem> disk_;
  ManualClock clock_;
  std::unique_ptr<fasterlog::Log> log_;
  std::unique_ptr<Replica> replica_;
  Epoch epoch_{1};
  uint64_t time_ns_ = 0;
  Pairs shown_;
  std::string page_;
  std::set<uint8_t> operations_;
  std::set<Outcome> outcomes_;
};

// The parts, each with a page of its own.
void keys(History& history);
void numbers_in_values(History& history);
void comparing(History& history);
void expiry(History& history);
void without_effect(History& history);
void sessions(History& history);
void answers(History& history);
void beginnings(History& history);
void ends(History& history);
void limits(History& history);
void transactions(History& history);
void broken(History& history);

}  // namespace tailrace::statemachine::history
