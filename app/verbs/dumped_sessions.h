#pragma once
// Which commands of a dump were applied when they were in their log: what statemachine's
// SessionTable decided then, decided again from the dump. A command that the log has did nothing
// when it was a repeat, when its session had a gap before it, and when that session had ended, or
// never begun.
//
//   serials  A session begins with serial 1 and goes on without a gap. Behind damage a gap says
//            nothing.
//   times    Sessions end by log time, which the lines of `log dump` bring (log_time_ns of the mark
//            that ends the batch), by the rules, which are records themselves.
//   unknown  A dump that does not begin where its log began, or lacks a part, shows sessions in the
//            middle: whether those commands were applied nobody can tell.
//
// One thread.

#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <string>

#include "app/cli/dumped_record.h"
#include "statemachine/types/rules.h"

namespace tailrace::app {

class DumpedSessions {
 public:
  enum class Verdict { kApplied, kDidNothing, kUnknown };

  /// Each line once, in the order of the dump.
  Verdict take(const DumpedLine& line);
  /// Whether commands of sessions were taken for applied that may have expired: there was no time.
  bool expiry_unknown() const { return expiry_unknown_; }

 private:
  struct Session {
    std::string client;
    uint64_t serial = 0;    // the last that was applied
    uint64_t damages = 0;   // damages_ when that was taken
    uint64_t time_ns = 0;   // log time then
    uint64_t bound_ns = 0;  // of its first command
    bool unknown = false;   // its beginning was not shown
  };
  using Place = std::list<Session>::iterator;

  void pass_mark(const DumpedLine& line);
  void log_time_moved(uint64_t to_ns);
  Verdict begin(const DumpedLine& line);
  Verdict go_on(const DumpedLine& line, Place place);
  void evict_beyond_limits();
  void remove(Place place);

  bool first_ = true;
  bool whole_ = false;  // it begins where the log began, and no session ended by a guess
  uint64_t damages_ = 0;
  // Of the batch that is being taken; log time moves when it is over.
  Address batch_;
  uint64_t batch_time_ns_ = 0;
  uint64_t now_ns_ = 0;
  statemachine::Rules rules_;
  bool rules_in_log_ = false;
  std::list<Session> sessions_;  // the one that was used last is last
  std::map<std::string, Place, std::less<>> by_client_;
  uint64_t floor_ns_ = 0;               // the greatest bound of one that was evicted
  std::optional<uint64_t> unbound_ns_;  // the last use of one without a bound that was evicted
  bool expiry_unknown_ = false;
};

}  // namespace tailrace::app
