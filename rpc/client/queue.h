#pragma once
// The requests of one client to one destination (the leader, any server, or one server): finds and
// dials it, sends in order, sends again what may be sent again, and answers each request exactly
// once. Internal.

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <asio/steady_timer.hpp>

#include "core/clock.h"
#include "core/mutex.h"
#include "core/random.h"
#include "core/shared_bytes.h"
#include "rpc/client/client.h"
#include "rpc/client/connection.h"
#include "rpc/client/loop.h"
#include "rpc/client/server_search.h"

namespace tailrace::rpc {

/// One request with all that is needed to send it again.
struct ClientRequest {
  enum class Verb {
    kCommand,
    kAppend,
    kGet,
    kStatus,
    kCheckpoint,
    kDigest,
    kScan,
    kTransfer,
    kPromote,
    kSetMember,
    kRemoveMember,
    kReadStream,
    kListStreams,
    kMget,
    kHistory
  };
  Verb verb = Verb::kGet;
  wire::Operation operation = wire::Operation::NONE;
  std::string key;  // or the stream
  std::string value, expected;
  /// A large value, in place of `value`: sent from where it is. Whole words; the value is the first
  /// so many bytes.
  SharedBytes words;
  size_t words_used = 0;
  int64_t delta = 0;
  uint64_t time_to_live_ms = 0;
  uint64_t scan = 0, slice = 0;       // scan; the prefix is in `key`
  uint32_t pairs = 0;                 // scan: at most
  std::vector<uint32_t> event_sizes;  // append: of the events in `value`; mget: of the keys there
  /// readStream: the stream is in `key`; listStreams: its prefix is, and in `value` what they come
  /// behind.
  std::optional<uint64_t> from;
  bool backwards = false;
  uint32_t most = 0;  // events, streams, files; of a piece: bytes
  HistoryFile file;   // history: of a piece, which begins at `from`; or files, from `address` on
  ReadOptions read;
  Address address, log_from;  // digest
  NodeId node;                // transfer: to whom; removeMember: whom
  NodeStatusAnswer::Member member;
  SteadyTime deadline;
  std::function<void(Result<wire::Response::Reader>)> done;

  // The queue's own.
  statemachine::SessionSerial session;  // serial 0: none yet
  bool sent_before = false;             // an earlier attempt may have reached a server
  bool put_off = false;                 // a server sent it on to another; problem_ says why
};

/// Of what is asked for when the client ends.
Error closed_error();

/// What the parts of one client share. They keep it: some end after the client, when what they have
/// asked the loop for has ended.
struct ClientContext {
  ClientContext(Loop& its_loop, ClientOptions its_options)
      : loop(its_loop), options(std::move(its_options)) {
    options.runtime = nullptr;  // a runtime does not keep itself
  }

  Loop& loop;
  ClientOptions options;  // const from now on
  KnownCluster cluster;   // of the loop's thread
};

/// Owned by a shared_ptr. Answers may end the client, and with it shut the queue down: whatever
/// calls finish() looks at shut_down_ afterwards.
class RequestQueue : public std::enable_shared_from_this<RequestQueue>, DeadlineList::Entry {
 public:
  enum class Route { kLeader, kAny, kOne };
  RequestQueue(std::shared_ptr<ClientContext> context, Route route,
               std::vector<std::string> servers);

  /// Any thread. Requests are sent in the order of the calls. On the loop's own thread it takes no
  /// lock and wakes nobody. None is answered before this returns, unless another thread submits to
  /// a queue that is closed.
  void submit(ClientRequest request);
  /// Any thread: what other threads than the loop's submit from now on is refused with kClosed by
  /// submit() itself.
  void close_inbox();
  /// On the loop's thread: every request fails with kClosed. What the answers ask for is kept for
  /// fail_late().
  void shut_down();
  /// On the loop's thread, after shut_down() of all queues of the client: fails what was asked for
  /// meanwhile. What is asked for after that is dropped, or an answer that always asks again would
  /// do so for ever.
  void fail_late();

 private:
  void on_deadline() override;
  void take_inbox();
  void empty_inbox();
  void fail_all();
  /// To be finished with this error by finish_ending().
  void end(ClientRequest request, Error error);
  void finish_ending();
  void take_later();
  void search();
  /// Whether another queue has found a server, or looks for one: then that is told later.
  bool search_with_others();
  void wake_others();
  void take(const std::shared_ptr<ClientConnection>& connection);
  std::shared_ptr<ClientConnection> leave_connection();
  void search_later();
  void stop_searching();
  /// Whether it is a server for these requests; then it is theirs.
  bool on_hello(const std::shared_ptr<ClientConnection>& connection, const ServerHello& hello);
  void on_search_failed(const Error& error);
  void on_response(wire::Response::Reader response);
  /// Finishes the request, or puts it back to be sent again. May throw kj::Exception (a malformed
  /// answer): then it has done neither. `tried`: what tried_ was before this answer.
  void settle(uint64_t id, ClientRequest& request, wire::Response::Reader response, size_t tried);
  void on_closed(const Error& error);
  void next_server(const std::string& hint);
  /// Where the members are, as a server says: who seeks the leader tries them after those that were
  /// given.
  void learn(const std::vector<std::string>& members);
  void send_queued();
  void write_request(uint64_t id, ClientRequest& request);
  /// Makes a transaction of an append that was not sent yet, where the cluster knows them: its
  /// events are found by their stream then, and sent again it is applied once.
  Result<> make_txn(ClientRequest& request) const;
  /// The server refused it; it was not enqueued in this attempt.
  void refused(ClientRequest request, const Error& error);
  /// It goes back to where it stood, to be sent again once all others in flight are settled.
  void bounce(uint64_t id, ClientRequest request);
  void settle_bounced();
  void new_session();
  /// As a server says: what a session's first command is bound by (statemachine/types/rules.h).
  void take_bound(uint64_t log_time_ns, uint64_t session_ttl_ns);
  bool may_send_again(const ClientRequest& request) const;
  void finish(ClientRequest& request, Result<wire::Response::Reader> result);
  void arm_deadline();
  /// A server that is stopped keeps its connections: asked for a sign of life, it is left.
  void check_silence();
  void expire();

  const std::shared_ptr<ClientContext> context_;
  const Route route_;
  Mutex inbox_mutex_;
  std::vector<ClientRequest> inbox_ TAILRACE_GUARDED_BY(inbox_mutex_);  // from other threads
  bool inbox_closed_ TAILRACE_GUARDED_BY(inbox_mutex_) = false;
  std::atomic<bool> inbox_filled_{false};  // changes with the lock held

  // On the loop's thread only.
  std::vector<ClientRequest> own_inbox_;  // from that thread, after what is in inbox_
  bool takes_later_ = false;              // take_inbox() is to be called soon
  bool failing_ = false;                  // until fail_late() empties own_inbox_
  /// They have ended, and are told so one after the other. Not in a local variable: when an answer
  /// ends the client, its end waits for calls that are among the others.
  std::deque<std::pair<ClientRequest, Error>> ending_;
  std::vector<std::string> servers_;  // those that were given, then those that were learnt
  const size_t given_;                // so many
  size_t server_ = 0;
  std::string hint_;                      // where the leader is said to be; tried first, once
  size_t tried_ = 0;                      // servers that were left since the last success
  std::string problem_;                   // of the last attempt
  std::string said_;                      // by the last server that answered and does not lead
  std::shared_ptr<ServerSearch> search_;  // while there is no connection
  /// What the next search begins with (ServerSearch::set_patience).
  std::chrono::milliseconds patience_ = kDialTime;
  std::shared_ptr<ClientConnection> connection_;  // it has said hello
  size_t member_ = 0;                             // of the connection
  std::shared_ptr<SharedSearch> shared_;          // of a client that shares connections; else null
  bool waits_for_others_ = false;
  bool pausing_ = false, shut_down_ = false;
  SteadyTime last_heard_;  // or since when it owes an answer
  bool asked_for_life_ = false;
  bool switching_ = false;  // the server does not lead: leave it once all are settled
  std::deque<ClientRequest> queued_;
  std::map<uint64_t, ClientRequest> sent_;     // by id: in the order of sending
  std::map<uint64_t, ClientRequest> bounced_;  // the same
  Random random_;
  statemachine::SessionSerial session_;  // serial: the last one given
  uint64_t begins_before_ns_ = 0;        // of the next session; 0: without a bound
  uint32_t cluster_version_ = 0;         // as servers have said; 0: none has
  statemachine::ClientId in_flight_client_;
  asio::steady_timer retry_timer_;
  /// No request is to be told earlier that its time is over; may be of one that is over.
  SteadyTime least_deadline_ = SteadyTime::max();
  SteadyTime armed_for_;  // while the loop has a deadline of this queue
};

}  // namespace tailrace::rpc
