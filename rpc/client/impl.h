#pragma once
// The client behind rpc/client/client.h: a queue for each destination, all on one loop. Internal.

#include <future>
#include <map>
#include <memory>
#include <stop_token>
#include <string>

#include "core/mutex.h"
#include "rpc/client/client.h"
#include "rpc/client/queue.h"

namespace tailrace::rpc {

using Reply = Result<wire::Response::Reader>;

inline Error unexpected_answer() {
  return Error{ErrorCode::kUnsupported, "the server answered with something else than was asked"};
}

inline Error own_thread() {
  return Error{ErrorCode::kFailedPrecondition,
               "a blocking call on a thread of the client's own runtime would wait for itself; use "
               "async_write(), async_append() or async_get() in callbacks"};
}

/// Submits, and waits: the queue answers every request, at its deadline at the latest.
template <typename Answer, typename Read>
std::future<Result<Answer>> submit(RequestQueue& queue, ClientRequest request, Read read) {
  auto promise = std::make_shared<std::promise<Result<Answer>>>();
  auto future = promise->get_future();
  request.done = [promise, read](Reply reply) { promise->set_value(read(reply)); };
  queue.submit(std::move(request));
  return future;
}

class ClientImpl : public Client {
 public:
  ClientImpl(std::shared_ptr<Runtime> runtime, ClientOptions options);
  ~ClientImpl() override;

  Result<CommandAnswer> write(const Write& write) override;
  Result<CommandAnswer> append(std::string_view stream,
                               const std::vector<ByteSpan>& events) override;
  Result<ReadAnswer> get(ByteSpan key, ReadOptions options) override;
  Result<TxnAnswer> txn(const statemachine::Txn& txn) override;
  Result<AppendAnswer> append(std::string_view stream, std::span<const NewEvent> events,
                              ExpectedStream expected) override;
  Result<StreamEnd> read_stream(std::string_view stream, const StreamReadOptions& options,
                                const EventVisitor& visit) override;
  Result<uint64_t> streams(std::string_view prefix, const StreamsOptions& options,
                           const StreamVisitor& visit) override;
  Result<MgetAnswer> mget(const std::vector<ByteSpan>& keys, ReadOptions options) override;
  Result<ScanEnd> scan(ByteSpan prefix, const ScanOptions& options,
                       const PairVisitor& visit) override;
  void async_write(const Write& write, CommandCallback done) override;
  void async_append(std::string_view stream, const std::vector<ByteSpan>& events,
                    CommandCallback done) override;
  void async_get(ByteSpan key, ReadOptions options,
                 std::function<void(Result<ReadAnswer>)> done) override;
  void async_txn(const statemachine::Txn& txn, TxnCallback done) override;
  void async_append(std::string_view stream, std::span<const NewEvent> events,
                    ExpectedStream expected, AppendCallback done) override;
  void async_mget(const std::vector<ByteSpan>& keys, ReadOptions options,
                  std::function<void(Result<MgetAnswer>)> done) override;
  void async_read_stream(std::string_view stream, const StreamReadOptions& options,
                         EventVisitor visit, StreamCallback done) override;
  Result<Address> tail(const TailOptions& options,
                       const std::function<bool(const TailRecord&)>& visit) override;
  std::vector<ServerStatus> status() override;
  std::vector<ServerStatus> cluster_status() override;
  Result<NodeStatusAnswer> leader_status() override;
  Result<> transfer(NodeId node) override;
  Result<> set_member(const NodeStatusAnswer::Member& member) override;
  Result<> remove_member(NodeId node) override;
  Result<> promote(const std::string& server) override;
  Result<Address> checkpoint(const std::string& server) override;
  Result<Address> request_digest() override;
  Result<DigestAnswer> digest(const std::string& server, Address address,
                              Address log_from) override;
  Result<Address> request_scavenge() override;
  Result<HistoryAnswer> history(const std::string& server) override;
  Result<std::vector<StreamRemains>> remains(const std::string& server,
                                             std::string_view stream) override;
  Result<std::string> history_piece(const std::string& server, const HistoryFile& file,
                                    uint64_t offset, uint32_t bytes) override;

 private:
  /// Of that verb, with the client's deadline.
  ClientRequest request_of(ClientRequest::Verb verb, ByteSpan key = {}) const;
  ClientRequest write_request(const Write& write) const;
  ClientRequest append_request(std::string_view stream, const std::vector<ByteSpan>& events) const;
  ClientRequest get_request(ByteSpan key, ReadOptions options) const;
  ClientRequest txn_request(const statemachine::Txn& txn) const;
  ClientRequest mget_request(const std::vector<ByteSpan>& keys, ReadOptions options) const;
  struct StreamWalk;
  ClientRequest page_request(const StreamWalk& walk) const;
  void ask_page(std::shared_ptr<StreamWalk> walk);
  RequestQueue& queue_for(const ReadOptions& options);
  RequestQueue& queue_to(const std::string& server);
  /// On the loop's thread.
  void shut_queues();
  /// Of a blocking call.
  Result<> check_thread() const;
  template <typename Answer, typename Read>
  Result<Answer> wait_for(RequestQueue& queue, ClientRequest request, Read read) {
    TAILRACE_RETURN_IF_ERROR(check_thread());
    return submit<Answer>(queue, std::move(request), read).get();
  }
  Result<CommandAnswer> wait_for_command(ClientRequest request);
  std::vector<ServerStatus> ask_named(SteadyTime deadline);
  std::vector<ServerStatus> ask_status(const std::vector<std::string>& servers,
                                       SteadyTime deadline);
  /// A call of several steps: the client's end waits for it.
  class Call {
   public:
    explicit Call(ClientImpl& client) : client_(client) { client_.count_call(1); }
    ~Call() { client_.count_call(-1); }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

   private:
    ClientImpl& client_;
  };
  void count_call(int more);

  std::shared_ptr<Runtime> runtime_;
  const std::shared_ptr<ClientContext> context_;
  const ClientOptions& options_;
  std::stop_source closing_;
  Mutex calls_mutex_;
  Condition calls_changed_;
  int calls_ TAILRACE_GUARDED_BY(calls_mutex_) = 0;
  const std::shared_ptr<RequestQueue> leader_, any_;
  Mutex servers_mutex_;
  std::map<std::string, std::shared_ptr<RequestQueue>> servers_ TAILRACE_GUARDED_BY(servers_mutex_);
};

}  // namespace tailrace::rpc
