#pragma once
// The client behind rpc/client.h: one io thread, and a queue for each destination. Internal.

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>

#include "rpc/client.h"
#include "rpc/client_queue.h"

namespace tailrace::rpc {

class ClientImpl : public Client {
 public:
  explicit ClientImpl(ClientOptions options);
  ~ClientImpl() override;

  Result<CommandAnswer> put(ByteSpan key, ByteSpan value,
                            std::chrono::milliseconds time_to_live) override;
  Result<CommandAnswer> expire(ByteSpan key, std::chrono::milliseconds time_to_live) override;
  Result<CommandAnswer> erase(ByteSpan key) override;
  Result<CommandAnswer> add(ByteSpan key, int64_t delta) override;
  Result<CommandAnswer> cas(ByteSpan key, ByteSpan expected, ByteSpan value) override;
  Result<CommandAnswer> append(std::string_view stream,
                               const std::vector<ByteSpan>& events) override;
  Result<ReadAnswer> get(ByteSpan key, ReadOptions options) override;
  Result<ScanEnd> scan(ByteSpan prefix, const ScanOptions& options,
                       const PairVisitor& visit) override;
  void async_put(ByteSpan key, ByteSpan value, CommandCallback done) override;
  void async_append(std::string_view stream, const std::vector<ByteSpan>& events,
                    CommandCallback done) override;
  void async_get(ByteSpan key, ReadOptions options,
                 std::function<void(Result<ReadAnswer>)> done) override;
  Result<Address> tail(const TailOptions& options,
                       const std::function<bool(const TailRecord&)>& visit) override;
  std::vector<std::pair<std::string, Result<NodeStatusAnswer>>> status() override;
  Result<> transfer(uint32_t node) override;
  Result<> set_member(const NodeStatusAnswer::Member& member) override;
  Result<> remove_member(uint32_t node) override;
  Result<> promote(const std::string& server) override;
  Result<Address> checkpoint(const std::string& server) override;
  Result<Address> request_digest() override;
  Result<DigestAnswer> digest(const std::string& server, Address address,
                              Address log_from) override;

 private:
  ClientRequest command(wire::Operation operation, ByteSpan key) const;
  ClientRequest append_request(std::string_view stream, const std::vector<ByteSpan>& events) const;
  ClientRequest get_request(ByteSpan key, ReadOptions options) const;
  RequestQueue& queue_for(const ReadOptions& options);
  RequestQueue& queue_to(const std::string& server);
  Result<CommandAnswer> wait_for_command(ClientRequest request);

  const ClientOptions options_;
  Traffic traffic_;
  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  RequestQueue leader_, any_;
  std::mutex servers_mutex_;
  std::map<std::string, std::unique_ptr<RequestQueue>> servers_;  // guarded
  std::thread thread_;
};

}  // namespace tailrace::rpc
