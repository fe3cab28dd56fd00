#pragma once
// Asks all servers of a cluster for their status, again and again.

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "app/top/snapshot.h"

namespace tailrace::app::top {

/// One thread at a time.
class Poller {
 public:
  /// `options.timeout` bounds each poll.
  static Result<Poller> create(rpc::ClientOptions options);

  /// All servers that are given, and all members that they tell of.
  Snapshot poll();

 private:
  explicit Poller(rpc::ClientOptions options);
  Result<> connect(std::vector<std::string> servers);
  /// All are asked at once next time: one that does not answer must not use up the time of members
  /// that only it could have told of.
  void learn(const Snapshot& snapshot);

  rpc::ClientOptions options_;
  std::vector<std::string> named_;
  std::unique_ptr<rpc::Client> client_;
};

}  // namespace tailrace::app::top
