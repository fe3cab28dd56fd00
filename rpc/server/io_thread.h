#pragma once
// One io_context with its thread, the connections dealt to it, and what they wait for. Internal.

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <thread>
#include <vector>

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>

#include "core/mutex.h"
#include "net/loop_watch.h"
#include "rpc/server/answer_desk.h"
#include "rpc/server/checkpoint_desk.h"
#include "rpc/server/cold_reads.h"
#include "rpc/server/digest_table.h"
#include "rpc/server/measure/probe.h"
#include "rpc/server/measure/stage_times.h"
#include "rpc/server/memory_budget.h"
#include "rpc/server/refused_writes.h"
#include "rpc/server/scan_table.h"
#include "rpc/server/server.h"
#include "rpc/server/streams/read_threads.h"
#include "rpc/server/withheld.h"
#include "rpc/wire/status.h"

namespace tailrace::rpc {

class Connection;

/// Who waits for a command's answer.
struct CommandAsker {
  std::weak_ptr<Connection> connection;
  uint64_t id = 0;  // of the request
  RequestKind kind = RequestKind::kPut;
  SteadyTime started;
  uint64_t extra = 0;         // statemachine::extra_store_bytes()
  uint64_t answer_bytes = 0;  // of the answer at most, beside what each has
  StageTimes::Tag tag = 0;
};
using PendingCommand = Pending<CommandAsker>;

/// What all io threads share.
struct ServerContext {
  ServerContext(ServerOptions server_options, ServerDependencies dependencies)
      : options(std::move(server_options)),
        to(dependencies),
        scans(*to.state_machine, options.max_value_bytes, options.scan_idle_timeout,
              options.scan_lifetime),
        digests(*to.log, *to.state_machine),
        checkpoints([machine = to.state_machine](std::function<void(Result<Address>)> done) {
          machine->request_checkpoint(std::move(done));
        }),
        memory(options.memory_bytes) {}

  /// Connections that have asked for nothing but what operators ask take up no place, so whoever
  /// only comes keeps nobody out. Beyond so many, who asks nothing for a moment makes room for the
  /// next, and then who has been there for longest, whatever is still owed to it.
  bool too_many_unplaced() const { return unplaced.load() >= options.max_unplaced; }
  /// Since when newcomers have found too many there, with no lull in between.
  std::atomic<SteadyTime> crowded_since{};

  ServerOptions options;
  ServerDependencies to;
  const SteadyTime started = std::chrono::steady_clock::now();
  Probe probe;
  ScanTable scans;
  ReadThreads reads;
  DigestTable digests;
  CheckpointDesk checkpoints;
  MemoryBudget memory;
  WithheldMessages withheld;
  std::atomic<int64_t> unplaced{0};         // connections that have no place
  std::atomic<uint64_t> tails{0};           // subscriptions of all connections
  std::atomic<int64_t> extra_in_flight{0};  // of all commands whose answers are owed
  RefusedWrites refusals;
  /// Has every thread close a connection that is idle. Any thread.
  std::function<void()> want_place;
  /// What the server has done and holds, as of a moment ago: for all who ask meanwhile
  /// (activity.cc).
  struct {
    Mutex mutex;
    SteadyTime at TAILRACE_GUARDED_BY(mutex){};
    std::shared_ptr<const NodeStatusAnswer::Activity> newest TAILRACE_GUARDED_BY(mutex);
  } activity;
  /// The digest command that this server has taken last.
  struct {
    std::atomic<Address> end{};
    std::atomic<SteadyTime> time{};
  } digests_asked;
};

/// Posts to an io_context from threads that may outlive it. Any thread.
class Poster {
 public:
  explicit Poster(asio::io_context& io) : io_(&io) {}
  void post(std::function<void()> function);
  void close();

 private:
  Mutex mutex_;
  asio::io_context* io_ TAILRACE_GUARDED_BY(mutex_);  // null after close()
};

class IoThread {
 public:
  explicit IoThread(ServerContext& context);
  ~IoThread();

  void start();
  /// Closes every connection and joins.
  void stop();

  // ---- Any thread.
  void applied(std::shared_ptr<const statemachine::AppliedBatch> batch);
  /// Any thread; clients are told.
  void members_changed();
  /// `applied`: when it changed.
  void role_changed(Epoch epoch, bool leads, statemachine::LogPoint applied);
  /// The following ask the thread and wait for it: not to be called from it. No frame is taken once
  /// this has returned.
  void stop_reading();
  /// Whether every answer was handed to the operating system.
  bool all_sent();
  /// Ends every connection so that its other side gets what was sent; see close_after_sending().
  void close_after_sending();
  asio::io_context& io() { return io_; }
  const std::shared_ptr<Poster>& poster() const { return poster_; }

  // ---- On its thread.
  ServerContext& context() { return context_; }
  /// Each handler is a turn of its own; what many sockets bring at once is one (net/readiness.h).
  uint64_t turn() const { return turn_; }
  void adopt(asio::ip::tcp::socket socket);
  /// Closes the connection with a place that is idle for longest, if that is for long enough, or
  /// else the one that has waited in vain for longest (connection.h); and,
  /// if `unplaced`, those without a place that ask nothing, or else the one that came first.
  void make_room(bool unplaced);
  uint64_t next_number() { return ++last_number_; }
  /// The connection has a place now, or has ended; false when it was forgotten before.
  bool forget_unplaced(uint64_t number) { return unplaced_.erase(number) != 0; }
  void forget(const std::shared_ptr<Connection>& connection);
  AnswerDesk<CommandAsker>& desk() { return desk_; }
  StageTimes& stages() { return stages_; }
  RequestCounts& counts() { return counts_; }
  /// How far the slowest tail was behind when that was looked at last; nothing: there is none. Any
  /// thread.
  std::optional<uint64_t> tail_lag() const;
  /// What commands may cost the store beyond the rule of thumb, when they are taken, and less when
  /// they are applied or are not this epoch's any more. All threads' sum is told in steps.
  void note_cost(int64_t change);
  ColdReads& cold_reads() { return cold_reads_; }
  /// Runs `callback` when applied and epoch are there; may be at once, then 0 is returned.
  AppliedWaiters::Id when_applied(Address applied, Epoch epoch, SteadyTime deadline,
                                  AppliedWaiters::Callback callback);
  void forget_waiter(AppliedWaiters::Id id) { desk_.waiters().forget(id); }
  /// As Node::confirm_leadership; whoever asks while an answer is on its way shares the next.
  using Confirmed = std::function<void(const Result<Address>&)>;
  void confirm_leadership(SteadyTime deadline, Confirmed callback);
  /// The log's buffer was full: resumes the connection in a moment.
  void resume_soon(std::weak_ptr<Connection> connection);
  /// It holds a frame for a while, perhaps a long one: offered again now and then, `when_applied`
  /// also when more is; and closed when its other side has gone, so that those who come and go
  /// meanwhile do not take up all places.
  void look_again(std::weak_ptr<Connection> connection, bool when_applied);
  void set_tailing(Connection& connection, bool tailing);
  /// Whether the records around an address may be looked for now: a batch may be long, and others
  /// wait meanwhile. Only so often, whoever asks.
  bool may_look_around();
  /// It was sent something outside its own frames: flushed at the end of this turn.
  void touch(std::shared_ptr<Connection> connection);
  std::vector<std::byte>& encode_buffer() { return encode_buffer_; }
  /// What something large has blown up is given back.
  void trim_encode_buffer() {
    if (encode_buffer_.capacity() > kKeptBufferBytes) std::vector<std::byte>().swap(encode_buffer_);
  }

 private:
  static constexpr size_t kKeptBufferBytes = 4u << 20;

  void take_inbox();
  void run_waiters();
  void answer_unknown(const PendingCommand& pending);
  void settle();  // flushes what was touched, lets go of expectations
  void arm_ticker();
  void arm_held_timer();
  void arm_clock();
  void evict_idle(SteadyTime now);
  void evict_unplaced(SteadyTime now);
  void try_waiting();
  void ask_confirmation();

  ServerContext& context_;
  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::shared_ptr<Poster> poster_;
  std::thread thread_;

  AnswerDesk<CommandAsker> desk_;
  RequestCounts& counts_;
  StageTimes stages_;
  ColdReads cold_reads_;
  net::LoopWatch loop_watch_;
  std::atomic<uint64_t> tail_lag_{UINT64_MAX};  // UINT64_MAX: there is no tail

  // On its thread only.
  uint64_t turn_ = 1;
  std::set<std::shared_ptr<Connection>> connections_;
  std::map<uint64_t, Connection*> unplaced_;  // those without a place, as they came
  uint64_t last_number_ = 0;                  // of the connections
  SteadyTime evicted_{};                      // when evict_idle() looked last
  SteadyTime unplaced_evicted_{};             // and evict_unplaced()
  SteadyTime looked_around_{};                // up to when may_look_around() has used its time
  std::set<Connection*> tailing_;
  std::vector<std::shared_ptr<Connection>> touched_;
  std::vector<std::weak_ptr<Connection>> waiting_for_room_;
  std::vector<std::weak_ptr<Connection>> waiting_for_applied_;
  std::set<std::weak_ptr<Connection>, std::owner_less<>> held_;
  bool looking_at_held_ = false;
  asio::steady_timer room_timer_, held_timer_, ticker_, clock_;
  std::vector<Confirmed> unasked_;  // confirmations for the next question
  SteadyTime unasked_deadline_;
  bool confirming_ = false;  // a question is on its way
  bool ticking_ = false;
  int64_t cost_ = 0, cost_told_ = 0;
  bool waiters_go_on_ = false;  // what was ready and did not fit into one turn
  bool reading_stopped_ = false;
  std::vector<std::byte> encode_buffer_;
};

}  // namespace tailrace::rpc
