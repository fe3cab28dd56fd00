#pragma once
// What clients ask of digests on this server: the state's at an address, and the log's below it.
// Internal.
//
// One thread of its own does the work, one question at a time, in turn the newest and the one that
// has waited for longest: so who asks now and then is answered soon, however many others ask. Who
// asks the same waits for the same answer, and the last answers are kept. A question whose askers
// have all gone is given up, and the end of the server waits for none.

#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "core/mutex.h"
#include "fasterlog/log.h"
#include "statemachine/state_machine.h"

namespace tailrace::rpc {

class DigestTable {
 public:
  struct Question {
    Address address;   // of a digest command that is applied
    Address log_from;  // 0: the log's begin
    bool operator==(const Question&) const = default;
  };
  struct Answer {
    Address begin;  // of the log, before it was read
    statemachine::StateDigest state;
    std::pair<uint64_t, uint64_t> log;
  };
  using Done = std::function<void(const Result<Answer>&)>;
  struct Asker {
    std::weak_ptr<void> wanted;  // nobody waits any more once it has gone
    SteadyTime deadline;         // a state's digest that is still computed then: kWouldBlock
    Done done;                   // on the table's thread
  };

  static constexpr size_t kMostAskers = 4096;

  DigestTable(fasterlog::Log& log, const statemachine::StateMachine& machine);
  ~DigestTable();

  /// Any thread. kResourceExhausted at once while too many wait.
  void ask(Question question, Asker asker);
  /// Nothing is called after it.
  void stop();

 private:
  struct Waiting {
    Question question;
    std::vector<Asker> askers;
    SteadyTime asked;  // first
  };
  void run();
  /// Brings the next question to the front, from where it is answered.
  void choose_next() TAILRACE_REQUIRES(mutex_);
  /// kWouldBlock while the state's digest is still computed.
  Result<Answer> answer(const Question& question);
  Result<Answer> with_log(const Question& question, const statemachine::StateDigest& state);
  bool anyone_waits(const Question& question) TAILRACE_EXCLUDES(mutex_);
  void drop_gone(std::vector<Asker>& askers) TAILRACE_REQUIRES(mutex_);
  void drop_all_gone() TAILRACE_REQUIRES(mutex_);
  /// Of the question in front: takes out all, or those whose deadline has come; it goes behind the
  /// others then.
  std::vector<Asker> take_askers(const Question& question, bool all) TAILRACE_EXCLUDES(mutex_);

  fasterlog::Log& log_;
  const statemachine::StateMachine& machine_;
  std::deque<std::pair<Question, Answer>> kept_;  // of the thread only

  Mutex mutex_;
  Condition changed_;
  std::deque<Waiting> waiting_ TAILRACE_GUARDED_BY(mutex_);
  size_t askers_ TAILRACE_GUARDED_BY(mutex_) = 0;
  bool newest_first_ TAILRACE_GUARDED_BY(mutex_) = false;
  bool stopping_ TAILRACE_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace tailrace::rpc
