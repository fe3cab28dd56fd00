#pragma once
// A client's connection on the server: decodes requests, hands them to their handlers
// (handle_*.cc), and gathers the answers. All on its io thread. Internal.

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>

#include <asio/steady_timer.hpp>

#include "rpc/server/io_thread.h"
#include "rpc/server/memory_budget.h"
#include "rpc/server/status_of_turn.h"
#include "rpc/wire/framed_socket.h"
#include "rpc/wire/message.h"
#include "rpc/wire/schema/client.capnp.h"

namespace tailrace::rpc {

class Connection : public FramedSocket {
 public:
  Connection(asio::ip::tcp::socket socket, IoThread& thread);
  /// The members have changed: says hello once more, so that the client knows where it may go.
  void tell_members();
  /// Begins to read; a client that does not say hello in time gives its place to another.
  void begin();

  void answer_command(const PendingCommand& pending, const statemachine::Answer* answer,
                      StageTimes::Sample sample);
  void answer_unknown(const PendingCommand& pending);
  /// What was held is offered again; the node may have another role by now.
  void try_again();
  /// True when it was not touched yet in this turn.
  bool mark_touched() { return !std::exchange(touched_, true); }
  /// After answers were flushed: reads on if the limit of requests in flight held it.
  void answered();
  /// Pushes records to each subscription as far as its credit goes.
  void pump_tails();
  /// How far its slowest tail is behind what may be shown; nothing: it has none.
  std::optional<uint64_t> tail_lag() const;
  /// Called about once a second: ends the connection when its time is over (see ServerOptions).
  void look_at_time(SteadyTime now);
  /// Whether it has one of the max_connections places: not before it has asked for something that
  /// is none of an operator's requests. `number`: how many came to this thread before it.
  bool has_place() const { return has_place_; }
  uint64_t number() const { return number_; }
  SteadyTime came() const { return came_; }
  /// For how long nobody has asked anything; nothing: something is under way, or is tailed.
  std::optional<std::chrono::nanoseconds> idle_for(SteadyTime now) const;
  /// For how long it has done nothing but wait, where that is so long that others may have its
  /// place: for news without credit to be told of them, or for a state that does not come.
  std::optional<std::chrono::nanoseconds> waits_in_vain_for(SteadyTime now) const;

 private:
  /// What an answer needs to know of its request.
  struct Asked {
    uint64_t id = 0;
    RequestKind kind = RequestKind::kPut;
    SteadyTime started;
  };
  /// A tail: a scanner in the log, and how many bytes the client will still take.
  struct Subscription {
    Asked asked;
    std::unique_ptr<fasterlog::LogScanner> scanner;  // only while it is read from: it has memory
    Address position, to;
    int64_t credit = 0;
    size_t large = 0;    // bytes of the next record, which had no room; else 0
    bool shown = false;  // a record was pushed
  };
  enum class Pumped { kIdle, kMore, kNoRoom, kEnded };

  Take on_frame(capnp::MessageReader& message) override;
  Take take_frame(capnp::MessageReader& message);
  void on_frames_taken() override;
  void on_written() override;
  bool wants_written() const override;
  void on_sent() override { tell_answered(); }
  void on_closed(const std::string& reason) override;
  bool may_buffer(size_t bytes) override;

  /// Whether a request of that kind has to wait for memory, or for its place.
  bool held_for_limits();
  /// Tells the budget what this connection holds.
  void account();
  /// Whether it may hold so much more; else it is looked at again.
  bool has_room_for(size_t bytes);
  /// Calls it once there is room for what it will send.
  void answer_when_room(std::function<void(Connection&)> answer);
  struct WaitingAnswer {
    size_t bytes;  // of its value, if that is long and is known
    std::function<void(Connection&)> answer;
  };
  void answer_what_waits();
  bool has_room_for_answer();
  /// What is none of an operator's requests needs a place. It waits for that of an idle connection,
  /// for a moment; then it is refused.
  enum class Place { kHas, kWaits, kRefused };
  Place place_for(wire::Request::Reader request);
  void leave_unplaced();
  Take dispatch(wire::Request::Reader request);
  void handle_hello(uint64_t id, wire::Hello::Reader hello);
  void fill_hello(wire::Hello::Builder ours);
  Take handle_command(uint64_t id, wire::Command::Reader request);
  Take handle_append(uint64_t id, wire::Append::Reader request);
  void handle_get(uint64_t id, wire::Get::Reader request);
  Take handle_scan(uint64_t id, wire::Scan::Reader request);
  Take handle_read_stream(uint64_t id, wire::ReadStream::Reader request);
  Take handle_list_streams(uint64_t id, wire::ListStreams::Reader request);
  Take handle_mget(uint64_t id, wire::Mget::Reader request);
  Take handle_history(uint64_t id, wire::History::Reader request);
  Take handle_remains(const Asked& asked, wire::History::Reader request);
  void handle_tail(uint64_t id, wire::Tail::Reader request);
  void handle_credit(uint64_t id, uint64_t bytes);
  void cancel_tail(uint64_t id);
  void handle_status(uint64_t id);
  void handle_checkpoint(uint64_t id);
  Take handle_digest(uint64_t id, wire::Digest::Reader request);

  /// Nothing when this node leads and serves; else the error was answered.
  bool refuse_unless_leader(const Asked& asked);
  /// Nothing when all members know the operation; else the error was answered.
  bool refuse_unless_known(const Asked& asked, statemachine::Operation operation);
  /// Whether too much waits to be applied for another command to be taken now.
  bool held_for_backlog();
  /// Whether another digest is under way.
  bool held_for_digest();
  /// In the epoch of the status that let them in: a pending answer, a hold, or an error answered.
  struct Admitted {
    uint64_t extra = 0, answer_bytes = 0;  // as CommandAsker has them
    size_t events = 0;                     // in one record of a transaction
  };
  Take enqueue(const Asked& asked, std::span<const fasterlog::RecordView> records,
               Admitted admitted);
  Result<Admitted> admit(const statemachine::Command& command, size_t payload_bytes);
  void answer_cold_get(const Asked& asked, std::string key, wire::ReadLevel level);
  /// Whether one more value may be read from the disk for it: the value counts from then on.
  bool has_room_for_cold_read();
  void read_cold(const Asked& asked, const std::string& key, wire::ReadLevel level);
  /// The state of now. To be asked before the state is read: what is read then is this or newer.
  ShownState shown_state();
  statemachine::LogPoint shown_point();
  /// As begin_response(), but with what was known before the state was read: what the node knows by
  /// now may lack in it.
  wire::Response::Builder begin_read(OutgoingMessage& message, uint64_t id,
                                     const ShownState& shown);
  void answer_scan(const Asked& asked, const ScanTable::Slice& slice);
  /// What a read asks of the state that it is answered from.
  struct ReadNeeds {
    wire::ReadLevel level = wire::ReadLevel::LINEARIZABLE;
    Address address;  // atLeast
    Epoch epoch;
    uint64_t staleness_ms = 0;  // bounded
    SteadyTime deadline;
  };
  template <typename Reader>
  ReadNeeds needs_of(Reader request) const {
    return {request.getLevel(), Address{request.getAddress()}, Epoch{request.getEpoch()},
            request.getStalenessMs(), deadline(request.getTimeoutMs())};
  }
  /// For reads that other threads do (handle_streams.cc).
  template <typename Answer>
  struct Elsewhere;
  template <typename Answer>
  Take read_elsewhere(const Asked& asked, const ReadNeeds& needs, Elsewhere<Answer> read);
  template <typename Answer>
  void begin_elsewhere(const Asked& asked, Elsewhere<Answer> read);
  void answer_get(const Asked& asked, ByteSpan key, const ReadNeeds& needs);
  void answer_get_later(const Asked& asked, ByteSpan key, const ReadNeeds& needs,
                        size_t value_bytes);
  /// Whether the read cannot be answered here at all; then the error was.
  bool refuse_unhealthy(const Asked& asked);
  Result<> check_health();
  Result<> check_member();
  /// All of them, with that error.
  void end_tails(const Error& error);
  bool refuse_read(const Asked& asked, const ReadNeeds& needs);
  bool readable_now(const ReadNeeds& needs);
  /// Of a state that is new enough: whether it holds what `needs` names.
  Result<> check_point(const ReadNeeds& needs) const;
  /// What is done with it once it may be answered, or with the reason why not. It is kept here, so
  /// that what it holds goes with the connection.
  struct WaitingRead {
    ReadNeeds needs;
    size_t key_bytes;  // that `then` keeps
    std::function<void(Connection&, Result<>)> then;
    AppliedWaiters::Id waiter = 0;
  };
  /// Calls `then` on this thread, see WaitingRead.
  void when_readable(const ReadNeeds& needs, size_t key_bytes,
                     std::function<void(Connection&, Result<>)> then);
  void read_arrived(uint64_t wait, Result<> arrived);
  /// 2^64-1: unknown.
  uint64_t staleness_bound_ms();
  /// Answers `done`, or the error, once it is called. Any thread.
  std::function<void(Result<>)> answer_done(const Asked& asked);
  void handle_transfer(uint64_t id, NodeId to);
  void handle_promote(uint64_t id);
  void handle_change_member(uint64_t id, wire::MemberChange::Reader change);
  Pumped pump(Subscription& subscription);
  /// From where it stands. Reads ahead no further than there is something to read, and than pushes
  /// of that size send.
  std::unique_ptr<fasterlog::LogScanner> scan_to(const Subscription& subscription, Address limit,
                                                 size_t push);

  /// Epoch, applied and freshness on every answer, as they are now.
  wire::Response::Builder begin_response(OutgoingMessage& message, uint64_t id);
  static wire::Response::Builder begin_response(OutgoingMessage& message, uint64_t id,
                                                statemachine::LogPoint point, uint64_t bound_ms);
  void reply(const Asked& asked, OutgoingMessage& message, StageTimes::Sample sample = {});
  /// Its answer is what was sent last: counted when the system has it.
  void answered_with(const Asked& asked, RequestCounts::Place place,
                     StageTimes::Sample sample = {});
  void tell_answered();
  /// The rest: what the system never had took no time.
  void forget_answered();
  /// As clients may read it: without the folders of files (withheld.h).
  std::string shown(const std::string& message) const;
  /// What a client is told of it. Where that is less, the whole is in this node's log.
  Error told(const Error& error);
  /// `try_another`: it is about this node, and another one may answer.
  void reply_error(const Asked& asked, const Error& error, bool try_another = false);
  void send_error(const Asked& asked, const Error& error, bool elsewhere);
  /// A read whose state did not come. That this node has not applied what was named is no failure
  /// of the cluster: it counts as one that another node may answer.
  void reply_unreadable(const Asked& asked, wire::ReadLevel level, const Error& error);
  bool refuse_beyond_end(const Asked& asked, const ReadNeeds& needs);
  /// `key_bytes`: of the key or prefix that is kept until the request has its answer.
  void began(size_t key_bytes = 0) {
    ++in_flight_, thread_.counts().began();
    keys_in_flight_bytes_ += key_bytes;
  }
  void ended(size_t key_bytes = 0) {
    --in_flight_, thread_.counts().ended();
    keys_in_flight_bytes_ -= key_bytes;
  }
  /// Runs `then` on the io thread with this connection, if both are still there. Any thread.
  std::function<void(std::function<void(Connection&)>)> come_back();
  const replication::NodeStatus& status();
  SteadyTime deadline(uint32_t timeout_ms) const;

  IoThread& thread_;
  ServerContext& context_;
  StatusOfTurn status_;
  asio::steady_timer hello_timer_;
  uint32_t in_flight_ = 0;
  // Among these; the scans are slices of them, and other reads on other threads.
  uint32_t scans_in_flight_ = 0, cold_in_flight_ = 0;
  uint64_t answers_in_flight_bytes_ = 0;                        // of commands, at most
  uint32_t digests_in_flight_ = 0, checkpoints_in_flight_ = 0;  // and these
  size_t keys_in_flight_bytes_ = 0;                             // of all these
  /// The frame that is being taken: when it was offered first, and this time.
  SteadyTime arrived_{}, taken_{};
  bool frame_held_ = false;
  bool greeted_ = false, touched_ = false, held_for_limit_ = false, pump_posted_ = false;
  bool has_place_ = false, tail_has_no_room_ = false;
  const uint64_t number_;
  const SteadyTime came_ = std::chrono::steady_clock::now();
  std::map<uint64_t, Subscription> subscriptions_;
  std::unordered_map<uint64_t, WaitingRead> waiting_reads_;
  uint64_t last_wait_ = 0;
  const Turns::Asker asker_;                      // of the threads that read
  std::deque<WaitingAnswer> to_answer_;           // reads whose answers have no room yet
  std::optional<SteadyTime> place_wanted_since_;  // it has none but an operator's
  std::optional<SteadyTime> no_room_since_;       // the store has had none for this one's commands
  MemoryShare memory_;
  /// What was answered, while the system does not have the answer.
  struct Answered {
    uint64_t end;  // of the answer: FramedSocket::stream_end()
    SteadyTime started;
    StageTimes::Sample sample;
    RequestCounts::Place place;
    RequestKind kind;
  };
  std::vector<Answered> answered_;
  SteadyTime used_ = std::chrono::steady_clock::now();
  SteadyTime pushed_{};  // when a tail was sent something last
  struct {
    uint64_t progress = UINT64_MAX;  // nothing yet
    SteadyTime since;
  } sending_;  // what look_at_time() saw
};

}  // namespace tailrace::rpc
